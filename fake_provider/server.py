"""The gRPC server of a core, with its timer, the health service and reflection."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from bigfleet.v1alpha1 import provider_pb2_grpc

from fake_provider.core import Core
from fake_provider.errors import CannotServe
from fake_provider.servicer import SERVICE, Servicer

_OPTIONS = (
    ("grpc.so_reuseport", 0),  # makes a port in use an error; otherwise two servers would share its calls
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),  # List returns a fleet of any size in one answer (LST-2)
)

_log = logging.getLogger("fake_provider")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The server's certificate chain and key in PEM; with a client CA, clients need a certificate (SEC-1)."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Returns the gRPC server credentials."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)],
            root_certificates=self.client_ca,
            require_client_auth=self.client_ca is not None,
        )


class TransitionTimer:
    """Ends a core's transitions when they are due, also while no client calls."""

    def __init__(self, core: Core, clock: Callable[[], float]) -> None:
        self.core = core
        self.clock = clock
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Wakes the timer, because a new transition may have an earlier due time."""
        self._woken.set()

    async def run(self) -> None:
        """Ends due transitions and sleeps, until cancelled."""
        while True:
            self._woken.clear()
            timeout = self.settle()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), timeout)

    def settle(self) -> float | None:
        """Ends the transitions that are due; returns the seconds to the next one, None if none is running."""
        try:
            self.core.advance(self.clock())
        except Exception:
            _log.exception("cannot end the transitions that are due; will retry in 1 s")
            return 1.0
        due = self.core.next_due()
        return None if due is None else max(due - self.clock(), 0.001)


@contextlib.asynccontextmanager
async def serving(
    core: Core,
    *,
    address: str = "127.0.0.1:0",
    tls: Tls | None = None,
    rpc_delay: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    health: bool = True,
    reflection: bool = True,
    grace: float = 0.5,
    servicer: Callable[..., Servicer] = Servicer,
) -> AsyncIterator[str]:
    """Serves the core until the context exits; yields the bound `host:port`.

    `rpc_delay` is the delay before each RPC is served, and `grace` the time that running calls have to finish at the
    end, both in seconds. `clock` gives the core the time; if the store outlives the process, so must the clock. Raises
    CannotServe if the address cannot be bound.
    """
    server = grpc.aio.server(options=_OPTIONS)
    timer = TransitionTimer(core, clock)
    service = servicer(core, clock=clock, rpc_delay=rpc_delay, on_change=timer.wake)
    provider_pb2_grpc.add_CapacityProviderServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    server.add_generic_rpc_handlers(tuple(service.handlers()))
    if health:
        await _add_health(server, service.health)
    if reflection:
        _add_reflection(server, health=health, pool=service.descriptors)
    port = _bind(server, address, tls)
    core.resume(clock())
    await server.start()
    timer_task = asyncio.create_task(timer.run())
    try:
        yield f"{address.rpartition(':')[0]}:{port}"
    finally:
        await server.stop(grace)
        timer_task.cancel()
        await asyncio.wait([timer_task])


def _bind(server: grpc.aio.Server, address: str, tls: Tls | None) -> int:
    try:
        if tls is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, tls.credentials())
    except RuntimeError as error:
        reason = "the port is in use, or the address is not of this machine"
        pem = ", or the TLS files are not a certificate and its key in PEM" if tls else ""
        raise CannotServe(f"cannot listen on {address}: {reason}{pem}") from error


async def _add_health(server: grpc.aio.Server, status: str) -> None:
    """Adds the health service, for the server and for our service (WIR-4)."""
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

    servicer = health.aio.HealthServicer()
    for service in ("", SERVICE):
        await servicer.set(service, health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)


def _add_reflection(server: grpc.aio.Server, *, health: bool, pool: Any) -> None:
    """Adds the reflection service (WIR-4)."""
    from grpc_reflection.v1alpha import reflection

    names = [SERVICE, reflection.SERVICE_NAME] + (["grpc.health.v1.Health"] if health else [])
    reflection.enable_server_reflection(names, server, pool)
