"""Drives many machines at once: starts them in steps, keeps them moving, and compares them whenever all are at rest."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from conformance.core.errors import BudgetSpent, Disturbed, NoAnswer, Violation
from conformance.core.lifecycle import State, Verb
from conformance.lanes.scale import memory
from conformance.lanes.scale.figures import ChurnProgress
from conformance.lanes.scale.follower import Follower
from conformance.lanes.scale.quiescence import Quiescence
from conformance.lanes.scale.schedule import Schedule
from conformance.lanes.scale.supply import Supply
from conformance.lanes.scale.timings import Timings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from conformance.fleet.context import FleetContext
    from conformance.lanes.scale.oracle import Oracle
    from conformance.lanes.scale.soak import Soak
    from conformance.lanes.scale.supply import Size
    from conformance.lanes.scale.worker import Worker

T = TypeVar("T")

SAMPLES: Final = 8
"""How often a List is timed at each size of the fleet."""
RESTING: Final = 8
"""One machine in this many rests through the whole churn, but at least two of four."""
DELETED: Final = 0.25
"""The share of machines that are given back when they reach IDLE, instead of being bound again."""
BETWEEN: Final = 4.0
"""The pause between two Lists of the whole fleet, in multiples of the time that the last one took."""
SHORTEST, SHORTEST_DELTA = 0.2, 0.02
"""The least number of seconds between two whole Lists, and between two deltas."""
FOLLOWED: Final = 0.25
"""The share of transitions after which the machine waits until the deltas show them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnPlan:
    """What a churn does, and with what."""

    slots: list[tuple[str, State]]
    """The machines that may be driven, each with the state to which it has to be returned."""
    size: Size
    max_alive: int | None
    """The most machines that may be alive at once, including those that are not driven any more."""
    soak: Soak
    seed: int
    revisions: bool
    """Whether the provider has revisions, so that deltas can be followed."""
    fail_fast: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """What a churn calls in the run that it belongs to."""

    alive: Callable[[], Awaitable[None]]
    """Called after a call that was not answered. Raises TargetLost if the target is gone."""
    progress: Callable[[ChurnProgress], None]
    note: Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Counts:
    """What happened in a churn."""

    checks: int = 0
    disturbed: int = 0
    """Machines that another client took."""
    failed_looks: int = 0
    """Lists and checks that were not answered."""
    memory: list[int] = field(default_factory=list)
    """The memory of the kit at each check after the ramp, in bytes."""


