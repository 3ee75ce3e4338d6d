"""One finished RPC: what was asked, what came, and when. The evidence that every verdict rests on."""

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

from conformance.core.fencing import Token
from conformance.core.lifecycle import state_of
from conformance.core.text import clip
from conformance.core.text import cut as cut

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from google.protobuf.message import Message

    from conformance.core.lifecycle import State

CLOCK_DECIMALS = 9
"""Decimals of a second on the run's clock; it has no more, so that nothing is lost where they are written and read."""

HEAVY_RESPONSE_BYTES = 4096
"""Bytes: an answer that weighs more is remembered in words. A run makes ten thousand calls, and keeps them all."""


class CallView(Protocol):
    """One RPC as reports tell it: a live `Call`, or one that was read back from a log. No secrets in any of it."""

    @property
    def rpc(self) -> str:
        """The method's name: Create, Configure, Drain, Delete, Get or List."""

    @property
    def machine_id(self) -> str:
        """The machine that was asked for; empty for List."""

    @property
    def token(self) -> Token | None:
        """The fencing token; None for Get and List."""

    @property
    def code(self) -> grpc.StatusCode:
        """The status that the call ended with."""

    @property
    def answered(self) -> bool:
        """False where the status was made up on our side."""

    @property
    def started(self) -> float:
        """Seconds on the run's clock."""

    @property
    def ended(self) -> float:
        """Seconds on the run's clock."""

    def request_text(self) -> str:
        """The request in a few words."""

    def outcome(self) -> str:
        """What came, in a few words."""

    def request_json(self) -> Mapping[str, Any]:
        """The request as protobuf's JSON, fit to be sent again; a stand-in for the blob, metadata values cut."""

    def machine_states(self, machines: Collection[str]) -> Mapping[str, State]:
        """The states in which the answer showed those of `machines` that it told of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSummary:
    """What is remembered of a heavy answer, as a List of a hundred thousand machines: its words, and what matters."""

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
    """False where the status was made up on our side: connection lost, deadline passed."""
    started: float
    ended: float
    retried: bool = False
    """Whether it was made before, and had no answer but to come later: something may have come of that."""
    token_spent: bool = False
    """Whether it was turned away, and its token fenced when it was made again: stale from the start, or spent since."""
    number: int = field(default_factory=_NUMBERS.__next__, compare=False, repr=False)
    """Which call of this process it is; one that is remembered has its original's."""

    @property
    def ok(self) -> bool:
        """Whether the provider answered OK."""
        return self.code is grpc.StatusCode.OK

    @property
    def fenced(self) -> bool:
        """Whether the provider's fence refused the call (COD-3)."""
        return self.answered and self.code is grpc.StatusCode.FAILED_PRECONDITION

    @property
    def busy(self) -> bool:
        """Whether the provider said that it cannot answer now, and may later."""
        return self.answered and self.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)

    @property
    def cut_off(self) -> bool:
        """Whether its connection ended before an answer came."""
        return self.code is grpc.StatusCode.UNAVAILABLE and not self.answered

    @property
    def machine_id(self) -> str:
        """The machine that was asked for; empty for List."""
        return str(getattr(self.request, "machine_id", "") or getattr(self.request, "id", ""))

    @property
    def operation_id(self) -> str:
        """The ack's operation id; empty where there is no ack."""
        return self.response.operation_id if isinstance(self.response, pb.TransitionAck) else ""

    @property
    def price(self) -> float:
        """What an hour of the ack's machine costs; 0 where there is no ack."""
        return self.response.machine.price_per_hour if isinstance(self.response, pb.TransitionAck) else 0.0

    def outcome(self) -> str:
        """What came, in a few words."""
        if self.ok:
            return f"OK {describe_response(self.response)}".rstrip()
        origin = "" if self.answered else " (no answer from the provider)"
        return f"{self.code.name}{origin}: {cut(self.details, 200)}" if self.details else f"{self.code.name}{origin}"

    def request_text(self) -> str:
        """The request in a few words."""
        return describe_request(self.request)

    def request_json(self) -> Mapping[str, Any]:
        """The request as protobuf's JSON, fit to be sent again; a stand-in for the blob, metadata values cut."""
        public = type(self.request)()
        public.CopyFrom(self.request)
        if isinstance(public, pb.ConfigureRequest):
            if public.bootstrap_blob:
                # Equal blobs stay equal, as what is judged may rest on that.
                public.bootstrap_blob = b"blob-" + sha256(public.bootstrap_blob).hexdigest()[:8].encode()
            for key, value in list(public.shard_metadata.items()):
                del public.shard_metadata[key]
                public.shard_metadata[clip(key)] = cut(value)
        sent: dict[str, Any] = _shortened(json_format.MessageToDict(public, preserving_proto_field_name=True))
        return sent

    def compact(self, machines: Collection[str]) -> Call:
        """The call without the weight of its answer: that in words, and what it showed of `machines`, are kept."""
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
        """The states in which the answer showed those of `machines` that it told of."""
        match self.response:
            case CallSummary(states=states):
                return {machine: state for machine, state in states.items() if machine in machines}
            case pb.TransitionAck():
                told = [self.response.machine]
            case pb.Machine():
                told = [self.response]
            case pb.MachineList():
                told = list(self.response.machines)
            case _:
                told = []
        return {machine.id: state_of(machine.state) for machine in told if machine.id in machines}

    def __str__(self) -> str:
        return one_line(self)


