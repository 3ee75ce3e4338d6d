"""Many machines driven at once: started in steps, kept moving until the soak is over, looked at whenever all rests."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from conformance.errors import BudgetSpent, Disturbed, NoAnswer, Violation
from conformance.lifecycle import State, Verb
from conformance.machine import Machine
from conformance.scale import memory
from conformance.scale.drive import Drive
from conformance.scale.figures import Progress
from conformance.scale.follower import Follower
from conformance.scale.gate import Gate
from conformance.scale.timings import Timings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from conformance.scale.oracle import Oracle
    from conformance.scale.soak import Soak
    from conformance.yard import Yard

T = TypeVar("T")

CHECKS: Final = 10
"""So often in a soak all is let come to rest, and every machine compared."""
SAMPLES: Final = 8
"""So often a List is timed at each size of the fleet."""
RESTING: Final = 8
"""One machine in so many rests all through the churn; at least two of four."""
DELETED: Final = 0.25
"""This share of the machines that come to IDLE is given back, and not bound again."""
BETWEEN: Final = 4.0
"""Between two looks at the whole fleet lies so many times what the last one took: no more than a fifth is spent so."""
SHORTEST, SHORTEST_DELTA = 0.2, 0.02
"""Seconds between two looks, at least, and between two deltas."""
FOLLOWED: Final = 0.25
"""This share of transitions is waited for to be told of by the deltas, before the machine goes on."""


class Churn:
    """One soak on machines of one yard. Made and used once; all `drives` are to be brought home, whatever happens."""

    def __init__(
        self,
        yard: Yard,
        oracle: Oracle,
        slots: Sequence[tuple[str, State]],
        *,
        machines: int,
        creates: int,
        limit: int | None,
        soak: Soak,
        revisions: bool,
        seed: int,
        fail_fast: bool,
        alive: Callable[[], Awaitable[None]],
        tell: Callable[[Progress], None],
        note: Callable[[str], None],
    ) -> None:
        self.drives: list[Drive] = []
        """All that were ever taken."""
        self.timings = Timings()
        self.operations = self.checks = self.disturbed = 0
        self.memory: list[int] = []
        """What the kit held at each check after the ramp, in bytes."""
        self._yard, self._oracle, self._soak = yard, oracle, soak
        self._slots, self._most, self._creates = list(reversed(slots)), machines, creates
        self._limit = limit
        """How many may live at once; those that are driven no more may live on."""
        self._fail_fast, self._alive, self._tell, self._note = fail_fast, alive, tell, note
        self._draw = random.Random(seed)
        self._gate = Gate()
        self._revisions = revisions
        self._churning = False
        """Whether the ramp is over."""
        self.follower = Follower(yard.client, oracle, self.timings, revisions=revisions, lag=yard.patience.longest)
        self._active: list[Drive] = []
        self._resting: list[Drive] = []
        self._since = b""
        """The revision at the last check, and what has changed since."""
        self._changed: set[str] = set()
        self._last = False
        """Whether the churn is over, and only the last check is left."""
        self._failed = 0
        """Machines that ended in FAILED, which is allowed, or that somebody else created at the same moment."""
        self._vain = 0
        """Looks that came to nothing."""
        self._spent = 0
        """Creates that were begun, or for which a machine was given back."""
        self._began = 0.0
        self._due = asyncio.Event()
        self._parts = 0
        """Of the soak's CHECKS parts, how many are over."""
        self.whole = False
        """Whether the soak was seen to its end."""

    @property
    def put_off(self) -> int:
        """Calls that the provider asked to make again later."""
        return sum(drive.put_off for drive in self.drives)

    async def run(self) -> None:
        """All of it, up to the last check. Raises TargetLost, and what is a bug of ours."""
        self._began = self._yard.client.now()
        ticker = asyncio.create_task(self._tick())
        try:
            await self._heard(self._ramp)
            self._began, self.operations, self._churning = self._yard.client.now(), 0, True
            await self._soaked()
        finally:
            ticker.cancel()
            await asyncio.gather(ticker, return_exceptions=True)
            if self._vain > 1:
                self._note(f"{self._vain} looks came to nothing in all")

    # The beginning: twice as many machines with each step, so that what grows with them can be seen.

    async def _ramp(self) -> None:
        while len(self._active) < self._most and self._another and not self._over:
            since, count = self.follower.cursor, max(1, len(self._active))
            count = min(count, self._most - len(self._active))
            fresh = [drive for _ in range(count) if self._another and (drive := self._next())]
            began = await _all(self._guarded(drive, drive.take) for drive in fresh)
            fresh = [drive for drive, fine in zip(fresh, began, strict=True) if fine]
            if not since:
                await self.follower.begin()
                since = self.follower.cursor
            create = [drive for drive in fresh if drive.expected.state is State.SPECULATIVE]
            self._spent += len(create)
            await _all(self._step(drive, Verb.CREATE) for drive in create)
            self._active += [drive for drive in fresh if drive.machine.id in self._oracle.machines]
            await self.follower.sample(since, times=SAMPLES)
            await self._check()
            if not fresh:
                break
        resting = max(len(self._active) // RESTING, min(2, len(self._active) // 2))
        self._resting, self._active = self._active[:resting], self._active[resting:]
        bound = self._resting[::2]
        await _all(self._step(drive, Verb.CONFIGURE) for drive in bound if self._usable(drive))

    @property
    def _another(self) -> bool:
        """Whether one more machine may be taken. Each costs money: where so many have failed the next would as well."""
        room = self._limit is None or sum(self._known(d) or d.machine.costs for d in self.drives) < self._limit
        return room and bool(self._slots) and self._failed <= self._most

    def _next(self) -> Drive | None:
        """A machine that was not taken yet; None where there is none."""
        if not self._another:
            return None
        (machine_id, home), number = self._slots.pop(), len(self.drives) + 1
        machine = Machine(machine_id, self._yard, number=number, home=home)
        drive = Drive(
            machine, number, self._yard, self._oracle, self.timings, random.Random(self._draw.random()), self._alive
        )
        self.drives.append(drive)
        return drive

    # The churn.

    async def _soaked(self) -> None:
        works = [self._check_up(), self._look_on(self.follower.look, SHORTEST)]
        works += [self._look_on(self.follower.follow, SHORTEST_DELTA)] if self._revisions else []
        try:
            async with asyncio.TaskGroup() as beside:
                tasks = [beside.create_task(work) for work in works]
                await _all(self._work(drive) for drive in self._active)
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        self.whole = self.share >= 1.0
        self._last = True
        await self._heard(self._check)

    @property
    def share(self) -> float:
        """How much of the soak is over; the ramp takes as long as it takes, and is no part of it."""
        if not self._churning:
            return 0.0
        return self._soak.share(seconds=self._yard.client.now() - self._began, operations=self.operations)

    @property
    def _over(self) -> bool:
        return self.share >= 1.0 or (self._fail_fast and bool(self._oracle.findings))

    async def _work(self, drive: Drive | None) -> None:
        """Keep one machine moving; where it is lost or spoilt, go on with another."""
        while drive is not None and not self._over:
            async with self._gate.moving():
                if self._usable(drive):
                    verb = self._verb(drive)
                    if verb is None:
                        return
                    await self._step(drive, verb)
                if not self._usable(drive):
                    self._failed += drive.expected.state is State.FAILED
                    drive = self._next()
                    if drive is not None and not await self._guarded(drive, drive.take):
                        return

    def _known(self, drive: Drive) -> bool:
        return drive.machine.id in self._oracle.machines

    def _usable(self, drive: Drive) -> bool:
        return self._known(drive) and drive.expected.state is not State.FAILED

    def _verb(self, drive: Drive) -> Verb | None:
        """Where it goes from here; None where that would take a Create more than there may be."""
        match drive.expected.state:
            case State.SPECULATIVE if drive.expected.gone:
                return Verb.CREATE  # counted when it was given back
            case State.SPECULATIVE:
                if self._spent >= self._creates:
                    return None
                self._spent += 1
                return Verb.CREATE
            case State.CONFIGURED:
                return Verb.DRAIN
            case _:
                ours = drive.machine.home is State.SPECULATIVE and self._yard.deletes
                if ours and self._spent < self._creates and self._draw.random() < DELETED:
                    self._spent += 1
                    return Verb.DELETE
                return Verb.CONFIGURE

    async def _step(self, drive: Drive, verb: Verb) -> None:
        if await self._guarded(drive, lambda: drive.step(verb)):
            self._changed.add(drive.machine.id)
            if self._churning and self._revisions and self._draw.random() < FOLLOWED:
                with suppress(Violation):
                    await self.follower.told(drive.expected)
        self.operations += 1
        if self.share >= self._next_check:
            self._due.set()

    async def _guarded(self, drive: Drive, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether it went well; a machine with which it did not is not driven any more, nor held against anything."""
        try:
            await work()
        except Violation:
            pass
        except BudgetSpent:
            return False
        except Disturbed as disturbed:
            with suppress(Violation):
                if not await drive.came_back():
                    self.disturbed += 1
                    self._failed += drive.machine.ownership.lost_race
                    self._note(f"left to somebody else: {disturbed.message}")
        except NoAnswer as error:
            self._note(f"{drive.machine.id} is not driven any more: {error.message}")
        else:
            return True
        self._oracle.machines.pop(drive.machine.id, None)
        return False

    # What is seen meanwhile.

    async def _look_on(self, look: Callable[[], Awaitable[None]], shortest: float) -> None:
        clock = self._yard.client.now
        while True:
            began = clock()
            await self._heard(look)
            await asyncio.sleep(max(shortest, BETWEEN * (clock() - began)))

    @property
    def _next_check(self) -> float:
        return min(1.0, (self._parts + 1) / CHECKS)

    async def _check_up(self) -> None:
        while True:
            self._due.clear()
            with suppress(TimeoutError):
                seconds = self._soak.seconds
                async with asyncio.timeout(
                    None if seconds is None else max(0.0, seconds * (self._next_check - self.share))
                ):
                    await self._due.wait()
            async with self._gate.quiet():
                await self._heard(self._check)
            self._parts += 1

    async def _check(self) -> None:
        """All is at rest: every machine is as it should be, by Get, by List and by the deltas."""
        changed = self._changed & self._oracle.machines.keys()
        known = [drive for drive in self.drives if self._known(drive)]
        await _all(self._guarded(drive, drive.look) for drive in known)
        # Half of those that rest are left in peace until the end: what is asked for now and then is not forgotten.
        asked = self._resting if self._last else self._resting[: (len(self._resting) + 1) // 2]
        await _all(self._guarded(drive, drive.ask_again) for drive in asked if self._known(drive))
        await self.follower.compare()
        if self._since and changed and not {"LST-4", "LST-6"} & self._oracle.findings.keys():
            await self.follower.page(self._since, changed)
        await self.follower.sample(self._since, times=1)
        self._since = self.follower.cursor
        self._changed.clear()
        self.checks += 1
        if self._churning:
            self.memory.append(memory.now())

    async def _heard(self, look: Callable[[], Awaitable[None]]) -> None:
        """Do without a look where the target does not answer, unless it is gone. Raises TargetLost."""
        try:
            await look()
        except NoAnswer as error:
            self._vain += 1
            if self._vain == 1:  # a soak of hours could have a million
                self._note(f"a look came to nothing: {error.message}")
            await self._alive()

    async def _tick(self) -> None:
        """Say how it goes, once a second."""
        clock, before, at = self._yard.client.now, self.timings.counts(), self._yard.client.now()
        while True:
            await asyncio.sleep(1.0)
            counts, now = self.timings.counts(), clock()
            rates = {kind: (count - before.get(kind, 0)) / (now - at) for kind, count in counts.items()}
            before, at = counts, now
            self._tell(
                Progress(
                    at=now,
                    share=self.share,
                    operations=self.operations,
                    creates=self._yard.meter.bill(now).create,
                    machines=self._yard.meter.alive,
                    checks=self.checks,
                    facts=self._oracle.facts,
                    disagreements=self._oracle.disagreements,
                    rates=rates,
                    p99=self.timings.p99(),
                )
            )


async def _all(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What all of them return, at once; where one raises, the others are ended before that goes on."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return [task.result() for task in tasks]


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended the others."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
