"""One finished RPC: its request, its outcome and its times. Every verdict rests on these.

A call without an answer is not evidence. Its outcome cannot be read by mistake: `ok`, `fenced`, `busy`, `status` and
`operation_id` raise NoAnswer. Code that must handle both cases reads `answered` first, or `answered_ok`.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb
from google.protobuf import json_format

from conformance.core.errors import NoAnswer, NotObserved
from conformance.core.fencing import Token
from conformance.core.lifecycle import state_of
from conformance.core.text import clip
from conformance.core.text import cut as cut
from conformance.rpc import http_answer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from google.protobuf.message import Message

    from conformance.core.lifecycle import State

CLOCK_DECIMALS = 9
"""Decimals of a second on the run's clock. It has no more, so that written times are read back exactly."""

HEAVY_RESPONSE_BYTES = 4096
"""Larger responses are kept only as a summary: a run keeps all its calls, about ten thousand."""


OVERLOAD_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
"""The codes of a provider that rejects a call for load."""

CONNECTION_LOST_CODES = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.CANCELLED,
)
"""The codes that gRPC itself sets if a connection is lost during a call."""

STREAM_LOST = "Stream removed ("
"""The start of gRPC's message if a call was interrupted: the provider reset it, or the connection was lost."""


class CallView(Protocol):
    """One RPC as reports show it: a live `Call`, or one that was read from a log. Contains no secrets."""

    @property
    def rpc(self) -> str:
        """The method's name: Create, Configure, Drain, Delete, Get or List."""

    @property
    def machine_id(self) -> str:
        """The requested machine; empty for List."""

    @property
    def token(self) -> Token | None:
        """The fencing token; None for Get and List."""

    @property
    def code(self) -> grpc.StatusCode:
        """The status that the call ended with."""

    @property
    def answered(self) -> bool:
        """False if the status was set on the kit's side."""

    @property
    def started(self) -> float:
        """The start, in seconds on the run's clock."""

    @property
    def ended(self) -> float:
        """The end, in seconds on the run's clock."""

    def request_text(self) -> str:
        """Returns the request in one line."""

    def outcome(self) -> str:
        """Returns the outcome in one line."""

    def request_json(self) -> Mapping[str, Any]:
        """Returns the request as protobuf JSON to send again, with a placeholder blob and truncated metadata."""

    def machine_states(self, machines: Collection[str]) -> Mapping[str, State]:
        """Returns, by machine id, the states of those of `machines` that are in the response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSummary:
    """The summary of a large response, such as a List of 100,000 machines: its description and the relevant states."""

    words: str
    states: Mapping[str, State]


_NUMBERS = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One RPC, answered or not. `started` and `ended` are seconds on the run's clock."""

    rpc: str
    request: Any
    token: Token | None
    code: grpc.StatusCode
    details: str
    response: Any
    answered: bool
    """False if the status was set on the kit's side: connection lost, deadline exceeded."""
    started: float
    ended: float
    retried: bool = False
    """True if an earlier attempt was rejected for load; it may have had an effect anyway."""
    token_spent: bool = False
    """True if the call was rejected for load and its retry was fenced: the token was stale, or was accepted before."""
    ended_by_kit: bool = False
    """True if the kit itself may have ended the call early: by a chosen deadline, or with the connection."""
    number: int = field(default_factory=_NUMBERS.__next__, compare=False, repr=False)
    """The call's number in this process; `compact` keeps it."""

    @property
    def status(self) -> grpc.StatusCode:
        """The status that the provider answered with. Raises NoAnswer without an answer; `code` never does."""
        if not self.answered:
            raise NoAnswer(f"{self.rpc} was not answered: {self.outcome()}")
        return self.code

    @property
    def ok(self) -> bool:
        """True if the provider answered OK. Raises NoAnswer without an answer."""
        return self.status is grpc.StatusCode.OK

    @property
    def fenced(self) -> bool:
        """True if the provider's fence refused the call (COD-3). Raises NoAnswer without an answer."""
        return self.status is grpc.StatusCode.FAILED_PRECONDITION

    @property
    def busy(self) -> bool:
        """True if the provider rejected the call for load. Raises NoAnswer without an answer."""
        return self.status in OVERLOAD_CODES

    @property
    def answered_ok(self) -> bool:
        """True if there is an answer, and it is OK."""
        return self.answered and self.ok

    @property
    def answered_busy(self) -> bool:
        """True if there is an answer, and it is a rejection for load."""
        return self.answered and self.busy

    @property
    def http_unimplemented(self) -> bool:
        """True if the call ended with an HTTP status that gRPC reads as UNIMPLEMENTED: it may come from a proxy."""
        return self.code is grpc.StatusCode.UNIMPLEMENTED and http_answer.is_http(self.details)

    @property
    def unimplemented(self) -> bool:
        """True if the provider itself answered UNIMPLEMENTED."""
        return self.answered and self.code is grpc.StatusCode.UNIMPLEMENTED and not self.http_unimplemented

    @property
    def cut_off(self) -> bool:
        """True if the connection ended before the answer, and not because the kit ended the call."""
        if self.answered or self.ended_by_kit:
            return False
        # An answer that cannot be decoded counts as a lost one too, but the next one will be no better.
        lost = self.code in CONNECTION_LOST_CODES and self.details.startswith(STREAM_LOST)
        return lost or self.code is grpc.StatusCode.UNAVAILABLE

    @property
    def machine_id(self) -> str:
        """The requested machine; empty for List."""
        return str(getattr(self.request, "machine_id", "") or getattr(self.request, "id", ""))

    @property
    def operation_id(self) -> str:
        """The ack's operation id; empty if the call was refused. Raises NoAnswer without an answer."""
        return self.response.operation_id if self.ok and isinstance(self.response, pb.TransitionAck) else ""

    @property
    def price(self) -> float:
        """The price per hour of the ack's machine; 0 if there is no ack."""
        return self.response.machine.price_per_hour if isinstance(self.response, pb.TransitionAck) else 0.0

    def outcome(self) -> str:
        """Returns the outcome in one line."""
        if self.answered_ok:
            return f"OK {describe_response(self.response)}".rstrip()
        origin = "" if self.answered else " (no answer from the provider)"
        return f"{self.code.name}{origin}: {cut(self.details, 200)}" if self.details else f"{self.code.name}{origin}"

    def request_text(self) -> str:
        """Returns the request in one line."""
        return describe_request(self.request)

    def request_json(self) -> Mapping[str, Any]:
        """Returns the request as protobuf JSON to send again, with a placeholder blob and truncated metadata."""
        public = type(self.request)()
        public.CopyFrom(self.request)
        if isinstance(public, pb.ConfigureRequest):
            if public.bootstrap_blob:
                # Equal blobs stay equal, because a violation may depend on that.
                public.bootstrap_blob = b"blob-" + sha256(public.bootstrap_blob).hexdigest()[:8].encode()
            for key, value in list(public.shard_metadata.items()):
                del public.shard_metadata[key]
                public.shard_metadata[clip(key)] = cut(value)
        sent: dict[str, Any] = _shortened(json_format.MessageToDict(public, preserving_proto_field_name=True))
        return sent

    def compact(self, machines: Collection[str]) -> Call:
        """Returns the call, a large response replaced by its description and its states of `machines`."""
        match self.response:
            case pb.MachineList():
                pass
            case pb.TransitionAck() | pb.Machine() if self.response.ByteSize() > HEAVY_RESPONSE_BYTES:
                pass
            case _:
                return self
        return replace(
            self, response=CallSummary(words=describe_response(self.response), states=self.machine_states(machines))
        )

    def machine_states(self, machines: Collection[str]) -> Mapping[str, State]:
        """Returns, by machine id, the states of those of `machines` that are in the response."""
        match self.response:
            case CallSummary(states=states):
                return {machine: state for machine, state in states.items() if machine in machines}
            case pb.TransitionAck():
                shown = [self.response.machine]
            case pb.Machine():
                shown = [self.response]
            case pb.MachineList():
                shown = list(self.response.machines)
            case _:
                shown = []
        return {machine.id: state_of(machine.state) for machine in shown if machine.id in machines}

    def __str__(self) -> str:
        return one_line(self)


