"""The bundled provider in a cage: what is hostile about it is a subclass, or bytes in the place of a message."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from bigfleet.v1alpha1 import provider_pb2 as pb

from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.server import Clockwork
from fake_provider.servicer import SERVICE, Servicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.zoo.cage import Cage

LATENCY = 0.02
"""Seconds that a transition takes."""
REQUESTS: dict[str, Any] = {
    "Create": pb.CreateRequest,
    "Configure": pb.ConfigureRequest,
    "Drain": pb.DrainRequest,
    "Delete": pb.DeleteRequest,
    "Get": pb.MachineRef,
    "List": pb.ListFilter,
}
OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)


def wired(answer: Any) -> bytes:
    """A message as it is sent; what is bytes already goes out as it is."""
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


def provider(machines: int = 16, *, latency: float = LATENCY, cls: type[Core] = Core) -> Core:
    """A provider with so many slots."""
    return cls(fleet(machines), latency=Latency.every(latency))


def away(core: Core) -> dict[str, str]:
    """The machines of a provider that are not as they were found."""
    return {machine.id: machine.state.name for machine in core.machines.values() if machine.state.name != "SPECULATIVE"}


@asynccontextmanager
async def up(
    core: Core,
    servicer: Callable[..., Servicer] = Servicer,
    *,
    port: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[int]:
    """The six RPCs, and nothing beside them, for as long as the context lasts; gives the port."""
    server = grpc.aio.server(options=OPTIONS)
    clockwork = Clockwork(core, clock)
    answering = servicer(core, clock=clock, on_change=clockwork.wake)
    handlers = {
        rpc: grpc.unary_unary_rpc_method_handler(
            getattr(answering, rpc), request_deserializer=request.FromString, response_serializer=wired
        )
        for rpc, request in REQUESTS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_generic_rpc_handlers(tuple(answering.handlers()))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    running = asyncio.create_task(clockwork.run())
    try:
        yield port
    finally:
        running.cancel()
        await server.stop(0)


async def kept(
    cage: Cage,
    servicer: Callable[..., Servicer] = Servicer,
    core: Core | None = None,
    **options: Any,
) -> None:
    """Let a provider live in the cage, and give its account at the end, by the core and not by what it says."""
    core = core or provider()
    cage.account = lambda: away(core)
    async with up(core, servicer, **options) as port:
        await cage.stand(f"127.0.0.1:{port}")
