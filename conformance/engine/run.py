"""run(plan, target, ...) -> Report: decides what runs when, on which machines, until all are cleaned up.

Knows neither pytest nor click nor rich. Everything runs on one event loop; the agenda says what begins next, and in
which phase.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

from conformance.core.errors import TargetError
from conformance.core.lifecycle import State, Verb
from conformance.engine import preflight
from conformance.engine.faults import weather
from conformance.engine.judge import Judge
from conformance.engine.report_builder import ReportBuilder
from conformance.engine.run_log import RunLog
from conformance.engine.scheduler import Phase, Scheduler
from conformance.engine.session import open_session
from conformance.fleet.context import FleetContext
from conformance.fleet.machine import Machine
from conformance.fleet.pool import Pool
from conformance.fleet.probe import connect
from conformance.results.bill import Meter
from conformance.results.result import Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.core.stop import Stop
    from conformance.engine.options import Options
    from conformance.engine.session import Session
    from conformance.fleet.ledger import Ledger
    from conformance.fleet.pool import Lease
    from conformance.results.events import Event
    from conformance.results.report import Report
    from conformance.rpc.target import Target
    from conformance.testkit.behaviour import Behaviour, Plan


async def run(
    plan: Plan,
    target: Target,
    *,
    options: Options,
    ledger_at: Callable[[str], Path],
    emit: Callable[[Event], None] = lambda event: None,
    stop: Stop | None = None,
    durable: bool = True,
) -> Report:
    """Judges `target` by `plan`, cleans up what was started, and returns the report.

    `ledger_at` returns the ledger's path for a run's name; `durable`: what is started outlives this process.
    Raises TargetError if the target cannot be judged at all (then nothing was started), and UsageError if the ledger
    cannot be written. No header's value is in anything that is emitted, returned or raised.
    """
    async with open_session(target, options=options, stop=stop) as opening:
        found, few = opening.found, len(opening.slots)
        preflight.check_size(
            plan, found, slots=few, use_idle=options.use_idle, max_machines=options.limits.max_machines
        )
        async with opening.ledger(ledger_at, durable=durable) as ledger:
            course = Run(plan, opening, ledger, emit)
            try:
                async with weather(opening.client, options.faults, seed=options.seed):
                    return await course.run()
            except asyncio.CancelledError:
                await course.give_up()
                raise


class Run:
    """One run from its first machine to its last. Made and used once."""

    def __init__(
        self,
        plan: Plan,
        opening: Session,
        ledger: Ledger,
        emit: Callable[[Event], None],
    ) -> None:
        client, found, options, slots = opening.client, opening.found, opening.options, opening.slots
        limits = options.limits
        self._plan, self._opening = plan, opening
        self._yard = FleetContext(
            run=opening.run,
            client=client,
            ledger=ledger,
            meter=Meter(max_creates=limits.max_creates),
            patience=options.timeouts.patience,
            deletes=found.delete,
        )
        self._says = ReportBuilder(opening, ledger, self._yard.meter, emit)
        self._log = RunLog(self._says, client)
        self._max_alive = preflight.pool_size(
            plan, slots=len(slots), jobs=limits.jobs, max_machines=limits.max_machines
        )
        self._numbers = count(1)
        # A large fleet has more slots than a run can ever use. If other clients take these, the pool looks for more.
        few = slots if options.use_idle or not found.delete else slots[: 8 * self._max_alive + 64]
        self._pool = Pool(
            [self._machine(*slot) for slot in few],
            self._yard,
            max_alive=self._max_alive,
            limit=options.limits.max_machines,
        )
        self._judge = Judge(
            self._pool,
            self._yard,
            found,
            seed=options.seed,
            examples=options.examples,
            fence_scope=options.fence_scope,
            emit=self._says.emit,
        )
        self._agenda = Scheduler([], keep=options.keep)
        self._running: dict[asyncio.Task[None], Behaviour | None] = {}
        """Each job, with the behaviour that it judges; None if it only cleans machines up."""
        self._until = 0.0
        """When the last verdict of the running behaviours can be expected, by how long transitions have taken."""
        self._checking = asyncio.Lock()

    def _machine(self, machine_id: str, home: State = State.SPECULATIVE) -> Machine:
        return Machine(machine_id, self._yard, number=next(self._numbers), home=home)

    @property
    def _options(self) -> Options:
        return self._opening.options

    @property
    def _stop(self) -> Stop:
        return self._opening.stop

    async def run(self) -> Report:
        """Runs all phases, and then cleans all machines up."""
        self._says.start([b.entry for b in self._plan], machines=self._max_alive, whole=self._options.info.whole)
        shortage = preflight.check_slots(self._plan, self._opening.found, slots=len(self._opening.slots))
        if shortage is not None:
            self._says.note(shortage)
        applicable = [b for b in self._plan if not self._skipped(b)]
        try:
            self._agenda = Scheduler(applicable, keep=self._options.keep)
            for phase in Phase:
                await self._run(phase, jobs=1 if phase is Phase.QUIET else self._options.limits.jobs or len(applicable))
            await self._abandon()
        except TargetError as error:
            self._stop(error.message)
            await self._abandon()
        except Exception as error:
            # Even a bug in the kit is no reason to leave machines running.
            self._stop(f"the kit itself failed: {type(error).__name__}: {error}")
            await self._abandon()
            self._log.cut = self._stop.reason
        client = self._yard.client
        client.stop_faults()
        if client.overload.summary:
            self._says.note(client.overload.summary)
        home = await self._pool.clean_up(keep=self._options.keep)
        return self._says.finish(
            [self._log.results[b.id] for b in self._plan],
            home=home,
            time=self._log.time(client.now(), alone={b.id for b in self._plan if b.needs.alone}),
            stopped=self._log.cut,
            whole=self._options.info.whole,
            quarantined=sorted(self._pool.quarantined.items()),
        )

    def _skipped(self, behaviour: Behaviour) -> bool:
        """Returns whether the behaviour does not apply to this target, and says so."""
        lacking = preflight.missing(behaviour, self._opening.found)
        if lacking is not None:
            self._log.finish(
                Result(entry=behaviour.entry, status=Status.SKIPPED, reason=preflight.SKIP_REASONS[lacking])
            )
        return lacking is not None

    # What runs when.

    async def _run(self, phase: Phase, *, jobs: int) -> None:
        """Runs one phase: starts what can be leased now, and looks again whenever something ends."""
        self._agenda.turn(phase)
        stopped = asyncio.create_task(self._stop.wait())
        waited = 0.0
        try:
            while self._stop.reason is None and (self._agenda.pending or self._must_wait(phase)):
                self._give_up_hopeless()
                self._dispatch(jobs)
                if self._running:
                    waited = 0.0
                    await asyncio.wait({stopped, *self._running}, return_when=asyncio.FIRST_COMPLETED)
                    self._reap()
                elif self._agenda.pending:
                    waited = await self._wait_for_slots(waited)
        finally:
            stopped.cancel()

    def _must_wait(self, phase: Phase) -> bool:
        """Returns whether the next phase must wait: the quiet one for all jobs, the last one for verdicts only."""
        return any(phase is not Phase.QUIET or behaviour for behaviour in self._running.values())

    def _dispatch(self, jobs: int) -> None:
        """Starts the behaviours that can begin now, and cleans up the machines that nothing will use again."""
        now, slowest = self._yard.client.now, self._yard.meter.slowest
        running = list(self._running.values())
        for behaviour, lease in self._agenda.due(self._pool, self._judge.passages, running=running, jobs=jobs):
            self._running[asyncio.create_task(self._perform(behaviour, lease))] = behaviour
            if lease.machines:
                self._until = max(self._until, now() + behaviour.needs.weight * slowest)
        spare = self._agenda.spare(self._pool, in_time=now() + slowest <= self._until) if self._running else []
        if spare:
            self._running[asyncio.create_task(self._pool.return_surplus(spare))] = None

    def _give_up_hopeless(self) -> None:
        """Gives up the behaviours whose machines cannot be had any more."""
        for behaviour in self._agenda.rest:
            reason = self._pool.unavailable_reason(behaviour.needs)
            if reason is not None:
                self._agenda.drop(behaviour)
                self._log.error(behaviour, reason)

    async def _wait_for_slots(self, waited: float) -> float:
        """Waits while nothing runs and nothing can be leased: other clients have the machines, or all are used up.

        Returns the seconds waited so far.
        """
        pending = self._agenda.pending
        if not self._yard.deletes or waited >= self._options.timeouts.patience.longest:
            for behaviour in pending:
                needs = behaviour.needs
                starts = " and ".join(dict.fromkeys(start.name for start in needs.starts))
                self._log.error(behaviour, f"no {needs.machines} machines are left that could be {starts}")
            pending.clear()
            return 0.0
        if waited == 0.0:
            self._says.note(f"{len(pending)} behaviours wait for machines that somebody else may give back")
        before = self._yard.client.now()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(5.0, max(0.05, waited * 0.05))):
                await self._stop.wait()
        await self._pool.refresh(self._machine)
        return waited + self._yard.client.now() - before

    def _reap(self) -> None:
        """Forgets the jobs that are done; raises what any of them raised."""
        for task in [task for task in self._running if task.done()]:
            del self._running[task]
            task.result()

    async def _abandon(self) -> None:
        """Cancels what still runs, waits for its end, and reports everything else as not judged."""
        self._agenda.clear()
        while self._running:
            await self.give_up()
            self._running = {task: what for task, what in self._running.items() if not task.done()}
        for behaviour in self._plan:
            if behaviour.id not in self._log.results:
                self._log.cut = self._stop.reason
                self._log.error(behaviour, f"not judged: {self._stop.reason}")

    async def give_up(self) -> None:
        """Cancels all jobs. Nobody waits for the run any more, so no machine is cleaned up."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _perform(self, behaviour: Behaviour, lease: Lease) -> None:
        """Judges one behaviour and records its result."""
        began, warm = self._yard.client.now(), any(machine.live for machine in lease.machines)
        result, lease = await self._judge.judge(behaviour, lease)
        if result is None:
            self._agenda.pending.append(behaviour)
            return
        if result.status is Status.ERROR:
            await self._check_target()
        self._log.finish(result)
        if self._options.fail_fast and result.status is Status.FAILED and not self._options.tolerates(result):
            self._stop("--fail-fast")
        # The result is known. Nothing has to wait until the machines are returned.
        self._running[asyncio.create_task(self._give_back(behaviour, lease, began, warm=warm))] = None

    async def _give_back(self, behaviour: Behaviour, lease: Lease, began: float, *, warm: bool) -> None:
        """Returns the machines to the pool, and records how long the behaviour takes with all that belongs to it."""
        await self._pool.release(lease, wanted=self._agenda.wanted(lease))
        chain = self._yard.client.now() - began
        # A chain starts and ends with machines in their original state, even if a warm machine was used and handed on.
        # The quiet phase is different: it runs one behaviour after the other, on machines that are there.
        if not behaviour.needs.alone:
            meter = self._yard.meter
            if warm and State.SPECULATIVE not in lease.starts:
                chain += meter.median(Verb.CREATE)
            if self._yard.deletes and any(machine.live for machine in lease.machines):
                chain += meter.median(Verb.DELETE)
        self._log.chains[behaviour.id] = chain

    async def _check_target(self) -> None:
        """Stops the run if the target or the ledger is gone; called after a behaviour that could not be judged."""
        if self._yard.ledger.write_error is not None:
            self._stop(f"the ledger cannot be written: {self._yard.ledger.write_error}")
        client = self._yard.client
        async with self._checking:
            # While faults are injected, a target that does not answer may still be there.
            if client.may_have_dropped_since(0.0):
                return
            if self._stop.reason is not None or (await client.list(cap=1)).answered:
                return
            try:
                await connect(client, timeout=self._options.timeouts.connect)
                if not (await client.list(cap=1)).answered:
                    raise TargetError(f"List was not answered within {client.rpc_timeout:g} s, twice")
            except TargetError as error:
                self._stop(f"the target is gone: {error.message}")
                self._log.cut = self._stop.reason
