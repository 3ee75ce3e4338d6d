"""A call as a record stores it: exactly the parts that reports show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from msgspec import Struct

from conformance.core.fencing import Token
from conformance.core.json_reader import check_depth
from conformance.core.lifecycle import State
from conformance.core.value_types import Seconds
from conformance.rpc.call import CLOCK_DECIMALS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

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
        if self.status not in grpc.StatusCode.__members__:
            raise ValueError(f"unknown gRPC status {self.status!r}")
        for state in self.states.values():
            if state not in State.__members__:
                raise ValueError(f"unknown machine state {state!r}")
        check_depth(self.message, "sent")

    @property
    def code(self) -> grpc.StatusCode:
        """The status that the call ended with."""
        return grpc.StatusCode[self.status]

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
        return {machine: State[state] for machine, state in self.states.items() if machine in machines}


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