def one_line(call: CallView) -> str:
    """Returns a call in one line: its request and its outcome."""
    return f"{call.rpc}({call.request_text()}) -> {call.outcome()}"


def _shortened(value: Any) -> Any:
    match value:
        case str():
            return clip(value)
        case dict():
            return {key: _shortened(each) for key, each in value.items()}
        case list():
            return [_shortened(each) for each in value]
        case _:
            return value


def describe_map(pairs: dict[str, str], most: int = 4) -> str:
    """Returns at most `most` pairs of a map, truncated: metadata is the shard's own and may be large."""
    shown = ", ".join(f"{cut(k, 24)!r}: {cut(v, 24)!r}" for k, v in sorted(pairs.items())[:most])
    more = f", … {len(pairs)} keys" if len(pairs) > most else ""
    return "{" + shown + more + "}"


def describe_request(request: Message) -> str:
    """Returns a request in one line: without the bootstrap blob, metadata truncated, the token in words."""
    parts: list[str] = []
    for descriptor, value in request.ListFields():
        match descriptor.name:
            case "bootstrap_blob":
                parts.append(f"bootstrap_blob={len(value)} bytes")
            case "shard_metadata":
                parts.append(f"shard_metadata={describe_map(dict(value))}")
            case "states":
                parts.append(f"states=[{', '.join(_state_name(s) for s in value)}]")
            case "since_revision":
                parts.append(f"since_revision={cut(value.hex(), 32)}")
            case "shard_id" | "shard_epoch" | "sequence_number":
                pass
            case "machine_id" | "id":
                parts.append(cut(value))
            case name:
                parts.append(f"{name}={cut(str(value))}")
    token = token_of(request)
    return ", ".join([*parts, f"token {token}"] if token is not None else parts)


