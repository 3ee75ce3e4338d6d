"""What is still to be judged, in the order in which it should begin, and which machines are kept for it.

Three phases, one after the other. Most behaviours run together. A few need a quiet fleet, and run alone on machines
that are at rest. Behaviours that end with a Delete come last, on machines that are cleaned up anyway: a Delete in the
middle of a run would cost one more Create.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from conformance.core.lifecycle import State
from conformance.engine.preflight import start_order
from conformance.fleet.needs import START_STATES
from conformance.fleet.pool import Lease
from conformance.testkit.behaviour import with_own_machines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from conformance.fleet.machine import Machine
    from conformance.fleet.needs import Needs, WatchedEdges
    from conformance.fleet.pool import Pool
    from conformance.testkit.behaviour import Behaviour


class Phase(Enum):
    """Which behaviours may run at the same time."""

    TOGETHER = auto()
    QUIET = auto()
    LEAVING = auto()


@dataclass(slots=True, kw_only=True)
class _Round:
    """One look at what can begin: what has been tried in it, and what is set aside for behaviours that must wait."""

    busy: int
    """How many jobs are running."""
    wanted: frozenset[State]
    """The states in which waiting behaviours want machines that are not easily brought there."""
    reserved: set[State] = field(default_factory=set)
    """The states whose machines are left to a behaviour that wants several of them."""
    refused: set[Needs] = field(default_factory=set)
    """Needs for which there was no lease. The answer stays the same until something else is leased."""

    def may_try(self, needs: Needs) -> bool:
        """Returns whether a lease for `needs` is worth asking for, and takes no machine that is reserved."""
        return needs not in self.refused and not (needs.transitions and self.reserved.intersection(needs.starts))

    def began(self) -> None:
        """Notes that something was leased."""
        self.busy += 1
        self.refused.clear()

    def failed(self, needs: Needs) -> None:
        """Notes that there was no lease for `needs`."""
        self.refused.add(needs)
        # If each machine that is returned went to another behaviour, several would never be free together.
        if needs.machines > 1 and needs.transitions and self.busy:
            self.reserved.add(needs.start)


class Scheduler:
    """The behaviours of a run that have not begun yet."""

    def __init__(self, behaviours: Iterable[Behaviour], *, keep: bool) -> None:
        self._phase = Phase.TOGETHER
        self._keep = keep
        self._phases: dict[Phase, list[Behaviour]] = {phase: [] for phase in Phase}
        self._under_way: set[WatchedEdges] = set()
        """The lifecycles that are being recorded: behaviours that watch them wait, and need no machine."""
        for behaviour in behaviours:
            self._phases[_phase_of(behaviour)].append(behaviour)
        for phase, waiting in self._phases.items():
            # In the quiet phase, behaviours that leave a machine as it was come before those that move it.
            waiting.sort(key=lambda b: b.needs.transitions if phase is Phase.QUIET else start_order(b.needs))

    def turn(self, phase: Phase) -> None:
        """Enters the next phase."""
        self._phase = phase

    @property
    def pending(self) -> list[Behaviour]:
        """What waits in this phase. The engine adds behaviours that have to be judged again, and removes others."""
        return self._phases[self._phase]

    @property
    def _later(self) -> list[Behaviour]:
        """What waits in the phases after this one."""
        return [b for phase, waiting in self._phases.items() if phase.value > self._phase.value for b in waiting]

    @property
    def rest(self) -> list[Behaviour]:
        """Everything that has not begun, in any phase."""
        return [behaviour for waiting in self._phases.values() for behaviour in waiting]

    def drop(self, behaviour: Behaviour) -> None:
        """Removes a behaviour that has begun, or will not be judged."""
        for waiting in self._phases.values():
            if behaviour in waiting:
                waiting.remove(behaviour)

    def clear(self) -> None:
        """Removes everything: nothing more will be judged."""
        for waiting in self._phases.values():
            waiting.clear()

    def due(
        self, pool: Pool, passages: Collection[WatchedEdges], *, running: Collection[Behaviour | None], jobs: int
    ) -> Iterator[tuple[Behaviour, Lease]]:
        """Yields what can begin now, each behaviour with its lease, as long as no more than `jobs` jobs run.

        `running` has None for a job that only cleans machines up. A behaviour that watches a lifecycle needs no
        machine once that is recorded, and waits while it is being recorded.
        """
        for behaviour in [b for b in self.rest if b.needs.watches in passages]:
            self.drop(behaviour)
            yield behaviour, Lease(machines=(), starts=())
        self._under_way = {behaviour.needs.watches for behaviour in running if behaviour} - {()}
        this = _Round(busy=len(running), wanted=_wanted(self.pending))
        for behaviour in list(self.pending):
            if this.busy >= jobs:
                return
            if behaviour.needs.watches in self._under_way or not this.may_try(behaviour.needs):
                continue
            lease = self._lease_for(behaviour, pool, this)
            if lease is None:
                this.failed(behaviour.needs)
                continue
            this.began()
            chosen, _ = lease
            self.drop(chosen)
            self._under_way |= {chosen.needs.watches} - {()}
            yield lease

    def _lease_for(self, behaviour: Behaviour, pool: Pool, this: _Round) -> tuple[Behaviour, Lease] | None:
        """Returns a lease for the behaviour, or for another one that makes room for it; None if there is none now."""
        needs = behaviour.needs
        lease = pool.lease(needs, reserved=_apart(needs, this.wanted), may_delete=False)
        if lease is not None:
            return behaviour, lease
        if not _needs_room(needs, pool):
            return None
        # If making room costs a Delete, let it be one that is judged.
        leaver = self._leaver(pool)
        if leaver is not None or this.busy:
            return leaver
        lease = pool.lease(needs, may_delete=True)
        return (behaviour, lease) if lease is not None else None

    def _leaver(self, pool: Pool) -> tuple[Behaviour, Lease] | None:
        """Returns a behaviour that deletes a machine that lives now, with its lease."""
        for behaviour in self._phases[Phase.LEAVING]:
            if behaviour.needs.watches in self._under_way:
                continue
            lease = pool.lease(behaviour.needs, may_delete=False, may_create=False)
            if lease is not None:
                return behaviour, lease
        return None

    def wanted(self, lease: Lease) -> set[State]:
        """Returns the states in which the machines of this lease can be used again; none if they are to be cleaned up.

        With `keep`, that is never.
        """
        starts = {start for behaviour in self.rest for start in behaviour.needs.starts}
        return starts or set(lease.starts if self._keep else ())

    def spare(self, pool: Pool, *, in_time: bool) -> list[Machine]:
        """Returns the free machines that nothing will use again: they are cleaned up during the last behaviours.

        `in_time`: they can be clean before the last verdict. Otherwise the quiet phase would have to wait for them.
        """
        waiting = any(b.needs.watches not in self._under_way for b in self.pending)
        if waiting or self._keep or self._phase is Phase.QUIET or not (in_time or self._phase is Phase.LEAVING):
            return []
        leaving = sum(b.needs.machines for b in with_own_machines(self._later) if not b.needs.alone)
        # A bound machine is two transitions from being clean, and at rest it does not disturb the quiet phase.
        return pool.surplus(idle=leaving, bound=any(b.needs.alone for b in self._later))


def _wanted(waiting: Iterable[Behaviour]) -> frozenset[State]:
    """Returns the states in which waiting behaviours want machines, except those whose machines soon come free."""
    return frozenset(
        start
        for behaviour in waiting
        for start in behaviour.needs.starts
        if start is State.CONFIGURED or behaviour.needs.transitions
    )


def _apart(needs: Needs, wanted: Collection[State]) -> Collection[State]:
    """Returns the states whose machines a lease leaves to others; others wait for machines in the `wanted` states."""
    if not needs.transitions:
        return START_STATES  # soon over: not worth a Configure or a Drain before it
    # A long behaviour on machines of both kinds does not wait until both kinds are free at once.
    return () if needs.bound else wanted


def _needs_room(needs: Needs, pool: Pool) -> bool:
    """Returns whether a machine has to be deleted, so that there is a slot, before these needs can be met."""
    return State.SPECULATIVE in needs.starts and (needs.creates or not pool.has_slots(needs))


def _phase_of(behaviour: Behaviour) -> Phase:
    """Returns the phase in which a behaviour is judged."""
    if behaviour.needs.alone:
        return Phase.QUIET
    return Phase.LEAVING if behaviour.needs.can_be_last_use else Phase.TOGETHER
