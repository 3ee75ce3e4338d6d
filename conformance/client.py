"""One method per RPC -> Call. Never raises on a status; always records."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance import underway
from conformance.answer import in_words, reader, trouble
from conformance.busy import SOON, Shed
from conformance.call import DIGITS, Call, missed, record, token_of
from conformance.turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping

    from conformance.faults import FaultInjection
    from conformance.lifecycle import State
    from conformance.target import Target
    from conformance.token import Token

AGAIN = 8
"""So often is a reading asked for again that the weather has taken."""
NO_CONNECTION = "failed to connect to all addresses"
"""How gRPC's own words begin where it never got as far as the provider."""

CUT = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.CANCELLED,
)
"""What gRPC says where a connection was cut in the middle of a call."""
STREAM_LOST = "Stream removed ("
"""How they begin where a call ended in the middle: by the provider, which can reset it, or with the connection."""
RESET = "Received RST_STREAM"

UNSEEN = "Stream removed (RST_STREAM (Received RST_STREAM with error code 7"
"""And where the server has not looked at the call, as it takes so many at once and no more (REFUSED_STREAM: RFC 9113,
8.7). Nothing has come of it, and its token is as good as before."""
UNSEEN_PAUSES = (0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""Seconds before it is sent again."""

T = TypeVar("T")

SERVICE = "/bigfleet.v1alpha1.CapacityProvider/"

_RESPONSES = {
    "Create": pb.TransitionAck,
    "Configure": pb.TransitionAck,
    "Drain": pb.TransitionAck,
    "Delete": pb.TransitionAck,
    "Get": pb.Machine,
    "List": pb.MachineList,
}


class Client:
    """The six RPCs over one connection.

    A mutating call that was sent has to be heard out, also when whoever made it is cancelled: how else would
    the kit know what it has started? `see_through` does that, `quiet` waits for all such.
    """

    def __init__(
        self, target: Target, *, rpc_timeout: float = 30.0, epoch: float | None = None, suffix: bytes = b""
    ) -> None:
        self.target = target
        self.rpc_timeout = rpc_timeout
        self.count = 0
        self.shed = Shed()
        self._gated = True
        self._clock = asyncio.get_running_loop().time
        self._epoch = self._clock() if epoch is None else epoch
        self._suffix = suffix
        self.hung_up = False
        """Whether this connection was closed by us."""
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._turns = Turns()
        self.faults: FaultInjection | None = None
        """The faults that calls suffer, if any."""
        self._dial()

    def _dial(self) -> None:
        self._channel = self.target.channel()
        self._methods = {name: self._unary(SERVICE + name, answer) for name, answer in _RESPONSES.items()}

    async def inject(self, faults: FaultInjection) -> None:
        """Makes all calls from now on suffer `faults`."""
        self.faults = faults
        if faults.proxy is not None:
            direct, self.target = self._channel, faults.proxy.target
            self._dial()
            await direct.close()

    def _unary(self, path: str, answer: Any) -> Callable[..., Any]:
        return self._channel.unary_unary(
            path,
            request_serializer=lambda request: request.SerializeToString() + self._suffix,
            response_deserializer=reader(answer, limit=self.target.max_answer),
        )

    def clear_up(self) -> None:
        """From now on there is no weather any more: machines go home undisturbed."""
        if self.faults is not None:
            self.faults.stop()

    def now(self) -> float:
        """Seconds on the run's clock."""
        return round(self._clock() - self._epoch, DIGITS)

    @property
    def channel(self) -> grpc.aio.Channel:
        """The connection, for services other than the contract's."""
        return self._channel

    @asynccontextmanager
    async def another(self, *, target: Target | None = None, suffix: bytes = b"") -> AsyncIterator[Client]:
        """A client like this one over a connection of its own.

        `target` is another way to the same provider; `suffix` are bytes at the end of every request.
        """
        client = Client(target or self.target, rpc_timeout=self.rpc_timeout, epoch=self._epoch, suffix=suffix)
        client.faults, client._turns, client.shed = self.faults, self._turns, self.shed
        client._gated = False  # its calls may have to wait for those of this one
        try:
            yield client
        finally:
            await client.close()

    async def close(self) -> None:
        """Hear out what is under way, then hang up."""
        await self.quiet()
        await self._channel.close()

    async def hang_up(self) -> None:
        """Close the connection at once; what is under way is cancelled, and counts as not answered."""
        self.hung_up = True
        await self._channel.close()

    async def give_up(self) -> None:
        """Close the connection at once and hear nothing out, also what is under way: it may have started machines."""
        tasks = list(self._in_flight)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.hang_up()

    async def quiet(self) -> None:
        """Return when no mutating call is under way any more; each is bounded by the rpc timeout."""
        while self._in_flight:
            await asyncio.wait(self._in_flight)

    async def create(self, machine_id: str, token: Token, *, timeout: float | None = None) -> Call:
        """SPECULATIVE -> IDLE."""
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
        """IDLE -> CONFIGURED, bound to `cluster`."""
        request = pb.ConfigureRequest(
            machine_id=machine_id,
            cluster_id=cluster,
            bootstrap_blob=blob,
            shard_metadata=dict(metadata or {}),
            **_spread(token),
        )
        return await self.call("Configure", request, timeout=timeout)

    async def drain(self, machine_id: str, token: Token, *, grace: int = 0, timeout: float | None = None) -> Call:
        """CONFIGURED -> IDLE; `grace` in seconds."""
        request = pb.DrainRequest(machine_id=machine_id, grace_period_seconds=grace, **_spread(token))
        return await self.call("Drain", request, timeout=timeout)

    async def delete(self, machine_id: str, token: Token, *, timeout: float | None = None) -> Call:
        """IDLE -> SPECULATIVE."""
        request = pb.DeleteRequest(machine_id=machine_id, **_spread(token))
        return await self.call("Delete", request, timeout=timeout)

    async def get(self, machine_id: str) -> Call:
        """Read one machine."""
        return await self._read("Get", pb.MachineRef(id=machine_id))

    async def list(self, states: Iterable[State | int] = (), *, cap: int = 0, since: bytes = b"") -> Call:
        """Read the machines in `states` (none: all), at most `cap` (0: no cap), changed after `since`."""
        numbers: Any = [int(state) for state in states]
        request = pb.ListFilter(states=numbers, max_results=cap, since_revision=since)
        if since:
            return await self._read("List", request)
        async with self._turns.turn(numbers, cap):
            call = await self._read("List", request)
        if call.ok:
            self._turns.weighed(numbers, cap, call.response)
        return call

    async def _read(self, rpc: str, request: Any) -> Call:
        """Who reads once more changes nothing; so what was not to be had is simply asked for again."""
        for pause in (*SOON, None):
            call = await self._read_in_weather(rpc, request)
            if pause is None or not (self._cut(call) or (call.busy and self.shed.little)):
                break
            await asyncio.sleep(pause)
            if self.hung_up:
                break
        if not call.answered:
            missed()
        return call

    async def _read_in_weather(self, rpc: str, request: Any) -> Call:
        for _ in range(AGAIN):
            call = await self.call(rpc, request)
            if self.faults is None or not self.lost(call):
                break
            self.faults.retries[rpc] += 1
        return call

    def _cut(self, call: Call) -> bool:
        """Whether the connection was lost meanwhile: a server may close one for its age, and gRPC dials again."""
        return call.cut_off and not (call.details.startswith(NO_CONNECTION) or self.hung_up)

    def lost(self, call: Call) -> bool:
        """Whether the weather may have taken the answer: where nobody hung up, and it was at work meanwhile."""
        return not (call.answered or self.hung_up) and self.weathered(call.started)

    def weathered(self, since: float) -> bool:
        """Whether the weather may have taken answers `since` then, in seconds on the run's clock."""
        return self.faults is not None and self.faults.may_have_dropped_since(since + self._epoch)

    async def see_through(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end, also when the caller is cancelled, and let `quiet` wait for it."""
        task = underway.begin(work)
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        return await underway.outcome(task)

    async def call(self, rpc: str, request: Any, *, timeout: float | None = None) -> Call:
        """Make one call and record it. `timeout` in seconds; the run's rpc timeout by default."""
        return await self._finish(rpc, request, self._methods[rpc], timeout)

    async def call_path(self, path: str, request: Any, answer: Any) -> Call:
        """Make a call to any method of any service, `path` being `/package.Service/Method`."""
        call = await self._finish(path, request, self._unary(path, answer), None)
        if not call.answered:
            missed()
        return call

    async def _finish(self, rpc: str, request: Any, method: Callable[..., Any], timeout: float | None) -> Call:
        """What the call comes to. What nobody has looked at is sent again as it was."""
        call = await self._send(rpc, request, method, timeout)
        for pause in UNSEEN_PAUSES:
            if not call.details.startswith(UNSEEN):
                break
            await asyncio.sleep(pause)
            if self.hung_up:
                break
            call = await self._send(rpc, request, method, timeout)
        self.shed.add(call)
        return call

    async def _send(self, rpc: str, request: Any, method: Callable[..., Any], timeout: float | None) -> Call:
        async with self.shed.gate if self._gated else nullcontext():
            return await self._sent(rpc, request, method, timeout)

    async def _sent(self, rpc: str, request: Any, method: Callable[..., Any], timeout: float | None) -> Call:
        self.count += 1
        started, limit = self.now(), timeout or self.rpc_timeout
        loses_answer = self.faults is not None and self.faults.lost_answers.claim(rpc, request)
        code, details, answered, response = grpc.StatusCode.OK, "", True, None
        try:
            response = await method(request, timeout=limit, metadata=self.target.headers or None)
            if problem := trouble(response):
                # What it meant nobody can tell: as much is known as of an answer that was lost.
                code, details, answered, response = grpc.StatusCode.INTERNAL, problem, False, None
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or ""
            answered = self._came_from_provider(code, details, round(self.now() - started, DIGITS) >= limit, started)
            told, details = details, in_words(details, limit=self.target.max_answer)
            answered &= told == details
        except asyncio.CancelledError:
            if not self.hung_up:
                raise
            code, details, answered = grpc.StatusCode.CANCELLED, "we hung up", False
        call = Call(
            rpc=rpc,
            request=request,
            token=token_of(request),
            code=code,
            details=details,
            response=response,
            answered=answered,
            started=started,
            ended=self.now(),
        )
        if self.faults is not None and loses_answer:
            call = self.faults.lost_answers.withhold(call)
        record(call)
        return call

    def _came_from_provider(self, code: grpc.StatusCode, details: str, expired: bool, started: float) -> bool:
        """Whether the provider sent this status.

        gRPC makes up UNAVAILABLE where a connection is lost and DEADLINE_EXCEEDED where time is up, and a
        provider may send either. They differ in what is left behind: a live connection, time on the clock.
        Weather of our own leaves a live connection too, where somebody has dialled again by now.
        """
        if self.hung_up or details.startswith(NO_CONNECTION):
            return False
        if code in CUT and self.weathered(started):
            return False
        if details.startswith(STREAM_LOST) and RESET not in details:
            return False
        match code:
            case grpc.StatusCode.DEADLINE_EXCEEDED | grpc.StatusCode.CANCELLED:
                return not expired
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.UNKNOWN | grpc.StatusCode.INTERNAL:
                return bool(self._channel.get_state() is grpc.ChannelConnectivity.READY)
            case _:
                return True


def _spread(token: Token) -> dict[str, Any]:
    return {
        "shard_id": token.shard,
        "shard_epoch": token.epoch,
        "sequence_number": token.sequence,
    }
