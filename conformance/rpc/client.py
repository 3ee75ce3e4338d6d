"""The client: one method per RPC, each of which returns a `Call`. Never raises for a status, and records every call."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.background import BackgroundTasks
from conformance.core.errors import NotObserved
from conformance.core.open_files import open_files_problem
from conformance.rpc import http_answer
from conformance.rpc.accepted_tokens import AcceptedTokens
from conformance.rpc.backoff import RETRY_DELAYS, OverloadTracker
from conformance.rpc.call import (
    CLOCK_DECIMALS,
    CONNECTION_LOST_CODES,
    STREAM_LOST,
    Call,
    note_unanswered,
    record,
    token_of,
)
from conformance.rpc.connection import SERVICE as SERVICE
from conformance.rpc.connection import Connection, connection_of_task
from conformance.rpc.decoding import decode_error, explain_limit
from conformance.rpc.list_throttle import ListThrottle
from conformance.rpc.observer import NoObserver
from conformance.rpc.outages import Outages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from conformance.core.fencing import Token
    from conformance.core.lifecycle import State
    from conformance.rpc.faults.injection import FaultInjection
    from conformance.rpc.observer import CallObserver
    from conformance.rpc.target import Target

DEFAULT_GRACE_SECONDS = 1
"""The grace period of an ordinary Drain: one without grace may legally end in FAILED (LIF-12)."""
MAX_FAULT_ATTEMPTS = 8
"""The number of attempts at a call whose response an injected fault may have dropped."""
NO_CONNECTION = "failed to connect to all addresses"
"""The start of gRPC's own message if it could not reach the provider at all."""

RESET = "Received RST_STREAM"

LOST_CONNECTION_DELAYS = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Seconds before each retry of a call whose connection was lost; gRPC opens another connection for it."""

REFUSED_STREAM = "Stream removed (RST_STREAM (Received RST_STREAM with error code 7"
"""The start of gRPC's message if the server did not process a call because of too many concurrent ones (REFUSED_STREAM:
RFC 9113, 8.7). The call had no effect, and its token can be used again; HAProxy also sends it for a call that had its
effect (`AcceptedTokens`). It is not an answer of the provider."""
REFUSED_STREAM_DELAYS = (0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""Seconds before each retry of such a call."""

_Method: TypeAlias = "Callable[[Connection], Callable[..., Any]]"
"""Returns the method of a call over a connection."""

MANY_CONNECTIONS = "the provider or a load balancer in front of it may limit the number of connections"
"""The likely reason if a target that answers does not accept another connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clock:
    """The run's clock: seconds since the start of the run."""

    time: Callable[[], float]
    epoch: float

    def now(self) -> float:
        return round(self.time() - self.epoch, CLOCK_DECIMALS)