def describe_response(response: object) -> str:
    """Returns a response in one line."""
    match response:
        case pb.TransitionAck():
            return f"operation {cut(response.operation_id)!r}, {describe_machine(response.machine)}"
        case pb.Machine():
            return describe_machine(response)
        case pb.MachineList():
            number = len(response.machines)
            revision = cut(response.revision.hex(), 32) or "none"
            return f"{number} {'machine' if number == 1 else 'machines'}, revision {revision}"
        case CallSummary(words=words):
            return words
        case _:
            return ""


def describe_machine(machine: pb.Machine) -> str:
    """Returns a machine in a few words: its state, and the fields of a binding or a failure."""
    parts = [_state_name(machine.state)]
    if machine.host.ref:
        parts.append(f"host {cut(machine.host.ref)}")
    if machine.cluster:
        parts.append(f"cluster {cut(machine.cluster)}")
    if machine.shard_metadata:
        parts.append(f"metadata {describe_map(dict(machine.shard_metadata))}")
    if machine.last_error:
        parts.append(f"last_error {cut(machine.last_error)!r}")
    return " ".join(parts)


def token_of(request: Message) -> Token | None:
    """Returns the fencing token of a mutating request; None for Get and List."""
    match request:
        case pb.CreateRequest() | pb.ConfigureRequest() | pb.DrainRequest() | pb.DeleteRequest():
            return Token(request.shard_id, request.shard_epoch, request.sequence_number)
        case _:
            return None


def _state_name(number: int) -> str:
    return state_of(number).name if number == state_of(number) else f"state {number}"


class CallLog:
    """The calls of one behaviour, in the order in which they ended, with the states of its machines."""

    def __init__(self, machines: Collection[str] = ()) -> None:
        self.calls: list[Call] = []
        self.unanswered: list[Call] = []
        """The calls that were not answered in spite of all retries, and that no code has taken into account."""
        self._machines = machines

    def add(self, call: Call) -> None:
        """Adds a call."""
        self.calls.append(call.compact(self._machines))


_current: ContextVar[CallLog | None] = ContextVar("conformance_call_log", default=None)


def record(call: Call) -> None:
    """Adds `call` to the log of the current task, which it shares with the tasks that it starts."""
    log = _current.get()
    if log is not None:
        log.add(call)


def recorded_calls() -> tuple[Call, ...]:
    """Returns the calls in the current task's log so far."""
    log = _current.get()
    return tuple(log.calls) if log is not None else ()


def note_unanswered(call: Call) -> None:
    """Adds to the current task's log a call that was not answered in spite of all retries.

    Does nothing if the kit has ended the call itself.
    """
    log = _current.get()
    if log is not None and not call.ended_by_kit:
        log.unanswered.append(call)


def answers_of(calls: Sequence[Call]) -> list[Call]:
    """Returns the answered ones of some calls. The others are taken into account: the caller concludes without them.

    Without this, no result is final in whose attempt a call was not answered.
    """
    log = _current.get()
    if log is not None:
        numbers = {call.number for call in calls}
        log.unanswered = [call for call in log.unanswered if call.number not in numbers]
    return [call for call in calls if call.answered]


def require_from_provider(call: Call) -> None:
    """Raises NotObserved for an HTTP status that gRPC reads as UNIMPLEMENTED: a proxy may have answered so."""
    if call.http_unimplemented:
        raise NotObserved(f"{call.rpc} answered {call.outcome()}, which is not evidence about the provider")


@contextmanager
def recording(log: CallLog) -> Iterator[CallLog]:
    """Records in `log` every call that the body makes, also from tasks that it starts."""
    reset = _current.set(log)
    try:
        yield log
    finally:
        _current.reset(reset)
