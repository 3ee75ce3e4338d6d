"""run(plan, target, ...) -> Report: what runs when, on which machines, until all is home again.

Knows no pytest, no click, no rich. One loop, two lanes: most behaviours run together, a few that want a quiet
fleet run alone after them. Who has the longest chain of transitions begins first, so that the wall time
approaches the longest chain.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from conformance import events
from conformance.bill import Meter
from conformance.call import CallLog, recording
from conformance.catalogue import Level
from conformance.client import Client
from conformance.errors import (
    BudgetSpent,
    ConformanceError,
    Disturbed,
    NoAnswer,
    Shortage,
    TargetError,
    TargetLost,
    Undecided,
    Unprepared,
    Unsupported,
    Violation,
)
from conformance.found import connect, look
from conformance.ledger import Ledger
from conformance.lifecycle import State
from conformance.machine import Machine, Yard
from conformance.patience import Patience
from conformance.pool import Lease, Pool
from conformance.report import Home, Report, Result, Status, Time
from conformance.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.behaviour import Behaviour, Plan
    from conformance.found import Found
    from conformance.target import Target

ATTEMPTS = 3
"""A behaviour that somebody else disturbed, or whose machine could not be prepared, is tried so often in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run is to be. Times in seconds; None means no limit."""

    seed: int = 0
    examples: int = 25
    jobs: int | None = None
    max_machines: int | None = None
    max_creates: int | None = None
    use_idle: bool = False
    keep: bool = False
    fail_fast: bool = False
    strict: bool = False
    fence_scope: str | None = None
    patience: Patience = field(default_factory=Patience)
    rpc_timeout: float = 30.0
    connect_timeout: float = 10.0
    timeout: float | None = None
    whole: bool = True
    version: str = ""


class Stop:
    """Says that a run shall end before its plan does: no new behaviour starts, those that run are cancelled."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.reason: str | None = None

    def __call__(self, reason: str) -> None:
        """End the run because of `reason`; the first one counts."""
        if self.reason is None:
            self.reason = reason
            self._event.set()

    async def wait(self) -> None:
        """Return when the run shall end."""
        await self._event.wait()


async def run(
    plan: Plan,
    target: Target,
    *,
    options: Options,
    ledger_at: Callable[[str], Path],
    emit: Callable[[events.Event], None] = lambda event: None,
    stop: Stop | None = None,
) -> Report:
    """Judge `target` by `plan`, bring home what was started, and say how it was.

    `ledger_at` gives the ledger's path for a run's name. Raises TargetError where the target cannot be judged at
    all (nothing was started then), UsageError where the ledger cannot be written.
    """
    name = f"cpc-{secrets.token_hex(4)}"
    client = Client(target, rpc_timeout=options.rpc_timeout)
    try:
        await connect(client, timeout=options.connect_timeout)
        found = await look(client, run=name)
        slots = _slots(found, options)
        enough(plan, found, slots, options)
        ledger = Ledger(ledger_at(name), run=name, target=target.address)
        try:
            course = Course(plan, client, found, slots, ledger, options, emit, stop or Stop(), name)
            return await course.run()
        finally:
            ledger.close()
    finally:
        await client.close()


def _slots(found: Found, options: Options) -> list[tuple[str, State]]:
    """The machines that may be driven, each with its home, in an order that two runs do not share."""
    slots = [(machine, State.SPECULATIVE) for machine in found.speculative]
    # Not the run's seed: two runs with one seed should still not reach for the same machine.
    random.SystemRandom().shuffle(slots)
    if options.use_idle:
        slots = [(machine, State.IDLE) for machine in found.idle] + slots
    return slots


def enough(plan: Plan, found: Found, slots: list[tuple[str, State]], options: Options) -> None:
    """Raise TargetError where some behaviour needs more machines than there are, before anything is touched."""
    usable = min(len(slots), options.max_machines or len(slots))
    short = [b for b in plan if b.needs.machines > usable and missing(b, found) is None]
    if not short:
        return
    most = max(b.needs.machines for b in short)
    have = f"{found.fleet.get('SPECULATIVE', 0)} SPECULATIVE" + (
        f" and {len(found.idle)} free IDLE" if options.use_idle else ""
    )
    idle_hint = (
        f"--use-idle lets the kit use the {len(found.idle)} IDLE ones"
        if found.idle and not options.use_idle
        else ""
    )
    limit = f", --max-machines {options.max_machines}" if options.max_machines else ""
    rest = "--exclude " + ",".join(b.id for b in short) + " runs the others" if len(short) < len(plan) else ""
    raise TargetError(
        f"too few machines: {len(short)} behaviours need up to {most}, found {have}{limit}; nothing was touched",
        hint=" · ".join(filter(None, (idle_hint, rest)))
        or f"give the provider at least {most} SPECULATIVE machines",
    )