class Client:
    """The six RPCs over one connection."""

    def __init__(
        self,
        target: Target,
        *,
        rpc_timeout: float = 30.0,
        suffix: bytes = b"",
        first: Client | None = None,
        observer: CallObserver | None = None,
    ) -> None:
        """Connects to `target`. `suffix` is appended to every request; `first` is another client of the run, if any.

        `observer` is told about every call of the run: of this client, and of those whose `first` it is.
        """
        self.rpc_timeout = rpc_timeout
        self.behind_own_proxy = target.proxy_address is not None and first is not None and target is not first.target
        """True if the kit may cut this connection deliberately, so that an unanswered call is expected."""
        self.count = 0
        """The number of sent calls."""
        self.disconnected = False
        """True if the kit has closed this connection."""
        self.overload: OverloadTracker = OverloadTracker() if first is None else first.overload
        self.faults: FaultInjection | None = None if first is None else first.faults
        """The faults that are injected into the calls, if any."""
        self.outages: Outages = Outages() if first is None else first.outages
        """The times at which the kit itself has ended the provider."""
        self.mutating = BackgroundTasks()
        """The mutating calls that are under way. Each runs to its end even if its caller is cancelled: otherwise the
        kit would not know what it has started."""
        time = asyncio.get_running_loop().time
        self._clock: _Clock = _Clock(time=time, epoch=time()) if first is None else first._clock
        self._list_throttle: ListThrottle = ListThrottle() if first is None else first._list_throttle
        self._accepted_tokens: AcceptedTokens = AcceptedTokens() if first is None else first._accepted_tokens
        self._observer: CallObserver = observer or NoObserver() if first is None else first._observer
        # A call of the first client may be waiting for one of another client's.
        self._limiter = self.overload.limiter if first is None else nullcontext()
        self._shared_connection = Connection(target, suffix=suffix)
        self._may_be_private = first is None

    @property
    def target(self) -> Target:
        """The target that the client is connected to."""
        return self._shared_connection.target

    @property
    def _connection(self) -> Connection:
        """The connection for calls of the current task: only the run's first client has private ones."""
        return connection_of_task(self._shared_connection) if self._may_be_private else self._shared_connection

    @property
    def channel(self) -> grpc.aio.Channel:
        """The connection, for services other than the contract's."""
        return self._connection.channel

    async def inject(self, faults: FaultInjection) -> None:
        """Injects `faults` into all calls from now on."""
        self.faults = faults
        if faults.proxy is not None:
            direct = self._shared_connection
            self._shared_connection = Connection(faults.proxy.target, suffix=direct.suffix)
            await direct.channel.close()

    async def reconnect(self) -> None:
        """Opens another connection, and returns when it is established: after a restart, the old one only waits.

        Raises NotObserved after the rpc timeout.
        """
        old = self._shared_connection
        self._shared_connection = Connection(old.target, suffix=old.suffix)
        old.retire()
        await self.wait_until_connected()

    def stop_faults(self) -> None:
        """Injects no more faults from now on, so that machines can be cleaned up undisturbed."""
        if self.faults is not None:
            self.faults.stop()

    def now(self) -> float:
        """Returns the seconds on the run's clock."""
        return self._clock.now()

    @asynccontextmanager
    async def another(self, *, target: Target | None = None, suffix: bytes = b"") -> AsyncIterator[Client]:
        """Opens another client like this one, with its own connection.

        `target` is another address of the same provider; `suffix` is appended to every request.
        """
        client = Client(target or self.target, rpc_timeout=self.rpc_timeout, suffix=suffix, first=self)
        try:
            yield client
        finally:
            await client.close()

    async def wait_until_connected(self) -> None:
        """Returns when the connection is established. Raises NotObserved after the rpc timeout, with the likely reason.

        There is no error to wait for: gRPC tries again forever.
        """
        try:
            async with asyncio.timeout(self.rpc_timeout):
                await self.channel.channel_ready()
        except TimeoutError:
            raise NotObserved(
                f"another connection to the target was not established within {self.rpc_timeout:g} s: "
                f"{open_files_problem() or MANY_CONNECTIONS}"
            ) from None

    async def close(self) -> None:
        """Waits for the calls that are under way, then closes the connection."""
        await self.wait_until_idle()
        await self._shared_connection.channel.close()

    async def disconnect(self) -> None:
        """Closes the connection immediately. Calls that are under way are cancelled, and count as unanswered."""
        self.disconnected = True
        await self._shared_connection.channel.close()

    async def abandon(self) -> None:
        """Closes the connection immediately and cancels the mutating calls; their effects stay unknown."""
        await self.mutating.cancel()
        await self.disconnect()

    async def wait_until_idle(self) -> None:
        """Returns when no mutating call is under way. Each is bounded by the rpc timeout."""
        await self.mutating.wait()

    async def create(self, machine_id: str, token: Token, *, timeout: float | None = None) -> Call:
        """Makes a Create: SPECULATIVE -> IDLE."""
        request = pb.CreateRequest(machine_id=machine_id, **_spread(token))
        return await self.call("Create", request, timeout=timeout)

    async def configure(
        self,
        machine_id: str,
        token: Token,
        *,
        cluster: str,
        metadata: Mapping[str, str] | None = None,
        blob: bytes = b"",
        timeout: float | None = None,
    ) -> Call:
        """Makes a Configure: IDLE -> CONFIGURED, bound to `cluster`."""
        request = pb.ConfigureRequest(
            machine_id=machine_id,
            cluster_id=cluster,
            bootstrap_blob=blob,
            shard_metadata=dict(metadata or {}),
            **_spread(token),
        )
        return await self.call("Configure", request, timeout=timeout)

    async def drain(
        self, machine_id: str, token: Token, *, grace: int = DEFAULT_GRACE_SECONDS, timeout: float | None = None
    ) -> Call:
        """Makes a Drain: CONFIGURED -> IDLE; `grace` in seconds."""
        request = pb.DrainRequest(machine_id=machine_id, grace_period_seconds=grace, **_spread(token))
        return await self.call("Drain", request, timeout=timeout)

    async def delete(self, machine_id: str, token: Token, *, timeout: float | None = None) -> Call:
        """Makes a Delete: IDLE -> SPECULATIVE."""
        request = pb.DeleteRequest(machine_id=machine_id, **_spread(token))
        return await self.call("Delete", request, timeout=timeout)

    async def get(self, machine_id: str) -> Call:
        """Reads one machine."""
        return await self._read("Get", pb.MachineRef(id=machine_id))

    async def list(self, states: Iterable[State | int] = (), *, cap: int = 0, since: bytes = b"") -> Call:
        """Reads the machines in `states` (empty: all), at most `cap` (0: no cap), changed after revision `since`."""
        numbers: Any = [int(state) for state in states]
        request = pb.ListFilter(states=numbers, max_results=cap, since_revision=since)
        if since:
            return await self._read("List", request)
        async with self._list_throttle.turn(numbers, cap):
            call = await self._read("List", request)
        if call.answered_ok:
            self._list_throttle.record_size(numbers, cap, call.response)
        return call

    async def _read(self, rpc: str, request: Any) -> Call:
        """Makes a read. Reads are idempotent, so one that lost its connection or was rejected for load is retried.

        Each of these attempts repeats a read that an injected fault may have dropped, and a refused stream (`_send`).
        """
        lost, busy = iter(LOST_CONNECTION_DELAYS), iter(RETRY_DELAYS)
        while True:
            call = await self._read_through_faults(rpc, request)
            if self.lost_connection(call):
                delay = next(lost, None)
            else:
                delay = next(busy, None) if call.answered_busy and self.overload.tolerable else None
            if delay is None:
                break
            await asyncio.sleep(delay)
            if self.disconnected:
                break
        if not call.answered:
            note_unanswered(call)
        return call

    async def _read_through_faults(self, rpc: str, request: Any) -> Call:
        for _ in range(MAX_FAULT_ATTEMPTS):
            call = await self.call(rpc, request)
            if self.faults is None or not self.may_have_been_dropped(call):
                break
            self.faults.retries[rpc] += 1
        return call

    def lost_connection(self, call: Call) -> bool:
        """Returns whether the connection was lost: a server may close one for its age, and gRPC reconnects."""
        return call.cut_off and not (call.details.startswith(NO_CONNECTION) or self.disconnected)

    def may_have_been_dropped(self, call: Call) -> bool:
        """Returns whether fault injection may have dropped the call, unless this client was closed meanwhile."""
        return not (call.answered or self.disconnected) and self.may_have_dropped_since(call.started)

    def may_have_dropped_since(self, since: float) -> bool:
        """Returns whether fault injection may have dropped calls since `since`, in seconds on the run's clock."""
        return self.faults is not None and self.faults.may_have_dropped_since(since + self._clock.epoch)

    async def call(self, rpc: str, request: Any, *, timeout: float | None = None) -> Call:
        """Makes one call and records it. `timeout` in seconds; the run's rpc timeout by default."""
        return await self._send(rpc, request, lambda connection: connection.methods[rpc], timeout)

    async def call_path(self, path: str, request: Any, answer: Any) -> Call:
        """Makes a call to any method of any service; `path` is `/package.Service/Method`."""
        call = await self._send(path, request, lambda connection: connection.method(path, answer), None)
        for delay in LOST_CONNECTION_DELAYS:
            if not self.lost_connection(call):
                break
            await asyncio.sleep(delay)
            call = await self._send(path, request, lambda connection: connection.method(path, answer), None)
        if not call.answered:
            note_unanswered(call)
        return call

    async def _send(self, rpc: str, request: Any, method: _Method, timeout: float | None) -> Call:
        """Sends the call; resends it unchanged while the server refuses the stream (REFUSED_STREAM).

        If only the refused attempt explains that another one was fenced, then the call may have had its effect, and the
        refused attempt is returned as unanswered.
        """
        first = call = await self._send_within_limit(rpc, request, method, timeout)
        for delay in REFUSED_STREAM_DELAYS:
            if not call.details.startswith(REFUSED_STREAM):
                break
            await asyncio.sleep(delay)
            if self.disconnected:
                break
            call = await self._send_within_limit(rpc, request, method, timeout)
        if call is not first and call.answered and call.fenced and not self._accepted_tokens.explain(call):
            call = replace(first, answered=False)
        if not self.outages.under_way:
            self.overload.add(call)
        return call

    async def _send_within_limit(self, rpc: str, request: Any, method: _Method, timeout: float | None) -> Call:
        async with self._limiter:
            return await self._send_once(rpc, request, method, timeout)

    async def _send_once(self, rpc: str, request: Any, method: _Method, timeout: float | None) -> Call:
        ticket, call = self._observer.sending(rpc, request), None
        try:
            call = await self._send_observed(rpc, request, method, timeout)
        finally:
            self._observer.ended(ticket, call)
        return call

    async def _send_observed(self, rpc: str, request: Any, method: _Method, timeout: float | None) -> Call:
        self.count += 1
        connection = self._connection
        started, limit = self.now(), timeout or self.rpc_timeout
        loses_answer = self.faults is not None and self.faults.lost_answers.claim(rpc, request)
        code, details, answered, response = grpc.StatusCode.OK, "", True, None
        try:
            with connection.call_under_way():
                response = await method(connection)(request, timeout=limit, metadata=self.target.headers or None)
            if problem := decode_error(response):
                # A response that cannot be decoded counts as a lost one.
                code, details, answered, response = grpc.StatusCode.INTERNAL, problem, False, None
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or ""
            answered = self._came_from_provider(
                connection, code, details, round(self.now() - started, CLOCK_DECIMALS) >= limit, started
            )
            original, details = details, explain_limit(details, limit=self.target.max_answer)
            answered &= original == details  # the kit rejected a large response, not the provider
        except asyncio.CancelledError:
            if not self.disconnected:
                raise
            code, details, answered = grpc.StatusCode.CANCELLED, "the kit closed the connection", False
        ended = self.now()
        cut_by_kit = self.behind_own_proxy or (not answered and self.outages.meet(started, ended))
        call = Call(
            rpc=rpc,
            request=request,
            token=token_of(request),
            code=code,
            details=details,
            response=response,
            answered=answered,
            started=started,
            ended=ended,
            ended_by_kit=timeout is not None or self.disconnected or cut_by_kit,
        )
        if self.faults is not None and loses_answer:
            call = self.faults.lost_answers.withhold(call)
        record(call)
        self._accepted_tokens.add(call)
        return call

    def _came_from_provider(
        self, connection: Connection, code: grpc.StatusCode, details: str, expired: bool, started: float
    ) -> bool:
        """Returns whether the provider sent this status, rather than gRPC on the kit's side.

        gRPC sets UNAVAILABLE when a connection is lost and DEADLINE_EXCEEDED when time is up, and a provider may send
        either. The state afterwards shows the difference: the connection is live, or time is left. With injected
        faults the connection may be live even after a loss, because gRPC has reconnected by then. A proxy that got no
        answer from the provider says so itself, on a live connection.
        """
        if self.disconnected or details.startswith(NO_CONNECTION) or http_answer.is_gateway_error(details):
            return False
        if code in CONNECTION_LOST_CODES and self.may_have_dropped_since(started):
            return False
        if details.startswith(REFUSED_STREAM) or (details.startswith(STREAM_LOST) and RESET not in details):
            return False
        match code:
            case grpc.StatusCode.DEADLINE_EXCEEDED | grpc.StatusCode.CANCELLED:
                return not expired
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.UNKNOWN | grpc.StatusCode.INTERNAL:
                return bool(connection.channel.get_state() is grpc.ChannelConnectivity.READY)
            case _:
                return True


def _spread(token: Token) -> dict[str, Any]:
    return {
        "shard_id": token.shard,
        "shard_epoch": token.epoch,
        "sequence_number": token.sequence,
    }
