"""Defines a behaviour: a catalogue entry, what it needs, and the function that proves it. A plan is many of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from conformance.core.lifecycle import State
from conformance.fleet.needs import STARTS, Needs, watching

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from conformance.core.catalogue import Entry
    from conformance.fleet.needs import Watched
    from conformance.testkit.trial import Trial

    Body: TypeAlias = Callable[[Trial], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Behaviour:
    """An entry of the catalogue with what it needs and the function that judges it."""

    entry: Entry
    needs: Needs
    body: Body

    @property
    def id(self) -> str:
        """The catalogue's id."""
        return self.entry.id


Plan: TypeAlias = tuple[Behaviour, ...]


def apart(behaviours: Iterable[Behaviour]) -> Iterator[Behaviour]:
    """Yields the behaviours that need machines of their own: of all that watch the same edges, only the first."""
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
    """Declares that the decorated coroutine function proves `behaviour_id` of the catalogue.

    What a behaviour that `watches` needs follows from the edges. Raises ValueError if it declares more than that, or if
    machines cannot start in `start`.
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
    """Returns what `behaviour` declared for a function; None for any other function."""
    found: tuple[str, Needs] | None = getattr(function, MARK, None)
    return found
