"""The needs of a behaviour: its machines, the states in which they start, and how long it keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from conformance.core.lifecycle import EDGES, State, Verb

WatchedEdges: TypeAlias = tuple[Verb, ...]
"""The edges of a recorded lifecycle, in order."""
RecordingKey: TypeAlias = tuple[str, ...]
"""Identifies a recording that several behaviours judge: its edges, or the name of another kind; empty for none."""
MAX_TRANSITIONS_OF_LAST_USE: Final = 2
"""A behaviour that ends with a Delete and takes at most this many transitions runs last, on a machine that has to be
deleted anyway."""
START_STATES: Final = (State.SPECULATIVE, State.IDLE, State.CONFIGURED)
"""The states in which machines can start, in the order of the lifecycle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The needs that the engine meets before the body of a behaviour runs.

    `machines`: their number. They are in state `start`, except the last `bound` ones, which are CONFIGURED. The engine
    leases all or none. `alone`: no other behaviour of the run is active meanwhile. `transitions`: the number of
    transitions, or windows of that length, that the body waits for sequentially, with the Drain after a binding that no
    other behaviour can use; longer behaviours start first. `creates`: the body itself may start machines. `deletes`: it
    ends with a Delete. `restarts`: the body ends the provider and starts it again, so it is alone. `upgrades`: it
    starts a newer version, which cannot be taken back, so it comes after all others. `returned`: it is judged after all
    machines of the run were returned, and has none. `watches`: the edges of a recorded lifecycle that the body only
    observes; one recording serves all behaviours that watch the same edges. `shares`: the name of a recording of
    another kind, which the first behaviour that needs it makes on its machines for all.
    """

    machines: int = 0
    start: State = State.IDLE
    bound: int = 0
    alone: bool = False
    transitions: int = 0
    creates: bool = False
    deletes: bool = False
    restarts: bool = False
    upgrades: bool = False
    returned: bool = False
    watches: WatchedEdges = ()
    shares: str = ""
    starts: tuple[State, ...] = field(init=False, repr=False, compare=False)
    """The state in which each machine starts. Computed once: the scheduler reads it whenever a behaviour ends."""

    def __post_init__(self) -> None:
        starts = (self.start,) * (self.machines - self.bound) + (State.CONFIGURED,) * self.bound
        object.__setattr__(self, "starts", starts)
        object.__setattr__(self, "alone", self.alone or self.restarts or self.upgrades)
        object.__setattr__(self, "restarts", self.restarts or self.upgrades)

    @property
    def recording(self) -> RecordingKey:
        """The recording that the behaviour judges, or makes if it does not exist yet."""
        return (self.shares,) if self.shares else self.watches

    @property
    def chain(self) -> int:
        """The number of sequential transitions from a machine's original state until it is back there."""
        to_start = max((START_STATES.index(start) for start in self.starts), default=0)
        return (to_start + self.transitions + (not self.deletes)) if self.machines else 0

    @property
    def weight(self) -> int:
        """The number of transitions to wait for if an IDLE machine is available."""
        return self.transitions + (State.CONFIGURED in self.starts)

    @property
    def uses_slots(self) -> bool:
        """True if the body reads slots, before a Create or after a Delete. No claim protects a slot."""
        return State.SPECULATIVE in self.starts or self.creates or self.deletes

    @property
    def can_be_last_use(self) -> bool:
        """True if this can be the last use of a machine: the body deletes it, and takes hardly longer than that."""
        return self.deletes and not self.creates and self.transitions <= MAX_TRANSITIONS_OF_LAST_USE


def recording_needs(verbs: WatchedEdges) -> Needs:
    """Returns the needs of a behaviour that records a lifecycle along these edges."""
    return Needs(
        machines=1,
        start=EDGES[verbs[0]].source,
        transitions=len(verbs),
        creates=Verb.CREATE in verbs,
        deletes=verbs[-1] is Verb.DELETE,
        watches=verbs,
    )
