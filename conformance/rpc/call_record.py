"""A call as a record stores it: exactly the parts that reports show, or only those that are not text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import grpc
from msgspec import Meta, Struct, structs

from conformance.core.fencing import Token
from conformance.core.json_reader import check_depth
from conformance.core.lifecycle import State
from conformance.core.text import cut
from conformance.core.value_types import Seconds
from conformance.rpc.call import CLOCK_DECIMALS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from conformance.rpc.call import CallView

_KEYS = {
    "machine_id": "machine",
    "status": "code",
    "started": "at",
    "outcome_text": "outcome",
    "message": "sent",
    "states": "seen",
}
"""The JSON keys of fields with other names."""
NANOSECONDS: Final = 1_000_000_000
"""The resolution of the run's clock, per second."""


_CODES: Final = {code.name: code for code in grpc.StatusCode}
_STATES: Final = {state.name: state for state in State}


def _check_names(status: str, states: Iterable[str]) -> None:
    """Raises ValueError for the name of a status or a state that does not exist."""
    if status not in _CODES:
        raise ValueError(f"unknown gRPC status {status!r}")
    for state in states:
        if state not in _STATES:
            raise ValueError(f"unknown machine state {state!r}")


class CallRecord(Struct, frozen=True, kw_only=True, rename=_KEYS):
    """One RPC in words: a `CallView`, like the `Call` that it was made from. A record's JSON is decoded into it."""

    rpc: str
    machine_id: str
    token: Token | None
    status: str
    answered: bool
    started: Seconds
    seconds: Seconds
    request: str
    outcome_text: str
    message: dict[str, Any]
    states: dict[str, str]

    def __post_init__(self) -> None:
        _check_names(self.status, self.states.values())
        check_depth(self.message, "sent")

    @property
    def code(self) -> grpc.StatusCode:
        """The status that the call ended with."""
        return _CODES[self.status]

    @property
    def ended(self) -> float:
        """The end, in seconds on the run's clock."""
        return round(self.started + self.seconds, CLOCK_DECIMALS)

    def request_text(self) -> str:
        """Returns the request in one line."""
        return self.request

    def outcome(self) -> str:
        """Returns the outcome in one line."""
        return self.outcome_text

    def request_json(self) -> Mapping[str, Any]:
        """Returns the request as protobuf JSON."""
        return self.message

    def machine_states(self, machines: Collection[str]) -> Mapping[str, State]:
        """Returns, by machine id, the states of those of `machines` that are in the response."""
        return {machine: _STATES[state] for machine, state in self.states.items() if machine in machines}


def to_record(call: CallView, machines: Collection[str]) -> CallRecord:
    """Returns the record of `call`, with the states of `machines` only."""
    return CallRecord(
        rpc=call.rpc,
        machine_id=call.machine_id,
        token=call.token,
        status=call.code.name,
        answered=call.answered,
        started=call.started,
        seconds=round(call.ended - call.started, CLOCK_DECIMALS),
        request=call.request_text(),
        outcome_text=call.outcome(),
        message=dict(call.request_json()),
        states={machine: state.name for machine, state in call.machine_states(machines).items()},
    )


class BriefCall(Struct, frozen=True, array_like=True):
    """One RPC without text: a `CallView` of a call that shows no failure. A record has it as an array.

    Its text is what its other parts say: without messages, operation ids, bindings and metadata.
    """

    rpc: str
    machine_id: str
    status: str
    start_ns: Annotated[int, Meta(ge=0)]
    """The start, in nanoseconds on the run's clock."""
    duration_ns: Annotated[int, Meta(ge=0)]
    state: str = ""
    """The state of the requested machine in the response; empty if that is not in it."""
    others: dict[str, str] = {}
    """The states of the behaviour's other machines in the response."""
    numbers: tuple[str, int, int] | None = None
    """The token's shard, epoch and sequence."""
    answered: bool = True

    def __post_init__(self) -> None:
        _check_names(self.status, [*([self.state] if self.state else []), *self.others.values()])

    @property
    def token(self) -> Token | None:
        """The fencing token; None for Get and List."""
        return Token(*self.numbers) if self.numbers is not None else None

    @property
    def code(self) -> grpc.StatusCode:
        """The status that the call ended with."""
        return _CODES[self.status]

    @property
    def started(self) -> float:
        """The start, in seconds on the run's clock."""
        return self.start_ns / NANOSECONDS

    @property
    def ended(self) -> float:
        """The end, in seconds on the run's clock."""
        return (self.start_ns + self.duration_ns) / NANOSECONDS

    def request_text(self) -> str:
        """Returns the request in one line: the machine and the token."""
        return ", ".join([*filter(None, [cut(self.machine_id)]), *([f"token {self.token}"] if self.numbers else [])])

    def outcome(self) -> str:
        """Returns the outcome in one line: the status and the state."""
        origin = "" if self.answered else " (no answer from the provider)"
        return f"{self.status}{origin} {self.state}".rstrip()

    def request_json(self) -> Mapping[str, Any]:
        """Returns the parts of the request that were recorded."""
        machine = {"id" if self.numbers is None else "machine_id": self.machine_id} if self.machine_id else {}
        return machine | dict(zip(_TOKEN_FIELDS, map(str, self.numbers or ()), strict=False))

    def machine_states(self, machines: Collection[str]) -> Mapping[str, State]:
        """Returns, by machine id, the states of those of `machines` that are in the response."""
        shown = ({self.machine_id: self.state} if self.state else {}) | self.others
        return {machine: _STATES[state] for machine, state in shown.items() if machine in machines}

    def row(self) -> list[Any]:
        """Returns the call as a JSON array, without the last fields that have default values."""
        row = [list(one) if isinstance(one, tuple) else one for one in structs.astuple(self)]
        for default in _DEFAULTS:
            if row[-1] != default:
                break
            row.pop()
        return row


_TOKEN_FIELDS: Final = ("shard_id", "shard_epoch", "sequence_number")
_DEFAULTS: Final[tuple[object, ...]] = (True, None, {}, "")
"""The default values of the last fields of a `BriefCall`, the last one first."""


def to_brief(call: CallView, machines: Collection[str]) -> BriefCall:
    """Returns `call` without text, with the states of `machines` only."""
    if isinstance(call, BriefCall):
        return call
    token, machine_id = call.token, call.machine_id
    states = {machine: state.name for machine, state in call.machine_states(machines).items()}
    start = round(call.started * NANOSECONDS)
    return BriefCall(
        call.rpc,
        machine_id,
        call.code.name,
        start,
        max(0, round(call.ended * NANOSECONDS) - start),
        states.pop(machine_id, ""),
        states,
        (token.shard, token.epoch, token.sequence) if token is not None else None,
        call.answered,
    )
