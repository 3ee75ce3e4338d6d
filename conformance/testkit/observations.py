"""What was observed of a machine on its way: single readings, acks, and a whole recorded passage. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.core.lifecycle import State, Verb, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.rpc.call import Call


@dataclass(frozen=True, slots=True)
class Observation:
    """One reading of the machine, by Get or by List."""

    rpc: str
    machine: pb.Machine

    @property
    def state(self) -> State:
        """The state that it shows."""
        return state_of(self.machine.state)

    @property
    def where(self) -> str:
        """Where this was read, in words."""
        return f"{self.rpc} of {self.machine.id}, {self.state.name},"


@dataclass(frozen=True, slots=True)
class Ack:
    """The ack of an edge's call, or of a repetition of that call: then `when` says at which point."""

    verb: Verb
    call: Call
    when: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """What was shown of one machine while it went along some edges."""

    machine: str
    """Its id."""
    seen: tuple[Observation, ...]
    """By Get and List, and in the acks."""
    acks: tuple[Ack, ...]
    """Three for each edge: the first, and the same call repeated in flight and at rest. Refused calls are left out."""
    controls: Mapping[Verb, Call]
    """Before each edge, a call that starts nothing: how long this provider takes for any answer."""
    unlisted: tuple[Call, ...] | None
    """Lists of everything that did not hold the machine; None for a fleet too large to list again and again."""
    calls: tuple[Call, ...]
    """All of them."""

    def at(self, *verbs: Verb) -> Iterator[Ack]:
        """Returns the acks of these edges."""
        return (ack for ack in self.acks if ack.verb in verbs)
