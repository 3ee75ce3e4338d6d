"""Selects the machines of a lease: pure functions of the free machines and of the number of live ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance.core.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from conformance.fleet.machine import Machine
    from conformance.fleet.needs import Needs

ENOUGH_ALIVE_SHARE: Final = 0.75
"""If more than this share of the preferred number of machines is alive, no Create replaces deleted ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The number of machines that may live at once."""

    preferred: int
    """The number that the pool keeps alive."""
    limit: int | None = None
    """The number that may live at once, including machines that are never leased again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The numbers of machines that the kit has started. One that was found IDLE does not count: it costs no more."""

    leased: int
    """Leased machines that live, or will live."""
    alive: int
    """Leased and free machines that live, or will live."""
    retired: int
    """Machines that are never leased again, and live or may live."""
    started: int
    """Machines that were started for leases so far."""
    deletes: bool = True
    """False if the provider has no Delete: a machine that lives never becomes a slot again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """The free machines that a lease can choose from."""

    live: Sequence[Machine]
    """The machines that live, the most suitable first."""
    slots: Sequence[Machine]
    """The slots, the most suitable first."""
    deletable: Sequence[Machine]
    """The machines that live and may be deleted to get a slot."""
    room: int
    """The number of slots in which machines may be created."""
    reserved: Collection[State]
    """Machines in these states are left to leases that start there."""
    slot_may_return: bool
    """True if a leased machine may become a slot again."""


def room(needs: Needs, load: Load, capacity: Capacity) -> int:
    """Returns the number of machines that may be started for `needs`."""
    preferred = _preferred_starts(needs, load, capacity)
    if capacity.limit is None:
        return preferred
    return min(preferred, max(0, capacity.limit - load.alive - load.retired))


def _preferred_starts(needs: Needs, load: Load, capacity: Capacity) -> int:
    if not needs.transitions and load.leased:
        # A short lease waits for a live machine instead of starting another one.
        return 0
    if not load.deletes and not load.leased and needs.creates and State.SPECULATIVE in needs.starts:
        # No living machine will become a slot, so each attempt at a Create may exceed the preferred number.
        return max(needs.machines, capacity.preferred - load.alive)
    if State.SPECULATIVE not in needs.starts and load.alive > ENOUGH_ALIVE_SHARE * capacity.preferred and load.leased:
        # Nearly the preferred number is alive, and one of them may become free: replace no deleted machine.
        return max(0, capacity.preferred - load.started)
    return max(0, capacity.preferred - load.alive)


def choose(stock: Stock, needs: Needs) -> tuple[Machine, ...] | None:
    """Returns a machine for each start of `needs`, in this order; None if there are not enough."""
    chosen: list[Machine] = []
    for start in needs.starts:
        machine = next((m for m in _candidates(stock, start, creates=needs.creates) if m not in chosen), None)
        if machine is None:
            return None
        chosen.append(machine)
    return tuple(chosen)


def _candidates(stock: Stock, start: State, *, creates: bool) -> Sequence[Machine]:
    """Returns the machines that could start in this state, the most suitable first."""
    if start is not State.SPECULATIVE:
        return _live_candidates(stock, start)
    if creates:
        # A machine that is created counts in place of the one that was deleted for its slot.
        return [*stock.slots[: stock.room], *stock.deletable]
    # The user of a slot is not visible, so one that the kit owned is best. If one may be returned, the lease waits.
    return [*(m for m in stock.slots if m.ownership.won or not stock.slot_may_return), *stock.deletable]


def _live_candidates(stock: Stock, start: State) -> Sequence[Machine]:
    there = [m for m in stock.live if m.state is start]
    elsewhere = [m for m in stock.live if m.state not in {start, *stock.reserved}]
    # A slot passes through IDLE, so it is reserved if IDLE machines are.
    startable = stock.slots[: stock.room] if start is State.IDLE or State.IDLE not in stock.reserved else []
    return [*there, *elsewhere, *startable]
