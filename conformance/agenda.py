"""What is still to be judged, in the order in which it should begin, and which machines are kept for it.

Three phases, one after the other. Most behaviours run together. A few want a quiet fleet, and run alone on machines
that are at rest. What ends with a Delete comes last, on machines that go home anyway: a Delete in the middle of a run
would cost one more Create.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from conformance.behaviour import apart
from conformance.fit import precedence
from conformance.lifecycle import State
from conformance.needs import STARTS
from conformance.pool import Lease

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from conformance.behaviour import Behaviour
    from conformance.machine import Machine
    from conformance.needs import Needs, Watched
    from conformance.pool import Pool


class Phase(Enum):
    """What runs with what."""

    TOGETHER = auto()
    QUIET = auto()
    LEAVING = auto()


class Agenda:
    """The behaviours of a run that have not begun yet."""

    def __init__(self, behaviours: Iterable[Behaviour], *, keep: bool) -> None:
        self._phase = Phase.TOGETHER
        self._keep = keep
        self._phases: dict[Phase, list[Behaviour]] = {phase: [] for phase in Phase}
        self._under_way: set[Watched] = set()
        """The passages that somebody takes a machine along: who watches them waits, and wants no machine."""
        for behaviour in behaviours:
            self._phases[_phase_of(behaviour)].append(behaviour)
        for phase, waiting in self._phases.items():
            # The quiet phase goes from what leaves a machine as it was to what moves it.
            waiting.sort(key=lambda b: b.needs.transitions if phase is Phase.QUIET else precedence(b.needs))

    def turn(self, phase: Phase) -> None:
        """Go on to the next phase."""
        self._phase = phase

    @property
    def pending(self) -> list[Behaviour]:
        """What waits in this phase; who takes something on, or gives it back, changes it here."""
        return self._phases[self._phase]

    @property
    def _later(self) -> list[Behaviour]:
        return [b for phase, waiting in self._phases.items() if phase.value > self._phase.value for b in waiting]

    @property
    def rest(self) -> list[Behaviour]:
        """All that has not begun, in whichever phase."""
        return [behaviour for waiting in self._phases.values() for behaviour in waiting]

    def drop(self, behaviour: Behaviour) -> None:
        """It will not be judged, or has begun."""
        for waiting in self._phases.values():
            if behaviour in waiting:
                waiting.remove(behaviour)

    def clear(self) -> None:
        """Nothing more will be judged."""
        for waiting in self._phases.values():
            waiting.clear()

    def due(
        self, pool: Pool, passages: Collection[Watched], *, running: Collection[Behaviour | None], jobs: int
    ) -> Iterator[tuple[Behaviour, Lease]]:
        """What can begin now, each with its lease, where some of at most `jobs` are running; None is a way home.

        Where a passage has been seen, who watches it needs no machine; one that is under way is waited for.
        """
        for behaviour in [b for b in self.rest if b.needs.watches in passages]:
            self.drop(behaviour)
            yield behaviour, Lease(machines=(), starts=())
        busy = len(running)
        self._under_way = {behaviour.needs.watches for behaviour in running if behaviour} - {()}
        wanted = {
            start for b in self.pending for start in b.needs.starts if start is State.CONFIGURED or b.needs.transitions
        }
        spoken_for: set[State] = set()
        vain: set[Needs] = set()  # who needs the same gets the same answer, until something else is leased
        for behaviour in list(self.pending):
            if busy >= jobs:
                return
            needs = behaviour.needs
            if needs in vain or needs.watches in self._under_way:
                continue
            if needs.transitions and spoken_for.intersection(needs.starts):
                continue
            chosen = behaviour
            lease = pool.lease(needs, apart=_apart(needs, wanted), give_back=False)
            if lease is None and State.SPECULATIVE in needs.starts and (needs.creates or not pool.has_slots(needs)):
                # A machine must make place for it. If that is to cost a Delete, let it be one that is judged.
                chosen, lease = self._leaver(pool) or (behaviour, None)
                if lease is None and not busy:
                    chosen, lease = behaviour, pool.lease(needs, give_back=True)
            # Who wants several machines would never get them if each that comes free were given to somebody else.
            if lease is None and needs.machines > 1 and needs.transitions and busy:
                spoken_for.add(needs.start)
            vain.add(needs)
            if lease is not None:
                vain.clear()
                busy += 1
                self.drop(chosen)
                self._under_way |= {chosen.needs.watches} - {()}
                yield chosen, lease

    def _leaver(self, pool: Pool) -> tuple[Behaviour, Lease] | None:
        for behaviour in self._phases[Phase.LEAVING]:
            if behaviour.needs.watches in self._under_way:
                continue
            lease = pool.lease(behaviour.needs, give_back=False, start=False)
            if lease is not None:
                return behaviour, lease
        return None

    def wanted(self, lease: Lease) -> set[State]:
        """Where the leases start that the machines of this one could still serve; none where it shall go home."""
        starts = {start for behaviour in self.rest for start in behaviour.needs.starts}
        return starts or set(lease.starts if self._keep else ())

    def spare(self, pool: Pool, *, in_time: bool) -> list[Machine]:
        """The free machines that nothing will want any more: they go home while the last ones are still judged.

        Where they could not be there `in_time`, before the last verdict, the quiet phase would have to wait for them.
        """
        waiting = any(b.needs.watches not in self._under_way for b in self.pending)
        if waiting or self._keep or self._phase is Phase.QUIET or not (in_time or self._phase is Phase.LEAVING):
            return []
        leaving = sum(b.needs.machines for b in apart(self._later) if not b.needs.alone)
        # Bound machines are two transitions from home, and those at rest do not disturb the quiet phase.
        return pool.spare(idle=leaving, bound=any(b.needs.alone for b in self._later))


def _apart(needs: Needs, wanted: set[State]) -> Collection[State]:
    """Machines in which states are left to others, where `wanted` are the states that somebody waits for."""
    if not needs.transitions:
        return STARTS  # soon over: not worth a Configure or a Drain before it
    # Who has long to go with machines of both kinds does not wait for both to come free at once.
    return () if needs.bound else wanted


def _phase_of(behaviour: Behaviour) -> Phase:
    if behaviour.needs.alone:
        return Phase.QUIET
    return Phase.LEAVING if behaviour.needs.leaves else Phase.TOGETHER
