"""Drives many machines at once: starts them in steps, keeps them moving, and compares them while all are at rest."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from conformance.core.errors import BudgetSpent, Disturbed, NoAnswer, Violation
from conformance.core.lifecycle import State, Verb
from conformance.lanes.scale import memory
from conformance.lanes.scale.crowd import Crowd
from conformance.lanes.scale.figures import ChurnProgress
from conformance.lanes.scale.follower import Follower
from conformance.lanes.scale.quiescence import Quiescence
from conformance.lanes.scale.schedule import Schedule
from conformance.lanes.scale.supply import Supply
from conformance.lanes.scale.timings import Timings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from conformance.fleet.context import FleetContext
    from conformance.lanes.scale.soak import Soak
    from conformance.lanes.scale.supply import Size
    from conformance.lanes.scale.verdicts import Verdicts
    from conformance.lanes.scale.worker import Worker

T = TypeVar("T")

SAMPLES_PER_STEP: Final = 8
"""The number of timed Lists at each size of the fleet."""
MACHINES_PER_RESTING: Final = 8
"""One machine in this many rests during the whole churn, but at least two of four."""
DELETE_SHARE: Final = 0.25
"""The share of machines that are deleted when they reach IDLE, instead of being bound again."""
PAUSE_RATIO: Final = 4.0
"""The pause between two whole Lists, in multiples of the duration of the last one."""
MIN_LIST_PAUSE_SECONDS, MIN_DELTA_PAUSE_SECONDS = 0.2, 0.02
"""The minimum pause between two whole Lists, and between two deltas."""
WAIT_FOR_DELTA_SHARE: Final = 0.25
"""The share of transitions after which the machine waits until the deltas show them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnPlan:
    """The machines and limits of a churn."""

    slots: list[tuple[str, State]]
    """The machines that may be driven, each with the state to which it must be returned."""
    size: Size
    max_alive: int | None
    """The maximum number of machines that are alive at once, including those that are no longer driven."""
    soak: Soak
    seed: int
    revisions: bool
    """True if the provider has revisions, so that deltas can be followed."""
    fail_fast: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """The functions of the run that a churn calls."""

    check_target: Callable[[], Awaitable[None]]
    """Called after a call that was not answered. Raises TargetLost if the target is gone."""
    progress: Callable[[ChurnProgress], None]
    note: Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Counts:
    """Counters of a churn."""

    checks: int = 0
    disturbed: int = 0
    """Machines that another client took."""
    failed_checks: int = 0
    """Lists and checks that were not answered."""
    memory: list[int] = field(default_factory=list)
    """The memory of the kit at each check after the ramp, in bytes."""


@dataclass(slots=True, kw_only=True)
class Changes:
    """The machines that have changed since the last check, and since the churn began, each with its revision."""

    since: bytes = b""
    recent: set[str] = field(default_factory=set)
    began: bytes = b""
    ever: set[str] = field(default_factory=set)

    def note(self, machine_id: str) -> None:
        """Notes a transition."""
        self.recent.add(machine_id)
        self.ever.add(machine_id)

    def checked(self, revision: bytes) -> None:
        """Notes a check at this revision."""
        self.since = revision
        self.recent.clear()