class Churn:
    """One soak. Made and used once; the machines of all its workers have to be returned, whatever happens."""

    def __init__(self, yard: FleetContext, oracle: Oracle, plan: ChurnPlan, callbacks: Callbacks) -> None:
        self.timings, self.counts = Timings(), Counts()
        self.whole = False
        """Whether the soak was seen to its end."""
        self._yard, self._oracle, self._plan, self._callbacks = yard, oracle, plan, callbacks
        self._draw = random.Random(plan.seed)
        self.schedule = Schedule(plan.soak, yard.client.now)
        self.supply = Supply(
            yard,
            oracle,
            self.timings,
            slots=plan.slots,
            size=plan.size,
            max_alive=plan.max_alive,
            draw=self._draw,
            alive=callbacks.alive,
        )
        self.follower = Follower(yard.client, oracle, self.timings, revisions=plan.revisions, lag=yard.patience.longest)
        self._gate = Quiescence()
        self._resting: list[Worker] = []
        self._since = b""
        """The revision at the last check."""
        self._changed: set[str] = set()
        """The machines that have changed since."""

    @property
    def put_off(self) -> int:
        """Calls that the provider put off, to be sent again later."""
        return sum(worker.put_off for worker in self.supply.workers)

    async def run(self) -> None:
        """Runs the ramp, the soak and the last check. Raises TargetLost, and any error of the kit itself."""
        ticker = asyncio.create_task(self._tick())
        try:
            active: list[Worker] = []
            await self._tolerant(lambda: self._ramp(active))
            self.schedule.begin()
            await self._soak(active)
        finally:
            ticker.cancel()
            await asyncio.gather(ticker, return_exceptions=True)
            if self.counts.failed_looks > 1:
                self._callbacks.note(f"{self.counts.failed_looks} looks in all were not answered")

    # The ramp: twice as many machines with each step, so that what grows with their number can be measured.

    async def _ramp(self, active: list[Worker]) -> None:
        """Fills `active`; some of the machines are set apart to rest through the whole churn."""
        most = self._plan.size.machines
        while len(active) < most and self.supply.left and not self._over:
            since = self.follower.cursor
            fresh = await self._take(min(max(1, len(active)), most - len(active)))
            if not since:
                await self.follower.begin()
                since = self.follower.cursor
            create = [worker for worker in fresh if worker.expected.state is State.SPECULATIVE]
            self.supply.spend(len(create))
            await _all(self._step(worker, Verb.CREATE) for worker in create)
            active += [worker for worker in fresh if self.supply.drives(worker)]
            await self.follower.sample(since, times=SAMPLES)
            await self._check()
            if not fresh:
                break
        resting = max(len(active) // RESTING, min(2, len(active) // 2))
        self._resting, active[:] = active[:resting], active[resting:]
        bound = self._resting[::2]
        await _all(self._step(worker, Verb.CONFIGURE) for worker in bound if self._usable(worker))

    async def _take(self, count: int) -> list[Worker]:
        """Takes up to `count` machines, and returns the workers of those that could be taken."""
        fresh = [worker for _ in range(count) if (worker := self.supply.take()) is not None]
        taken = await _all(self._guarded(worker, worker.take) for worker in fresh)
        return [worker for worker, fine in zip(fresh, taken, strict=True) if fine]

    # The soak.

    async def _soak(self, active: list[Worker]) -> None:
        works = [self._check_often(), self._repeat(self.follower.look, SHORTEST)]
        works += [self._repeat(self.follower.follow, SHORTEST_DELTA)] if self._plan.revisions else []
        try:
            async with asyncio.TaskGroup() as beside:
                tasks = [beside.create_task(work) for work in works]
                await _all(self._work(worker) for worker in active)
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        self.whole = self.schedule.share >= 1.0
        await self._tolerant(lambda: self._check(last=True))

    @property
    def _over(self) -> bool:
        return self.schedule.share >= 1.0 or (self._plan.fail_fast and bool(self._oracle.findings))

    async def _work(self, worker: Worker | None) -> None:
        """Keeps one machine moving; if it is lost or has failed, goes on with another one."""
        while worker is not None and not self._over:
            async with self._gate.moving():
                if self._usable(worker):
                    verb = self._next_verb(worker)
                    if verb is None:
                        return
                    await self._step(worker, verb)
                if not self._usable(worker):
                    self.supply.failed += worker.expected.state is State.FAILED
                    worker = self.supply.take()
                    if worker is not None and not await self._guarded(worker, worker.take):
                        return

    def _usable(self, worker: Worker) -> bool:
        return self.supply.drives(worker) and worker.expected.state is not State.FAILED

    def _next_verb(self, worker: Worker) -> Verb | None:
        """Returns the next transition; None if it would need one Create too many."""
        match worker.expected.state:
            case State.SPECULATIVE if worker.expected.gone:
                return Verb.CREATE  # was counted when the machine was given back
            case State.SPECULATIVE:
                if not self.supply.creates_left:
                    return None
                self.supply.spend(1)
                return Verb.CREATE
            case State.CONFIGURED:
                return Verb.DRAIN
            case _:
                ours = worker.machine.home is State.SPECULATIVE and self._yard.deletes
                if ours and self.supply.creates_left and self._draw.random() < DELETED:
                    self.supply.spend(1)
                    return Verb.DELETE
                return Verb.CONFIGURE

    async def _step(self, worker: Worker, verb: Verb) -> None:
        if await self._guarded(worker, lambda: worker.step(verb)):
            self._changed.add(worker.machine.id)
            if self.schedule.begun and self._plan.revisions and self._draw.random() < FOLLOWED:
                with suppress(Violation):
                    await self.follower.told(worker.expected)
        self.schedule.count()

    async def _guarded(self, worker: Worker, work: Callable[[], Awaitable[None]]) -> bool:
        """Returns whether `work` succeeded. If not, the machine is not driven or compared any more."""
        try:
            await work()
        except Violation:
            pass
        except BudgetSpent:
            return False
        except Disturbed as disturbed:
            with suppress(Violation):
                if not await worker.came_back():
                    self.counts.disturbed += 1
                    self.supply.failed += worker.machine.ownership.lost_race
                    self._callbacks.note(f"left to another client: {disturbed.message}")
        except NoAnswer as error:
            self._callbacks.note(f"{worker.machine.id} is not driven any more: {error.message}")
        else:
            return True
        self._oracle.machines.pop(worker.machine.id, None)
        return False

    # What is compared meanwhile.

    async def _repeat(self, look: Callable[[], Awaitable[None]], shortest: float) -> None:
        clock = self._yard.client.now
        while True:
            began = clock()
            await self._tolerant(look)
            await asyncio.sleep(max(shortest, BETWEEN * (clock() - began)))

    async def _check_often(self) -> None:
        while True:
            await self.schedule.check_due()
            async with self._gate.quiet():
                await self._tolerant(self._check)
            self.schedule.checked()

    async def _check(self, *, last: bool = False) -> None:
        """Compares every machine, while all are at rest: with Get, with List and with the deltas."""
        changed = self._changed & self._oracle.machines.keys()
        known = [worker for worker in self.supply.workers if self.supply.drives(worker)]
        await _all(self._guarded(worker, worker.look) for worker in known)
        # Half of the resting machines get no call until the end: a provider must not forget them either.
        asked = self._resting if last else self._resting[: (len(self._resting) + 1) // 2]
        await _all(self._guarded(worker, worker.ask_again) for worker in asked if self.supply.drives(worker))
        await self.follower.compare()
        if self._since and changed and not {"LST-4", "LST-6"} & self._oracle.findings.keys():
            await self.follower.page(self._since, changed)
        await self.follower.sample(self._since, times=1)
        self._since = self.follower.cursor
        self._changed.clear()
        self.counts.checks += 1
        if self.schedule.begun:
            self.counts.memory.append(memory.now())

    async def _tolerant(self, look: Callable[[], Awaitable[None]]) -> None:
        """Goes on without a look that is not answered, unless the target is gone. Raises TargetLost."""
        try:
            await look()
        except NoAnswer as error:
            self.counts.failed_looks += 1
            if self.counts.failed_looks == 1:  # a soak of hours could have a million
                self._callbacks.note(f"a look was not answered: {error.message}")
            await self._callbacks.alive()

    async def _tick(self) -> None:
        """Reports the progress once a second."""
        clock, before, at = self._yard.client.now, self.timings.counts(), self._yard.client.now()
        while True:
            await asyncio.sleep(1.0)
            counts, now = self.timings.counts(), clock()
            rates = {kind: (count - before.get(kind, 0)) / (now - at) for kind, count in counts.items()}
            before, at = counts, now
            self._callbacks.progress(
                ChurnProgress(
                    at=now,
                    share=self.schedule.share,
                    operations=self.schedule.operations,
                    creates=self._yard.meter.bill(now).create,
                    machines=self._yard.meter.alive,
                    checks=self.counts.checks,
                    facts=self._oracle.facts,
                    disagreements=self._oracle.disagreements,
                    rates=rates,
                    p99=self.timings.p99(),
                )
            )


async def _all(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Runs all works at once and returns their results. If one raises, the others are cancelled first."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return [task.result() for task in tasks]


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Returns the error because of which the others were cancelled."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
