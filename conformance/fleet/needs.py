"""What a behaviour needs before its body runs: machines, where they start, and how long it keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from conformance.core.lifecycle import EDGES, State, Verb

WatchedEdges: TypeAlias = tuple[Verb, ...]
"""The edges of a recorded lifecycle, one after the other."""
MAX_TRANSITIONS_OF_LAST_USE: Final = 2
"""Transitions. A behaviour that ends with a Delete and takes no more than this runs last, on a machine that has to be
deleted anyway."""
START_STATES: Final = (State.SPECULATIVE, State.IDLE, State.CONFIGURED)
"""The states in which machines can start, in the order of the lifecycle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the engine provides before the body of a behaviour runs.

    `machines` in state `start`, except the last `bound` of them, which are CONFIGURED; leased all or none.
    `alone`: nothing else of this run moves meanwhile. `transitions`: how many transitions, or windows as long as one,
    the body waits for one after the other, with the Drain after a binding that no other behaviour can use; it decides
    what starts first. `creates`: whether the body itself may start machines. `deletes`: whether it ends with a Delete.
    `watches`: the edges of a recorded lifecycle that the body only looks at; one recording serves all behaviours that
    watch the same edges.
    """

    machines: int = 0
    start: State = State.IDLE
    bound: int = 0
    alone: bool = False
    transitions: int = 0
    creates: bool = False
    deletes: bool = False
    watches: WatchedEdges = ()
    starts: tuple[State, ...] = field(init=False, repr=False, compare=False)
    """The state in which each of the machines starts. Computed once: the scheduler reads it whenever something ends."""

    def __post_init__(self) -> None:
        starts = (self.start,) * (self.machines - self.bound) + (State.CONFIGURED,) * self.bound
        object.__setattr__(self, "starts", starts)

    @property
    def chain(self) -> int:
        """Transitions from a machine in its original state until it is back there, one after the other."""
        to_start = max((START_STATES.index(start) for start in self.starts), default=0)
        return (to_start + self.transitions + (not self.deletes)) if self.machines else 0

    @property
    def weight(self) -> int:
        """Transitions that are still to be waited for if an IDLE machine is available."""
        return self.transitions + (State.CONFIGURED in self.starts)

    @property
    def uses_slots(self) -> bool:
        """Whether the body looks at slots, before a Create or after a Delete: no claim protects those."""
        return State.SPECULATIVE in self.starts or self.creates or self.deletes

    @property
    def can_be_last_use(self) -> bool:
        """Whether this can be the last use of a machine: the body deletes it, and takes hardly longer than that."""
        return self.deletes and not self.creates and self.transitions <= MAX_TRANSITIONS_OF_LAST_USE


def recording_needs(verbs: WatchedEdges) -> Needs:
    """Returns what it takes to record a lifecycle along these edges."""
    return Needs(
        machines=1,
        start=EDGES[verbs[0]].source,
        transitions=len(verbs),
        creates=Verb.CREATE in verbs,
        deletes=verbs[-1] is Verb.DELETE,
        watches=verbs,
    )
