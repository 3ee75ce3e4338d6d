"""A core behind a port: the server, its clockwork, and what stands beside the service."""

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
    ("grpc.so_reuseport", 0),  # a port in use is an error, not a lottery
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),  # a whole fleet in one answer, however large (LST-2)
)

_log = logging.getLogger("fake_provider")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """A server's chain and key in PEM; with a client CA, clients must show a certificate (SEC-1)."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """The same as gRPC takes it."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)],
            root_certificates=self.client_ca,
            require_client_auth=self.client_ca is not None,
        )


class Clockwork:
    """Settles a core's transitions when they fall due, so that they end also while nobody looks."""

    def __init__(self, core: Core, clock: Callable[[], float]) -> None:
        self.core = core
        self.clock = clock
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Say that there may be new work."""
        self._woken.set()

    async def run(self) -> None:
        """Settle and sleep until cancelled."""
        while True:
            self._woken.clear()
            patience = self.settle()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), patience)

    def settle(self) -> float | None:
        """Settle what is due; returns how many seconds to sleep, None where nothing is under way."""
        try:
            self.core.advance(self.clock())
        except Exception:
            _log.exception("transitions could not be settled")
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
    """Serve the core while the context lasts; gives the bound `host:port`.

    `rpc_delay` is slept before each answer, `grace` is how long running calls may take at the end, both in
    seconds. `clock` tells the core the time: one that outlives the process where the store does. Raises
    CannotServe where the address cannot be bound.
    """
    server = grpc.aio.server(options=_OPTIONS)
    clockwork = Clockwork(core, clock)
    answering = servicer(core, clock=clock, rpc_delay=rpc_delay, on_change=clockwork.wake)
    provider_pb2_grpc.add_CapacityProviderServicer_to_server(answering, server)  # type: ignore[no-untyped-call]
    server.add_generic_rpc_handlers(tuple(answering.handlers()))
    if health:
        await _add_health(server, answering.health)
    if reflection:
        _add_reflection(server, health=health, pool=answering.descriptors)
    port = _bind(server, address, tls)
    core.resume(clock())
    await server.start()
    running = asyncio.create_task(clockwork.run())
    try:
        yield f"{address.rpartition(':')[0]}:{port}"
    finally:
        await server.stop(grace)
        running.cancel()
        await asyncio.wait([running])


def _bind(server: grpc.aio.Server, address: str, tls: Tls | None) -> int:
    try:
        if tls is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, tls.credentials())
    except RuntimeError as error:
        pem = ", and are the TLS files a certificate and its key in PEM" if tls else ""
        raise CannotServe(f"cannot listen on {address}: is it in use{pem}?") from error


async def _add_health(server: grpc.aio.Server, status: str) -> None:
    """Answer for the server and for the service (WIR-4)."""
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

    servicer = health.aio.HealthServicer()
    for service in ("", SERVICE):
        await servicer.set(service, health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)


def _add_reflection(server: grpc.aio.Server, *, health: bool, pool: Any) -> None:
    """Describe what is served (WIR-4)."""
    from grpc_reflection.v1alpha import reflection

    names = [SERVICE, reflection.SERVICE_NAME] + (["grpc.health.v1.Health"] if health else [])
    reflection.enable_server_reflection(names, server, pool)