def one_line(call: CallView) -> str:
    """A call in one line: what was asked, and what came."""
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
    """A few keys of a map, values cut: metadata is the shard's business, not the log's."""
    shown = ", ".join(f"{cut(k, 24)!r}: {cut(v, 24)!r}" for k, v in sorted(pairs.items())[:most])
    more = f", … {len(pairs)} keys" if len(pairs) > most else ""
    return "{" + shown + more + "}"


def describe_request(request: Message) -> str:
    """A request in one line: no bootstrap blob, metadata cut, the token in words."""
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
    """A response in one line."""
    match response:
        case pb.TransitionAck():
            return f"operation {cut(response.operation_id)!r}, {describe_machine(response.machine)}"
        case pb.Machine():
            return describe_machine(response)
        case pb.MachineList():
            return f"{len(response.machines)} machines, revision {cut(response.revision.hex(), 32) or 'none'}"
        case CallSummary(words=words):
            return words
        case _:
            return ""


def describe_machine(machine: pb.Machine) -> str:
    """A machine in a few words: its state, and what a binding or a failure adds."""
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
    """The fencing token in a mutating request; None for Get and List."""
    match request:
        case pb.CreateRequest() | pb.ConfigureRequest() | pb.DrainRequest() | pb.DeleteRequest():
            return Token(request.shard_id, request.shard_epoch, request.sequence_number)
        case _:
            return None


def _state_name(number: int) -> str:
    return state_of(number).name if number == state_of(number) else f"state {number}"


class CallLog:
    """The calls of one behaviour, in the order in which they ended, and what they showed of its machines."""

    def __init__(self, machines: Collection[str] = ()) -> None:
        self.calls: list[Call] = []
        self.unanswered = 0
        """How often no answer came, and asking again was not possible or did not help."""
        self._machines = machines

    def add(self, call: Call) -> None:
        """Record one more."""
        self.calls.append(call.compact(self._machines))


_current: ContextVar[CallLog | None] = ContextVar("conformance_call_log", default=None)


def record(call: Call) -> None:
    """Write `call` into the log of whoever made it: a task and all that it spawns share one."""
    log = _current.get()
    if log is not None:
        log.add(call)


def recorded_calls() -> tuple[Call, ...]:
    """The calls so far of whoever asks."""
    log = _current.get()
    return tuple(log.calls) if log is not None else ()


def note_unanswered() -> None:
    """Say that whoever called will not get an answer."""
    log = _current.get()
    if log is not None:
        log.unanswered += 1


@contextmanager
def recording(log: CallLog) -> Iterator[CallLog]:
    """Every call made inside, also by tasks started inside, goes to `log`."""
    reset = _current.set(log)
    try:
        yield log
    finally:
        _current.reset(reset)
