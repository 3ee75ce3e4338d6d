"""A behaviour: a catalogue entry, what it needs, and the function that proves it. Many make a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from conformance.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.catalogue import Entry
    from conformance.trial import Trial

    Body: TypeAlias = Callable[[Trial], Awaitable[None]]

SHORT: Final = 2
"""Transitions. What ends with a Delete and takes no more is left to the end, where the Delete is due anyway."""
STARTS: Final = (State.SPECULATIVE, State.IDLE, State.CONFIGURED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the engine provides before the body runs.

    `machines` in state `start`, leased all or none. `alone`: nothing else of this run moves meanwhile.
    `transitions`: how many transitions, or windows as long as one, the body waits for, one after the other; what
    starts first is decided by it. `creates`: whether the body itself may start machines. `deletes`: whether it ends
    with a Delete.
    """

    machines: int = 0
    start: State = State.IDLE
    alone: bool = False
    transitions: int = 0
    creates: bool = False
    deletes: bool = False

    @property
    def chain(self) -> int:
        """Transitions from a machine at home to a machine at home again, one after the other."""
        to_start = {State.SPECULATIVE: 0, State.IDLE: 1, State.CONFIGURED: 2}[self.start]
        return (to_start + self.transitions + (not self.deletes)) if self.machines else 0

    @property
    def weight(self) -> int:
        """Transitions that are still to be waited for where an IDLE machine is at hand."""
        return self.transitions + (self.start is State.CONFIGURED)

    @property
    def leaves(self) -> bool:
        """Whether it can be the last that a machine is wanted for: it deletes it, and takes hardly longer than that."""
        return self.deletes and not self.creates and self.transitions <= SHORT


@dataclass(frozen=True, slots=True, kw_only=True)
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

MARK: Final = "__conformance_behaviour__"


def behaviour(
    behaviour_id: str,
    *,
    machines: int = 0,
    start: State = State.IDLE,
    alone: bool = False,
    transitions: int = 0,
    creates: bool = False,
    deletes: bool = False,
) -> Callable[[Body], Body]:
    """Declare that the decorated coroutine function proves `behaviour_id` of the catalogue."""
    if start not in STARTS:
        raise ValueError(f"{behaviour_id} cannot start at {start.name}")
    needs = Needs(
        machines=machines, start=start, alone=alone, transitions=transitions, creates=creates, deletes=deletes
    )

    def mark(body: Body) -> Body:
        setattr(body, MARK, (behaviour_id, needs))
        return body

    return mark


def declared(function: Any) -> tuple[str, Needs] | None:
    """What `behaviour` wrote on a function; None for any other function."""
    found: tuple[str, Needs] | None = getattr(function, MARK, None)
    return found
