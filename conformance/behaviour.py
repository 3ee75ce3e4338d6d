"""A behaviour: a catalogue entry, what it needs, and the function that proves it. Many make a plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from conformance.lifecycle import EDGES, State, Verb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from conformance.catalogue import Entry
    from conformance.trial import Trial

    Body: TypeAlias = Callable[[Trial], Awaitable[None]]

Watched: TypeAlias = tuple[Verb, ...]
"""The edges of a passage, one after the other."""
SHORT: Final = 2
"""Transitions. What ends with a Delete and takes no more is left to the end, where the Delete is due anyway."""
STARTS: Final = (State.SPECULATIVE, State.IDLE, State.CONFIGURED)
"""Where machines can start, in the order of their way from home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the engine provides before the body runs.

    `machines` in state `start`, but for the last `bound` of them, which are CONFIGURED; leased all or none.
    `alone`: nothing else of this run moves meanwhile. `transitions`: how many transitions, or windows as long as one,
    are waited for, one after the other, with the Drain after a binding that nobody else can use; what starts first is
    decided by it. `creates`: whether the body itself may start machines. `deletes`: whether it ends with a Delete.
    `watches`: the edges of a passage that it looks on at, and does nothing else; one serves all that watch the same.
    """

    machines: int = 0
    start: State = State.IDLE
    bound: int = 0
    alone: bool = False
    transitions: int = 0
    creates: bool = False
    deletes: bool = False
    watches: Watched = ()
    starts: tuple[State, ...] = field(init=False, repr=False, compare=False)
    """Where each of the machines starts: kept, as what can begin next is asked again whenever something ends."""

    def __post_init__(self) -> None:
        starts = (self.start,) * (self.machines - self.bound) + (State.CONFIGURED,) * self.bound
        object.__setattr__(self, "starts", starts)

    @property
    def chain(self) -> int:
        """Transitions from a machine at home to a machine at home again, one after the other."""
        to_start = max((STARTS.index(start) for start in self.starts), default=0)
        return (to_start + self.transitions + (not self.deletes)) if self.machines else 0

    @property
    def weight(self) -> int:
        """Transitions that are still to be waited for where an IDLE machine is at hand."""
        return self.transitions + (State.CONFIGURED in self.starts)

    @property
    def slots(self) -> bool:
        """Whether it looks at slots, before a Create or after a Delete: no claim protects those."""
        return State.SPECULATIVE in self.starts or self.creates or self.deletes

    @property
    def leaves(self) -> bool:
        """Whether it can be the last that a machine is wanted for: it deletes it, and takes hardly longer than that."""
        return self.deletes and not self.creates and self.transitions <= SHORT


def watching(verbs: Watched) -> Needs:
    """What a passage along these edges takes."""
    return Needs(
        machines=1,
        start=EDGES[verbs[0]].source,
        transitions=len(verbs),
        creates=Verb.CREATE in verbs,
        deletes=verbs[-1] is Verb.DELETE,
        watches=verbs,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Behaviour:
    """An entry of the catalogue with the function that judges it."""

    entry: Entry
    needs: Needs
    body: Body

    @property
    def id(self) -> str:
        """The catalogue's id."""
        return self.entry.id


Plan: TypeAlias = tuple[Behaviour, ...]


def apart(behaviours: Iterable[Behaviour]) -> Iterator[Behaviour]:
    """Those that need machines of their own: of all that watch the same passage, the first."""
    passages: set[Watched] = set()
    for behaviour in behaviours:
        watches = behaviour.needs.watches
        if watches not in passages:
            yield behaviour
        if watches:
            passages.add(watches)


MARK: Final = "__conformance_behaviour__"


def behaviour(
    behaviour_id: str,
    *,
    machines: int = 0,
    start: State = State.IDLE,
    bound: int = 0,
    alone: bool = False,
    transitions: int = 0,
    creates: bool = False,
    deletes: bool = False,
    watches: Watched = (),
) -> Callable[[Body], Body]:
    """Declare that the decorated coroutine function proves `behaviour_id` of the catalogue.

    Who `watches` needs what that needs, and says nothing else. Raises ValueError where it does, or cannot start so.
    """
    if start not in STARTS:
        raise ValueError(f"{behaviour_id} cannot start at {start.name}")
    needs = Needs(
        machines=machines,
        start=start,
        bound=bound,
        alone=alone,
        transitions=transitions,
        creates=creates,
        deletes=deletes,
    )
    if watches and needs != Needs():
        raise ValueError(f"{behaviour_id} watches a passage, which needs what it needs")
    if watches:
        needs = watching(watches)

    def mark(body: Body) -> Body:
        setattr(body, MARK, (behaviour_id, needs))
        return body

    return mark


def declared(function: Any) -> tuple[str, Needs] | None:
    """What `behaviour` wrote on a function; None for any other function."""
    found: tuple[str, Needs] | None = getattr(function, MARK, None)
    return found
