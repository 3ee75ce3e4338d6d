"""The fake provider as a species: a subclass makes it hostile, or sends bytes instead of a message."""

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
from fake_provider.server import TransitionTimer
from fake_provider.servicer import SERVICE, Servicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.zoo.sandbox import Sandbox

LATENCY_S = 0.02
"""The duration of a transition in seconds."""
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


def serialized(answer: Any) -> bytes:
    """Returns a serialized message; bytes are returned unchanged."""
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


def provider(machines: int = 16, *, latency: float = LATENCY_S, cls: type[Core] = Core) -> Core:
    """Returns a provider with this number of slots; `latency` is in seconds."""
    return cls(fleet(machines), latency=Latency.every(latency))


def not_returned(core: Core) -> dict[str, str]:
    """Returns the machines that were not returned, with their states."""
    return {machine.id: machine.state.name for machine in core.machines.values() if machine.state.name != "SPECULATIVE"}


@asynccontextmanager
async def serve(
    core: Core,
    servicer: Callable[..., Servicer] = Servicer,
    *,
    port: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[int]:
    """Serves the six RPCs, without health and reflection, until the context exits; yields the port."""
    server = grpc.aio.server(options=OPTIONS)
    timer = TransitionTimer(core, clock)
    service = servicer(core, clock=clock, on_change=timer.wake)
    handlers = {
        rpc: grpc.unary_unary_rpc_method_handler(
            getattr(service, rpc), request_deserializer=request.FromString, response_serializer=serialized
        )
        for rpc, request in REQUESTS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_generic_rpc_handlers(tuple(service.handlers()))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    timer_task = asyncio.create_task(timer.run())
    try:
        yield port
    finally:
        timer_task.cancel()
        await server.stop(0)


async def serve_until_over(
    sandbox: Sandbox,
    servicer: Callable[..., Servicer] = Servicer,
    core: Core | None = None,
    **options: Any,
) -> None:
    """Serves a provider until the run is over; reports machines left from the core, not from the provider's answers."""
    core = core or provider()
    sandbox.machines_left = lambda: not_returned(core)
    async with serve(core, servicer, **options) as port:
        await sandbox.announce(f"127.0.0.1:{port}")