def missing(behaviour: Behaviour, found: Found) -> str | None:
    """The capability that the behaviour needs and the target legally lacks."""
    needs = list(behaviour.entry.needs)
    if behaviour.needs.machines and behaviour.needs.start is State.SPECULATIVE:
        needs.append("create")
    return next((need for need in needs if not found.has(need)), None)


LACKS = {
    "delete": "the provider has no Delete, which is optional (LIF-8)",
    "revisions": "the provider gives no revisions, which are optional (LST-5)",
    "create": "no machine is SPECULATIVE: there is nothing to Create",
    "health": "the provider serves no health service",
    "reflection": "the provider serves no reflection, which is optional (WIR-4)",
    "tls": "the target is not reached over TLS",
}


def breadth(plan: Plan, slots: int, options: Options) -> int:
    """How many machines live at once: as few as let the wall time come near the longest chain, never over a limit.

    Where there are few slots, somebody else gets half of them.
    """
    widest = max((b.needs.machines for b in plan), default=0)
    work = sum(b.needs.chain * b.needs.machines for b in plan)
    longest = max((b.needs.chain for b in plan), default=0) or 1
    wanted = -(-work // longest) if options.jobs is None else widest * options.jobs
    fair = max(widest, slots // 2)
    return max(widest, min(wanted, fair, options.max_machines or fair))


class Course:
    """One run from its first machine to its last. Made and used once."""

    def __init__(
        self,
        plan: Plan,
        client: Client,
        found: Found,
        slots: list[tuple[str, State]],
        ledger: Ledger,
        options: Options,
        emit: Callable[[events.Event], None],
        stop: Stop,
        name: str,
    ) -> None:
        self._client, self._found, self._options, self._stop, self._name = client, found, options, stop, name
        self._emit = emit
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._meter = Meter(max_creates=options.max_creates)
        self._yard = Yard(
            run=name,
            client=client,
            ledger=ledger,
            meter=self._meter,
            patience=options.patience,
            deletes=found.delete,
        )
        self._ledger = ledger
        self._count = 0
        self._most = breadth(plan, len(slots), options)
        # A large fleet has more slots than a run can ever use; more are fetched where these are taken.
        chosen = slots if options.use_idle or not found.delete else slots[: 8 * self._most + 64]
        self._pool = Pool([self._machine(m, home) for m, home in chosen], self._yard, most=self._most)
        self._plan = plan
        self._results: dict[str, Result] = {}
        self._notes: list[str] = []
        self._tasks: dict[asyncio.Task[None], Behaviour] = {}
        self._probe = asyncio.Lock()

    def _machine(self, machine_id: str, home: State = State.SPECULATIVE) -> Machine:
        self._count += 1
        return Machine(machine_id, self._yard, number=self._count, home=home)

    async def run(self) -> Report:
        """All lanes, then home."""
        looked = self._client.now()
        self._emit(
            events.RunStarted(
                run=self._name,
                target=self._client.target.address,
                at=self._started_at,
                seed=self._options.seed,
                found=self._found,
                behaviours=tuple(b.id for b in self._plan),
                machines=self._most,
                ledger=str(self._ledger.path),
            )
        )
        applies = [b for b in self._plan if not self._skip(b)]
        together = [b for b in applies if not b.needs.alone]
        alone = [b for b in applies if b.needs.alone]
        timer = self._options.timeout
        expiry = (
            asyncio.get_running_loop().call_later(
                timer, partial(self._stop, f"--timeout {timer:g} s is over")
            )
            if timer
            else None
        )
        try:
            await self._lane(together, then=alone)
            if self._stop.reason is None:
                await self._pool.retire(max((b.needs.machines for b in alone), default=0))
            await self._lane(alone, jobs=1)
        finally:
            if expiry:
                expiry.cancel()
        home = await self._pool.home(keep=self._options.keep)
        report = self._report(looked, home)
        self._emit(events.RunFinished(report=report))
        return report

    # What runs when.

    def _skip(self, behaviour: Behaviour) -> bool:
        lacking = missing(behaviour, self._found)
        if lacking is not None:
            self._finish(Result(entry=behaviour.entry, status=Status.SKIPPED, reason=LACKS[lacking]))
        return lacking is not None

    async def _lane(
        self, behaviours: list[Behaviour], *, then: list[Behaviour] | None = None, jobs: int | None = None
    ) -> None:
        """Start what can be leased now, longest chain first; look again whenever something ends."""
        pending = sorted(behaviours, key=lambda b: (-b.needs.chain, -b.needs.machines))
        limit = jobs or self._options.jobs or len(pending) or 1
        stopped = asyncio.create_task(self._stop.wait())
        waited = 0.0
        try:
            while (pending or self._tasks) and self._stop.reason is None:
                started = self._dispatch(pending, limit, then or [])
                if pending and not self._tasks and not started:
                    waited = await self._wait_for_slots(pending, waited)
                    continue
                waited = 0.0
                await asyncio.wait({stopped, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
                self._reap()
            await self._abandon(pending)
        finally:
            stopped.cancel()

    def _dispatch(self, pending: list[Behaviour], limit: int, then: list[Behaviour]) -> bool:
        started = False
        for behaviour in list(pending):
            if len(self._tasks) >= limit:
                break
            hopeless = self._pool.hopeless(behaviour.needs)
            if hopeless is not None:
                pending.remove(behaviour)
                reason = f"no machine could be made {behaviour.needs.start.name}: {hopeless}"
                self._finish(Result(entry=behaviour.entry, status=Status.ERROR, reason=reason))
                started = True
                continue
            lease = self._pool.lease(behaviour.needs)
            if lease is not None:
                pending.remove(behaviour)
                homeward = not pending and not then
                task = asyncio.create_task(self._perform(behaviour, lease, pending, then))
                self._tasks[task] = behaviour
                started = True
                if homeward:
                    spare = asyncio.create_task(self._pool.retire(0))
                    self._tasks[spare] = behaviour
        return started

    async def _wait_for_slots(self, pending: list[Behaviour], waited: float) -> float:
        """Nothing of ours runs and nothing can be leased: somebody else has the machines, or they are used up."""
        before = self._client.now()
        if waited == 0.0:
            self._note(f"waiting for machines: {len(pending)} behaviours have none that they could use")
        limit = self._options.patience.verb
        if waited >= max(limit(v) for v in _verbs()) or not self._found.delete:
            for behaviour in pending:
                reason = f"no {behaviour.needs.machines} machines that can be made {behaviour.needs.start.name} are left"
                self._finish(Result(entry=behaviour.entry, status=Status.ERROR, reason=reason))
            pending.clear()
            return 0.0
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.05, min(5.0, waited * 0.05))):
                await self._stop.wait()
        await self._pool.refresh(self._machine)
        return waited + self._client.now() - before

    def _reap(self) -> None:
        for task in [task for task in self._tasks if task.done()]:
            del self._tasks[task]
            task.result()

    async def _abandon(self, pending: list[Behaviour]) -> None:
        """After a stop: cancel what runs, hear it out, and say of everything else that it was not judged."""
        running = dict(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._tasks.clear()
        for behaviour in [*running.values(), *pending]:
            if behaviour.id not in self._results:
                reason = f"not judged: {self._stop.reason}"
                self._finish(Result(entry=behaviour.entry, status=Status.ERROR, reason=reason))
        pending.clear()

    # One behaviour.

    async def _perform(
        self, behaviour: Behaviour, lease: Lease, pending: list[Behaviour], then: list[Behaviour]
    ) -> None:
        """Prepare, judge, report, restore; again on other machines where somebody else spoiled it."""
        log, begun = CallLog(), self._client.now()
        for attempt in range(1, ATTEMPTS + 1):
            log, begun = CallLog(), self._client.now()
            result = Result(entry=behaviour.entry, status=Status.PASSED)
            again = False
            body_from = begun
            try:
                with recording(log):
                    await self._pool.prepare(lease)
                    body_from = self._client.now()
                    self._emit(
                        events.BehaviourStarted(
                            id=behaviour.id, at=body_from, machines=tuple(m.id for m in lease.machines)
                        )
                    )
                    await self._judge(behaviour, lease, attempt)
            except Exception as error:
                result = self._outcome(behaviour, error)
                again = isinstance(error, Disturbed) or (isinstance(error, Unprepared) and body_from == begun)
            except asyncio.CancelledError:
                await asyncio.shield(self._pool.release(lease, homeward=True))
                raise
            body_to = self._client.now()
            homeward = not pending and not then
            if not again or attempt == ATTEMPTS or self._stop.reason is not None:
                break
            await self._pool.release(lease, homeward=homeward)
            other = (
                self._pool.lease(behaviour.needs) if self._pool.hopeless(behaviour.needs) is None else None
            )
            if other is None:
                break
            lease = other
        result = replace(
            result,
            started=body_from,
            seconds=body_to - body_from,
            machines=tuple(m.id for m in lease.machines),
            calls=tuple(log.calls),
        )
        if result.status is Status.ERROR:
            await self._check_target()
        if self._options.fail_fast and result.status is Status.FAILED:
            self._stop("--fail-fast")
        self._finish(result)
        await self._pool.release(lease, homeward=homeward)
        chain = self._client.now() - begun
        self._results[behaviour.id] = replace(self._results[behaviour.id], chain=chain)

    async def _judge(self, behaviour: Behaviour, lease: Lease, attempt: int) -> None:
        for machine in lease.machines:
            # The third machine in a row that moves "by itself" is moved by the provider.
            machine.blames = attempt == ATTEMPTS
        trial = Trial(
            behaviour.entry,
            lease.machines,
            yard=self._yard,
            pool=self._pool,
            found=self._found,
            seed=self._options.seed,
            fence_scope=self._options.fence_scope,
            examples=self._options.examples,
            attempt=attempt,
        )
        try:
            await behaviour.body(trial)
        finally:
            for machine in lease.machines:
                machine.blames = False

    def _outcome(self, behaviour: Behaviour, error: Exception) -> Result:
        entry = behaviour.entry
        match error:
            case Violation():
                status = {Level.MUST: Status.FAILED, Level.SHOULD: Status.WARNED, Level.MAY: Status.SKIPPED}[
                    entry.level
                ]
                reason = f"{entry.clause.id}: {error.message}"
                return Result(entry=entry, status=status, reason=reason, wanted=error.wanted, got=error.got)
            case Unsupported():
                return Result(entry=entry, status=Status.SKIPPED, reason=str(error))
            case ConformanceError():
                return Result(entry=entry, status=Status.ERROR, reason=str(error))
            case _:
                reason = f"the kit itself failed: {type(error).__name__}: {error}"
                return Result(entry=entry, status=Status.ERROR, reason=reason)

    async def _check_target(self) -> None:
        """After a behaviour that could not be judged: is the target still there? Where not, the run is over."""
        async with self._probe:
            if self._stop.reason is not None:
                return
            call = await self._client.list(cap=1)
            if call.answered:
                return
            try:
                await connect(self._client, timeout=self._options.connect_timeout)
            except TargetError as error:
                self._stop(f"the target is gone: {error.message}")

    # What is said.

    def _finish(self, result: Result) -> None:
        self._results[result.entry.id] = result
        self._emit(events.BehaviourFinished(result=result))

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._emit(events.Noted(at=self._client.now(), text=text))

    def _report(self, looked: float, home: Home) -> Report:
        now = self._client.now()
        results = tuple(self._results[b.id] for b in self._plan)
        alone = {b.id for b in self._plan if b.needs.alone}
        longest = max((r.chain for r in results if r.id not in alone), default=0.0)
        return Report(
            run=self._name,
            version=self._options.version,
            target=self._client.target.address,
            started=self._started_at,
            seed=self._options.seed,
            found=self._found,
            results=results,
            quarantined=tuple(sorted(self._pool.quarantined.items())),
            notes=tuple(self._notes),
            bill=self._meter.bill(now),
            time=Time(
                wall=round(now, 3),
                critical_path=round(looked + longest + sum(r.chain for r in results if r.id in alone), 3),
                sum=round(sum(r.chain for r in results), 3),
            ),
            home=home,
            rpcs=self._client.count,
            ledger=str(self._ledger.path),
            stopped=self._stop.reason,
            strict=self._options.strict,
            whole=self._options.whole,
        )