class Churn:
    """One soak. Created and used once. The machines of all its workers must be returned in any case."""

    def __init__(self, context: FleetContext, verdicts: Verdicts, plan: ChurnPlan, callbacks: Callbacks) -> None:
        self.timings, self.counts = Timings(), Counts()
        self.whole = False
        """True if the soak ran to its end."""
        self._context, self._verdicts, self._plan, self._callbacks = context, verdicts, plan, callbacks
        self._rng = random.Random(plan.seed)
        self.schedule = Schedule(plan.soak, context.client.now)
        self.supply = Supply(
            context,
            verdicts,
            self.timings,
            slots=plan.slots,
            size=plan.size,
            max_alive=plan.max_alive,
            rng=self._rng,
            check_target=callbacks.check_target,
        )
        self.follower = Follower(
            context.client, verdicts, self.timings, revisions=plan.revisions, lag=context.patience.longest
        )
        self._gate = Quiescence()
        self._resting: list[Worker] = []
        self._changes = Changes()
        self._phase = "churn"

    @property
    def deferred(self) -> int:
        """The number of calls that the provider deferred with a retriable code."""
        return sum(worker.deferred for worker in self.supply.workers)

    async def run(self) -> None:
        """Runs the ramp, the soak and the last check. Raises TargetLost, and any error of the kit itself."""
        ticker = asyncio.create_task(self._tick())
        try:
            active: list[Worker] = []
            await self._tolerant(lambda: self._ramp(active))
            self.schedule.begin()
            await self._soak(active)
            self._phase = "crowd"
            await self._tolerant(self._see_crowd)
        finally:
            ticker.cancel()
            await asyncio.gather(ticker, return_exceptions=True)
            if self.counts.failed_checks > 1:
                self._callbacks.note(f"{self.counts.failed_checks} checks in total were not answered")

    # The ramp doubles the machines in each step, so that the growth of latencies with their number can be measured.

    async def _ramp(self, active: list[Worker]) -> None:
        """Fills `active`. Some of the machines rest during the whole churn instead."""
        most = self._plan.size.machines
        while len(active) < most and self.supply.left and not self._over:
            since = self.follower.cursor
            fresh = await self._take_machines(min(max(1, len(active)), most - len(active)))
            if not since:
                await self.follower.begin()
                since = self._changes.began = self.follower.cursor
            create = [worker for worker in fresh if worker.state is State.SPECULATIVE]
            self.supply.spend(len(create))
            await _all(self._step(worker, Verb.CREATE) for worker in create)
            active += [worker for worker in fresh if self.supply.drives(worker)]
            await self.follower.time_lists(since, times=SAMPLES_PER_STEP)
            await self._check()
            if not fresh:
                break
        resting = max(len(active) // MACHINES_PER_RESTING, min(2, len(active) // 2))
        self._resting, active[:] = active[:resting], active[resting:]
        bound = self._resting[::2]
        await _all(self._step(worker, Verb.CONFIGURE) for worker in bound if self._usable(worker))

    async def _take_machines(self, count: int) -> list[Worker]:
        """Takes up to `count` machines, and returns the workers of those that could be taken."""
        fresh = [worker for _ in range(count) if (worker := self.supply.take()) is not None]
        taken = await _all(self._guarded(worker, worker.take) for worker in fresh)
        return [worker for worker, ok in zip(fresh, taken, strict=True) if ok]

    # The soak.

    async def _soak(self, active: list[Worker]) -> None:
        background = [self._check_often(), self._repeat(self.follower.check_list, MIN_LIST_PAUSE_SECONDS)]
        background += (
            [self._repeat(self.follower.follow_delta, MIN_DELTA_PAUSE_SECONDS)] if self._plan.revisions else []
        )
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work) for work in background]
                await _all(self._work(worker) for worker in active)
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        self.whole = self.schedule.share >= 1.0
        await self._tolerant(lambda: self._check(last=True))

    @property
    def _over(self) -> bool:
        return self.schedule.share >= 1.0 or (self._plan.fail_fast and bool(self._verdicts.found))

    async def _work(self, worker: Worker | None) -> None:
        """Keeps one machine moving. If that is lost or has failed, continues with another one."""
        while worker is not None and not self._over:
            async with self._gate.moving():
                if self._usable(worker):
                    verb = self._next_verb(worker)
                    if verb is None:
                        return
                    await self._step(worker, verb)
                if not self._usable(worker):
                    self.supply.failed += worker.state is State.FAILED
                    worker = self.supply.take()
                    if worker is not None and not await self._guarded(worker, worker.take):
                        return

    def _usable(self, worker: Worker) -> bool:
        return self.supply.drives(worker) and worker.state is not State.FAILED

    def _next_verb(self, worker: Worker) -> Verb | None:
        """Returns the next transition; None if it would exceed the budget of creates."""
        match worker.state:
            case State.SPECULATIVE if worker.deleted:
                return Verb.CREATE  # counted at the Delete
            case State.SPECULATIVE:
                if not self.supply.creates_left:
                    return None
                self.supply.spend(1)
                return Verb.CREATE
            case State.CONFIGURED:
                return Verb.DRAIN
            case _:
                created = worker.machine.home is State.SPECULATIVE and self._context.deletes
                if created and self.supply.creates_left and self._rng.random() < DELETE_SHARE:
                    self.supply.spend(1)
                    return Verb.DELETE
                return Verb.CONFIGURE

    async def _step(self, worker: Worker, verb: Verb) -> None:
        if await self._guarded(worker, lambda: worker.step(verb)):
            self._changes.note(worker.machine.id)
            if self.schedule.begun and self._plan.revisions and self._rng.random() < WAIT_FOR_DELTA_SHARE:
                await self.follower.wait_until_shown(worker.machine.id)
        self.schedule.count()

    async def _guarded(self, worker: Worker, work: Callable[[], Awaitable[None]]) -> bool:
        """Returns whether `work` succeeded. If not, the machine is no longer driven or compared."""
        try:
            await work()
        except Violation:
            pass
        except BudgetSpent:
            return False
        except Disturbed as disturbed:
            if not await worker.reclaim():
                self.counts.disturbed += 1
                self.supply.failed += worker.machine.ownership.lost_race
                self._callbacks.note(f"left to another client: {disturbed.message}")
        except NoAnswer as error:
            self._callbacks.note(f"{worker.machine.id} is no longer driven: {error.message}")
        else:
            return True
        self._verdicts.driven.discard(worker.machine.id)
        return False

    # After the soak.

    async def _see_crowd(self) -> None:
        """Checks what only a crowd shows, unless the run stops at the first finding and has one."""
        if self._plan.fail_fast and self._verdicts.found:
            return
        changed = self._changes.ever & self._verdicts.driven
        if self._changes.began and changed:
            await self.follower.check_delta(self._changes.began, changed)
        idle = [worker for worker in self.supply.workers if self.supply.drives(worker) and worker.state is State.IDLE]
        crowd = Crowd(self._context, self._verdicts, self.timings, self._rng, lag=self.follower.lag)
        await crowd.run(idle[0].machine.id if idle else None)

    # Comparisons during the churn.

    async def _repeat(self, check: Callable[[], Awaitable[None]], min_pause: float) -> None:
        clock = self._context.client.now
        while True:
            began = clock()
            await self._tolerant(check)
            await asyncio.sleep(max(min_pause, PAUSE_RATIO * (clock() - began)))

    async def _check_often(self) -> None:
        while True:
            await self.schedule.check_due()
            async with self._gate.quiet():
                await self._tolerant(self._check)
            self.schedule.checked()

    async def _check(self, *, last: bool = False) -> None:
        """Compares every machine with Get, List and the deltas, while all are at rest."""
        changed = self._changes.recent & self._verdicts.driven
        driven = [worker for worker in self.supply.workers if self.supply.drives(worker)]
        await _all(self._guarded(worker, worker.check) for worker in driven)
        # Half of the resting machines get no call until the end: a provider must not forget them.
        retried = self._resting if last else self._resting[: (len(self._resting) + 1) // 2]
        await _all(self._guarded(worker, worker.check_retry) for worker in retried if self.supply.drives(worker))
        await self.follower.compare()
        if self._changes.since and changed and not {"LST-4scale", "LST-6scale"} & self._verdicts.found.keys():
            await self.follower.check_paging(self._changes.since, changed)
            await self.follower.check_delta(self._changes.since, changed)
        await self.follower.time_lists(self._changes.since, times=1)
        self._changes.checked(self.follower.cursor)
        self.counts.checks += 1
        if self.schedule.begun:
            self.counts.memory.append(memory.current())

    async def _tolerant(self, check: Callable[[], Awaitable[None]]) -> None:
        """Ignores a check that is not answered, unless the target is gone. Raises TargetLost."""
        try:
            await check()
        except NoAnswer as error:
            self.counts.failed_checks += 1
            if self.counts.failed_checks == 1:  # a soak of hours could have a million of them
                self._callbacks.note(f"a check was not answered: {error.message}")
            await self._callbacks.check_target()

    async def _tick(self) -> None:
        """Reports the progress once a second."""
        clock, before, at = self._context.client.now, self.timings.counts(), self._context.client.now()
        while True:
            await asyncio.sleep(1.0)
            counts, now = self.timings.counts(), clock()
            rates = {kind: (count - before.get(kind, 0)) / (now - at) for kind, count in counts.items()}
            before, at = counts, now
            self._callbacks.progress(
                ChurnProgress(
                    phase=self._phase,
                    at=now,
                    share=self.schedule.share,
                    operations=self.schedule.operations,
                    creates=self._context.meter.bill(now).create,
                    machines=self._context.meter.alive,
                    checks=self.counts.checks,
                    facts=self._verdicts.facts,
                    disagreements=self._verdicts.disagreements,
                    rates=rates,
                    p99=self.timings.p99(),
                )
            )


async def _all(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Runs all coroutines at once and returns their results. If one raises, cancels the others first."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return [task.result() for task in tasks]


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Returns the error that cancelled the other tasks."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
