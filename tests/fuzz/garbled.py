"""A provider whose answers are changed before they are sent: valid gRPC with any content."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from bigfleet.v1alpha1 import provider_pb2 as pb
from bigfleet.v1alpha1 import provider_pb2_grpc

from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.server import TransitionTimer
from fake_provider.servicer import Servicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from google.protobuf.message import Message

SERVICE = "/bigfleet.v1alpha1.CapacityProvider/"
HEALTH = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Garble:
    """A change of the answers of `rpc` (of all RPCs if it is empty): of each one, or only of every `every`-th one."""

    rpc: str
    every: int = 1
    raw: bytes | None = None
    """Bytes to send instead of the answer."""
    cut: int | None = None
    """The number of bytes after which the answer is truncated."""
    flip: tuple[int, int] | None = None
    """The index of a byte, modulo the length of the answer, and the bits to flip in it."""
    refuse: tuple[grpc.StatusCode, str] | None = None
    """A status to return instead of the answer."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Values for fields of the answer and of every machine in it."""
    copies: int = 1
    """The number of times that a List contains each machine."""

    def apply(self, answer: Message) -> bytes:
        """Returns the bytes to send instead of this answer."""
        for message in machines_in(answer):
            _set(message, self.fields)
        _set(answer, self.fields)
        if isinstance(answer, pb.MachineList) and self.copies != 1:
            copies = list(answer.machines) * self.copies
            del answer.machines[:]
            answer.machines.extend(copies)
        data = bytearray(answer.SerializeToString() if self.raw is None else self.raw)
        if self.flip is not None and data:
            data[self.flip[0] % len(data)] ^= self.flip[1]
        return bytes(data if self.cut is None else data[: self.cut])


def machines_in(answer: Message) -> Sequence[pb.Machine]:
    """Returns the machines in an answer."""
    match answer:
        case pb.Machine():
            return [answer]
        case pb.TransitionAck():
            return [answer.machine]
        case pb.MachineList():
            return list(answer.machines)
        case _:
            return []


def _set(message: Message, fields: Mapping[str, Any]) -> None:
    for name in fields.keys() & message.DESCRIPTOR.fields_by_name.keys():
        match value := fields[name]:
            case dict():
                message.ClearField(name)
                getattr(message, name).update(value)
            case pb.HostRef() | pb.Resources():
                getattr(message, name).CopyFrom(value)
            case _:
                setattr(message, name, value)


class Garbler(grpc.GenericRpcHandler):
    """Changes the answers of a servicer; serves health and reflection only if there is a garble for them."""

    def __init__(self, servicer: Servicer, garbles: Sequence[Garble]) -> None:
        self._handlers: dict[str, Any] = {}
        self._garbles = garbles
        self._counts: dict[int, int] = {}
        self.changed_answers = 0
        """The number of answers that were changed."""
        provider_pb2_grpc.add_CapacityProviderServicer_to_server(servicer, self)  # type: ignore[no-untyped-call]

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Does nothing: the generated code also passes the handlers by name, to the next method."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Stores the handlers that the generated code registers."""
        self._handlers = {f"/{service}/{name}": handler for name, handler in handlers.items()}

    def service(self, handler_call_details: Any) -> Any:
        """Returns the handler of a path, or None for UNIMPLEMENTED."""
        path = handler_call_details.method
        name = path.removeprefix(SERVICE)
        if path == REFLECTION:
            return (
                grpc.stream_stream_rpc_method_handler(self._reflect)
                if self._garble("Reflection", count=False)
                else None
            )
        if path == HEALTH:
            return grpc.unary_unary_rpc_method_handler(self._health) if self._garble("Health", count=False) else None
        handler = self._handlers.get(path)
        if handler is None:
            return None

        async def answer(request: Any, context: Any) -> bytes:
            garble = self._garble(name)
            if garble is not None and garble.refuse is not None:
                await context.abort(*garble.refuse)
            response = await handler.unary_unary(request, context)
            if garble is None:
                return bytes(handler.response_serializer(response))
            copy = type(response)()  # the servicer caches its messages
            copy.CopyFrom(response)
            return garble.apply(copy)

        return grpc.unary_unary_rpc_method_handler(answer, request_deserializer=handler.request_deserializer)

    def _garble(self, name: str, *, count: bool = True) -> Garble | None:
        """Returns the garble for this answer, if any; with `count=False`, the garble for any answer of the RPC."""
        for number, garble in enumerate(self._garbles):
            if garble.rpc == name or (not garble.rpc and name not in ("Health", "Reflection")):
                if not count:
                    return garble
                self._counts[number] = self._counts.get(number, 0) + 1
                if self._counts[number] % garble.every == 0:
                    self.changed_answers += 1
                    return garble
        return None

    async def _health(self, request: bytes, context: Any) -> bytes:
        garble = self._garble("Health")
        if garble is None:
            return b""
        if garble.refuse is not None:
            await context.abort(*garble.refuse)
        return garble.raw or b""

    async def _reflect(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            garble = self._garble("Reflection")
            if garble is not None and garble.refuse is not None:
                await context.abort(*garble.refuse)
            yield garble.raw or b"" if garble is not None else b""


@asynccontextmanager
async def garbling(garbles: Sequence[Garble], *, machines: int = 8) -> AsyncIterator[tuple[str, Garbler]]:
    """Serves a fake provider with these garbles until the context exits; yields its address and the garbler."""
    core = Core(fleet(machines), latency=Latency.every(0.005))
    loop = asyncio.get_running_loop()
    timer = TransitionTimer(core, loop.time)
    garbler = Garbler(Servicer(core, clock=loop.time, rpc_delay=0.0, on_change=timer.wake), garbles)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((garbler,))
    port = server.add_insecure_port("127.0.0.1:0")
    core.resume(loop.time())
    await server.start()
    timer_task = asyncio.create_task(timer.run())
    try:
        yield f"127.0.0.1:{port}", garbler
    finally:
        await server.stop(0)
        timer_task.cancel()
        await asyncio.wait([timer_task])
