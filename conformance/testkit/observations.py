"""Observations of a machine in transition: single readings, acks, and a recorded lifecycle. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

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
        """The state in the reading."""
        return state_of(self.machine.state)

    @property
    def where(self) -> str:
        """The source of the reading, for messages."""
        return f"{self.rpc} of {self.machine.id}, {self.state.name},"


@dataclass(frozen=True, slots=True)
class Ack:
    """The ack of an edge's call, or of a retry of that call: then `when` describes when it was sent."""

    verb: Verb
    call: Call
    when: str = ""


class Recorded(Protocol):
    """A recording that several behaviours judge."""

    @property
    def machines(self) -> tuple[str, ...]:
        """The ids of the recorded machines."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The recording of one machine along some edges."""

    machine: str
    """The id of the machine."""
    seen: tuple[Observation, ...]
    """The readings by Get and List, and those in the acks."""
    acks: tuple[Ack, ...]
    """Three for each edge: the first, and retries in flight and at rest. Refused calls are left out."""
    controls: Mapping[Verb, Call]
    """A call before each edge that starts no transition: it shows how long the provider takes for any answer."""
    unlisted: tuple[Call, ...] | None
    """Lists of all machines that lacked this machine; None for a fleet that is too large to list repeatedly."""
    calls: tuple[Call, ...]
    """All calls of the recording."""
    spent: tuple[tuple[Call, Call], ...] = ()
    """Calls in flight that start nothing, each with the next call at rest, which carries the same token."""

    @property
    def machines(self) -> tuple[str, ...]:
        """The ids of the recorded machines: one."""
        return (self.machine,)

    def at(self, *verbs: Verb) -> Iterator[Ack]:
        """Returns the acks of these edges."""
        return (ack for ack in self.acks if ack.verb in verbs)
