"""A call as a record keeps it: what every report tells of it, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import grpc

    from conformance.call import Told
    from conformance.lifecycle import State
    from conformance.token import Token


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One RPC, in words: a `Told` like the `Call` that it once was."""

    rpc: str
    machine_id: str
    token: Token | None
    code: grpc.StatusCode
    answered: bool
    started: float
    ended: float
    request: str
    came: str
    message: Mapping[str, Any]
    states: Mapping[str, State]

    def asked(self) -> str:
        """The request in a few words."""
        return self.request

    def outcome(self) -> str:
        """What came, in a few words."""
        return self.came

    def sent(self) -> Mapping[str, Any]:
        """The request as protobuf's JSON."""
        return self.message

    def seen(self, machines: Collection[str]) -> Mapping[str, State]:
        """The states in which the answer showed those of `machines` that it told of."""
        return {machine: state for machine, state in self.states.items() if machine in machines}


def keep(call: Told, machines: Collection[str]) -> Kept:
    """What is to be told of `call`, and of those `machines` whose states matter."""
    return Kept(
        rpc=call.rpc,
        machine_id=call.machine_id,
        token=call.token,
        code=call.code,
        answered=call.answered,
        started=call.started,
        ended=call.ended,
        request=call.asked(),
        came=call.outcome(),
        message=call.sent(),
        states=call.seen(machines),
    )
