"""Orders the behaviours of a run, and decides which of them can begin now.

Five phases run in sequence. Most behaviours run together. A few need a quiet fleet, and run alone on machines that are
at rest. Behaviours that end with a Delete come last, on machines that are cleaned up anyway: a Delete in the middle of
a run would cost one more Create. Behaviours for which the kit itself was too slow are judged again after that, one at a
time, when nothing else runs. A few are judged at the very end, after all machines were returned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from conformance.core.lifecycle import State
from conformance.engine.preflight import start_order
from conformance.fleet.needs import START_STATES
from conformance.fleet.pool import Lease
from conformance.testkit.behaviour import with_own_machines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from conformance.fleet.machine import Machine
    from conformance.fleet.needs import Needs, RecordingKey
    from conformance.fleet.pool import Pool
    from conformance.testkit.behaviour import Behaviour


class Phase(Enum):
    """A group of behaviours that may run in the same part of the run."""

    TOGETHER = auto()
    QUIET = auto()
    LAST_USE = auto()
    ALONE = auto()
    RETURNED = auto()


ONE_AT_A_TIME: Final = (Phase.QUIET, Phase.ALONE, Phase.RETURNED)
"""The phases in which one behaviour runs at a time."""


@dataclass(slots=True, kw_only=True)
class _Dispatch:
    """One search for behaviours that can begin: the needs tried in it, and states reserved for behaviours that wait."""

    jobs: int
    """The number of running jobs."""
    wanted: frozenset[State]
    """The start states of waiting behaviours whose machines do not soon become free."""
    reserved: set[State] = field(default_factory=set)
    """The states whose machines are left to a behaviour that needs several of them."""
    unavailable: set[Needs] = field(default_factory=set)
    """Needs for which there was no lease. That stays the same until other machines are leased."""

    def may_try(self, needs: Needs) -> bool:
        """Returns whether a lease for `needs` may be available, and takes no reserved machine."""
        return needs not in self.unavailable and not (needs.transitions and self.reserved.intersection(needs.starts))

    def note_lease(self) -> None:
        """Notes that machines were leased."""
        self.jobs += 1
        self.unavailable.clear()

    def note_unavailable(self, needs: Needs) -> None:
        """Notes that there was no lease for `needs`."""
        self.unavailable.add(needs)
        # If each returned machine went to another behaviour, several would never be free at the same time.
        if needs.machines > 1 and needs.transitions and self.jobs:
            self.reserved.add(needs.start)


class Scheduler:
    """The behaviours of a run that have not begun yet."""

    def __init__(self, behaviours: Iterable[Behaviour], *, keep: bool) -> None:
        self._phase = Phase.TOGETHER
        self._keep = keep
        self._phases: dict[Phase, list[Behaviour]] = {phase: [] for phase in Phase}
        self._records_again: set[Behaviour] = set()
        """The behaviours that need a recording of their own: the existing one did not decide."""
        self._recording: set[RecordingKey] = set()
        """The lifecycles that are being recorded: behaviours that watch them wait, and need no machine."""
        for behaviour in behaviours:
            self._phases[_phase_of(behaviour)].append(behaviour)
        for phase, waiting in self._phases.items():
            waiting.sort(key=lambda b: _quiet_order(b.needs) if phase is Phase.QUIET else start_order(b.needs))

    def enter_phase(self, phase: Phase) -> None:
        """Enters a phase."""
        self._phase = phase

    @property
    def pending(self) -> list[Behaviour]:
        """The behaviours that wait in this phase."""
        return self._phases[self._phase]

    @property
    def _later(self) -> list[Behaviour]:
        """The behaviours that wait in the phases after this one."""
        return [b for phase, waiting in self._phases.items() if phase.value > self._phase.value for b in waiting]

    @property
    def not_begun(self) -> list[Behaviour]:
        """The behaviours that have not begun, in any phase."""
        return [behaviour for waiting in self._phases.values() for behaviour in waiting]

    def drop(self, behaviour: Behaviour) -> None:
        """Removes a behaviour that has begun, or will not be judged."""
        for waiting in self._phases.values():
            if behaviour in waiting:
                waiting.remove(behaviour)

    def add_again(self, behaviour: Behaviour, *, alone: bool, records: bool = False) -> None:
        """Adds a behaviour that must be judged again; `alone`: when nothing else runs.

        With `records`, it records the lifecycle that it watches once more, on a machine of its own.
        """
        if records:
            self._records_again.add(behaviour)
        self._phases[Phase.ALONE if alone else self._phase].append(behaviour)

    def clear(self) -> None:
        """Removes all behaviours: none of them will be judged."""
        for waiting in self._phases.values():
            waiting.clear()

    def next_runnable(
        self, pool: Pool, recordings: Collection[RecordingKey], *, running: Collection[Behaviour | None], jobs: int
    ) -> Iterator[tuple[Behaviour, Lease]]:
        """Yields the behaviours that can begin now, each with its lease, while fewer than `jobs` jobs run.

        `running` has None for a job that only cleans up machines. A behaviour that watches a lifecycle waits while that
        is being recorded, and needs no machine afterwards.
        """
        again = self._records_again
        for behaviour in [b for b in self.not_begun if b.needs.recording in recordings and b not in again]:
            self.drop(behaviour)
            yield behaviour, Lease(machines=(), starts=())
        self._recording = {behaviour.needs.recording for behaviour in running if behaviour} - {()}
        dispatch = _Dispatch(jobs=len(running), wanted=_wanted_states(self.pending))
        for behaviour in list(self.pending):
            if dispatch.jobs >= jobs:
                return
            if behaviour.needs.recording in self._recording or not dispatch.may_try(behaviour.needs):
                continue
            lease = self._lease_for(behaviour, pool, dispatch)
            if lease is None:
                dispatch.note_unavailable(behaviour.needs)
                continue
            dispatch.note_lease()
            chosen, _ = lease
            self.drop(chosen)
            self._recording |= {chosen.needs.recording} - {()}
            yield lease

    def _lease_for(self, behaviour: Behaviour, pool: Pool, dispatch: _Dispatch) -> tuple[Behaviour, Lease] | None:
        """Returns a lease for the behaviour, or for another one that frees a slot for it; None if none can begin."""
        needs = behaviour.needs
        lease = pool.lease(needs, reserved=_reserved_states(needs, dispatch.wanted), may_delete=False)
        if lease is not None:
            return behaviour, lease
        if not _needs_slot(needs, pool):
            return None
        # If a slot costs a Delete, prefer a Delete that is judged.
        last_use = self._last_use(pool)
        if last_use is not None or dispatch.jobs:
            return last_use
        lease = pool.lease(needs, may_delete=True)
        return (behaviour, lease) if lease is not None else None

    def _last_use(self, pool: Pool) -> tuple[Behaviour, Lease] | None:
        """Returns a behaviour that deletes a machine that is alive now, with its lease; None if no machine is."""
        for behaviour in self._phases[Phase.LAST_USE]:
            if behaviour.needs.recording in self._recording:
                continue
            lease = pool.lease(behaviour.needs, may_delete=False, may_create=False)
            if lease is not None:
                return behaviour, lease
        return None

    def wanted_states(self, lease: Lease) -> set[State]:
        """Returns the states in which later leases can use these machines; an empty set if they should be cleaned up.

        With `keep`, machines are not cleaned up.
        """
        starts = {start for behaviour in self.not_begun for start in behaviour.needs.starts}
        return starts or set(lease.starts if self._keep else ())

    def surplus(self, pool: Pool, *, in_time: bool) -> list[Machine]:
        """Returns the free machines that no behaviour will use: they are cleaned up while the last behaviours run.

        `in_time`: that can end before the last verdict. Otherwise the quiet phase would have to wait for it.
        """
        any_waiting = any(b.needs.recording not in self._recording for b in self.pending)
        if any_waiting or self._keep or self._phase in ONE_AT_A_TIME or not (in_time or self._phase is Phase.LAST_USE):
            return []
        needed = sum(b.needs.machines for b in with_own_machines(self._later) if not b.needs.alone)
        # A bound machine needs two transitions to be cleaned up, and does not disturb the quiet phase while it rests.
        return pool.surplus(idle=needed, bound=any(b.needs.alone for b in self._later))


def _wanted_states(waiting: Iterable[Behaviour]) -> frozenset[State]:
    """Returns the start states of waiting behaviours, except those of behaviours that soon free their machines."""
    return frozenset(
        start
        for behaviour in waiting
        for start in behaviour.needs.starts
        if start is State.CONFIGURED or behaviour.needs.transitions
    )


def _reserved_states(needs: Needs, wanted: Collection[State]) -> Collection[State]:
    """Returns the states whose machines a lease leaves to other behaviours, which wait for the `wanted` states."""
    if not needs.transitions:
        return START_STATES  # a short behaviour is not worth a Configure or a Drain
    # A long behaviour on IDLE and bound machines does not wait until both are free at the same time.
    return () if needs.bound else wanted


def _needs_slot(needs: Needs, pool: Pool) -> bool:
    """Returns whether a machine must be deleted for its slot before these needs can be met."""
    return State.SPECULATIVE in needs.starts and (needs.creates or not pool.has_slots(needs))


def _quiet_order(needs: Needs) -> tuple[bool, int, bool]:
    """Returns the key by which behaviours of the quiet phase start, smallest first: those without transitions first.

    A behaviour without machines of its own calls machines at rest, which others must find undisturbed before that. A
    newer version of the provider comes last.
    """
    return needs.upgrades, needs.transitions, not needs.machines


def _phase_of(behaviour: Behaviour) -> Phase:
    """Returns the phase in which a behaviour is judged."""
    if behaviour.needs.returned:
        return Phase.RETURNED
    if behaviour.needs.alone:
        return Phase.QUIET
    return Phase.LAST_USE if behaviour.needs.can_be_last_use else Phase.TOGETHER
