"""The gRPC server of a core, with its timer, the health service and reflection."""

import asyncio
import contextlib
import logging
import math
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

_QUIET_S = 0.1
"""The time in seconds without a call after which a server that refuses calls ends."""
_REFUSAL_S = 1.0
"""The maximum time in seconds for which a server refuses calls before it ends."""

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
                async with asyncio.timeout(timeout):  # wait_for loses a cancellation that meets a wake-up
                    await self._woken.wait()

    def settle(self) -> float | None:
        """Ends the transitions that are due; returns the seconds to the next one, None if none is running."""
        try:
            self.core.advance(self.clock())
        except CannotServe as error:
            _log.error("cannot end the transitions that are due; will retry in 1 s: %s", error)
            return 1.0
        except Exception:
            _log.exception("cannot end the transitions that are due; will retry in 1 s")
            return 1.0
        due = self.core.next_due()
        timeout = math.inf if due is None else max(due - self.clock(), 0.001)
        if self.core.store.shared:  # other replicas start transitions too, and may be killed before these end
            timeout = min(timeout, 1.0)
        return None if timeout == math.inf else timeout


class Server:
    """The gRPC server of one core. It can stop in an orderly way, or drop everything."""

    def __init__(
        self,
        core: Core,
        *,
        address: str = "127.0.0.1:0",
        tls: Tls | None = None,
        rpc_delay: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        health: bool = True,
        reflection: bool = True,
        servicer: Callable[..., Servicer] = Servicer,
    ) -> None:
        """Makes a server that does not listen yet.

        `rpc_delay` is the delay before each RPC is served, in seconds. `clock` gives the core the time; if the store
        outlives the process, so must the clock.
        """
        self.core = core
        self.address = address
        self._tls = tls
        self._clock = clock
        self._server = grpc.aio.server(options=_OPTIONS)
        self._timer = TransitionTimer(core, clock)
        self._timer_task: asyncio.Task[None] | None = None
        service = self._servicer = servicer(core, clock=clock, rpc_delay=rpc_delay, on_change=self._timer.wake)
        provider_pb2_grpc.add_CapacityProviderServicer_to_server(service, self._server)  # type: ignore[no-untyped-call]
        self._server.add_generic_rpc_handlers(tuple(service.handlers()))
        self._health = _Health(self._server, service.health) if health else None
        if reflection:
            _add_reflection(self._server, health=health, pool=service.descriptors)

    async def start(self) -> str:
        """Listens and serves; returns the bound `host:port`. Raises CannotServe if the address cannot be bound."""
        if self._health:
            await self._health.serving()
        port = _bind(self._server, self.address, self._tls)
        self.core.resume(self._clock())
        await self._server.start()
        self._timer_task = asyncio.create_task(self._timer.run())
        self.address = f"{self.address.rpartition(':')[0]}:{port}"
        return self.address

    async def stop(self, grace: float, notice: float = 0.0) -> None:
        """Stops in an orderly way; running calls have `grace` seconds to finish (ROL-1).

        With a notice, it first reports NOT_SERVING for that time in seconds (ROL-2), then refuses calls
        until none comes.
        """
        if self._health:
            await self._health.not_serving()
        if notice:
            await asyncio.sleep(notice)
            await self._refuse_calls()
        await self.drop(grace)
        try:
            self.core.stop()
        except CannotServe as error:
            _log.error("cannot save that the provider stopped: %s", error)

    async def _refuse_calls(self) -> None:
        """Refuses calls until none comes: gRPC answers CANCELLED, and not UNAVAILABLE, to one that meets the end."""
        self._servicer.refusing = True
        for _ in range(int(_REFUSAL_S / _QUIET_S)):
            before = self._servicer.calls
            await asyncio.sleep(_QUIET_S)
            if self._servicer.calls == before:
                return

    async def drop(self, grace: float = 0.0) -> None:
        """Stops without any record of it. Running calls have `grace` seconds to finish."""
        await self._server.stop(grace)
        if self._timer_task:
            self._timer_task.cancel()
            await asyncio.wait([self._timer_task])


@contextlib.asynccontextmanager
async def serving(core: Core, *, grace: float = 0.5, **options: Any) -> AsyncIterator[str]:
    """Serves the core until the context exits; yields the bound `host:port`.

    `grace` is the time that running calls have to finish at the end, in seconds; the options are those of `Server`.
    Raises CannotServe if the address cannot be bound.
    """
    server = Server(core, **options)
    try:
        yield await server.start()
    finally:
        await server.stop(grace)


def _bind(server: grpc.aio.Server, address: str, tls: Tls | None) -> int:
    try:
        if tls is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, tls.credentials())
    except RuntimeError as error:
        reason = "the port is in use, or the address is not of this machine"
        pem = ", or the TLS files are not a certificate and its key in PEM" if tls else ""
        raise CannotServe(f"cannot listen on {address}: {reason}{pem}") from error


class _Health:
    """The health service, for the server and for our service (WIR-4)."""

    def __init__(self, server: grpc.aio.Server, status: str) -> None:
        """Adds the service to the server; `status` is what it reports while the provider serves."""
        from grpc_health.v1 import health, health_pb2_grpc

        self._status = status
        self._servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def serving(self) -> None:
        """Reports that the provider serves."""
        await self._report(self._status)

    async def not_serving(self) -> None:
        """Reports that the provider will stop soon (ROL-2)."""
        await self._report("NOT_SERVING")

    async def _report(self, status: str) -> None:
        from grpc_health.v1 import health_pb2

        for service in ("", SERVICE):
            await self._servicer.set(service, health_pb2.HealthCheckResponse.ServingStatus.Value(status))


def _add_reflection(server: grpc.aio.Server, *, health: bool, pool: Any) -> None:
    """Adds the reflection service (WIR-4)."""
    from grpc_reflection.v1alpha import reflection

    names = [SERVICE, reflection.SERVICE_NAME] + (["grpc.health.v1.Health"] if health else [])
    reflection.enable_server_reflection(names, server, pool)
