"""A behaviour: a catalogue entry, its needs, and the function that proves it. A plan is a tuple of behaviours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from conformance.core.lifecycle import State
from conformance.fleet.needs import START_STATES, Needs, recording_needs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from conformance.core.catalogue import Entry
    from conformance.fleet.needs import RecordingKey, WatchedEdges
    from conformance.testkit.trial import Trial

    Body: TypeAlias = Callable[[Trial], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Behaviour:
    """A behaviour: an entry of the catalogue, its needs, and the function that judges it."""

    entry: Entry
    needs: Needs
    body: Body

    @property
    def id(self) -> str:
        """The id in the catalogue."""
        return self.entry.id


Plan: TypeAlias = tuple[Behaviour, ...]


def with_own_machines(behaviours: Iterable[Behaviour]) -> Iterator[Behaviour]:
    """Yields the behaviours that need machines of their own: only the first of those with the same recording."""
    recorded: set[RecordingKey] = set()
    for behaviour in behaviours:
        recording = behaviour.needs.recording
        if recording not in recorded:
            yield behaviour
        if recording:
            recorded.add(recording)


DECLARATION_ATTRIBUTE: Final = "__conformance_behaviour__"


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
    restarts: bool = False,
    upgrades: bool = False,
    returned: bool = False,
    watches: WatchedEdges = (),
    shares: str = "",
) -> Callable[[Body], Body]:
    """Declares that the decorated coroutine function proves `behaviour_id` of the catalogue.

    The needs of a behaviour that `watches` edges follow from the edges. Raises ValueError if it declares others, or if
    machines cannot start in `start`.
    """
    if start not in START_STATES:
        raise ValueError(f"{behaviour_id} cannot start at {start.name}")
    needs = Needs(
        machines=machines,
        start=start,
        bound=bound,
        alone=alone,
        transitions=transitions,
        creates=creates,
        deletes=deletes,
        restarts=restarts,
        upgrades=upgrades,
        returned=returned,
        shares=shares,
    )
    if watches and needs != Needs():
        raise ValueError(f"{behaviour_id} watches edges, so it must not declare other needs")
    if watches:
        needs = recording_needs(watches)

    def mark(body: Body) -> Body:
        setattr(body, DECLARATION_ATTRIBUTE, (behaviour_id, needs))
        return body

    return mark


def declaration_of(function: Any) -> tuple[str, Needs] | None:
    """Returns the id and the needs that `behaviour` declared for a function; None for any other function."""
    declaration: tuple[str, Needs] | None = getattr(function, DECLARATION_ATTRIBUTE, None)
    return declaration
