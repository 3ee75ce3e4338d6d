"""A client that knows only a released contract: it sends and reads no field that this does not have."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from conformance.core.buf import RELEASED
from conformance.rpc.client import Client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.message import Message

    from conformance.rpc.call import Call

SERVICE = "bigfleet.v1alpha1.CapacityProvider"


@cache
def released_messages() -> Mapping[str, type[Message]]:
    """Returns the messages of the last released contract, by full name."""
    files = descriptor_pb2.FileDescriptorSet.FromString(RELEASED.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    classes = message_factory.GetMessageClassesForFiles([file.name for file in files.file], pool)
    return dict(classes)


def as_released(message: Any) -> Any:
    """Returns the message as a client of the released contract encodes or decodes it: without any other field."""
    older = released_messages()[message.DESCRIPTOR.full_name].FromString(message.SerializeToString())
    older.DiscardUnknownFields()
    return type(message).FromString(older.SerializeToString())


class OlderClient(Client):
    """A client of the released contract, with a connection of its own."""

    def __init__(self, shared: Client) -> None:
        super().__init__(shared.target, rpc_timeout=shared.rpc_timeout, first=shared)

    async def call(self, rpc: str, request: Any, *, timeout: float | None = None) -> Call:
        """Makes the call with the fields of the released contract only."""
        call = await super().call(rpc, as_released(request), timeout=timeout)
        return replace(call, response=as_released(call.response)) if call.answered_ok else call
