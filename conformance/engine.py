"""run(plan, target, ...) -> Report: what runs when, on which machines, until all is home again.

Knows no pytest, no click, no rich. One loop; the agenda says what begins next, and in which phase.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from conformance import events, fit
from conformance.agenda import Agenda, Phase
from conformance.asked import asked
from conformance.bill import Meter
from conformance.errors import TargetError
from conformance.found import connect
from conformance.judge import Judge
from conformance.lifecycle import State, Verb
from conformance.machine import Machine
from conformance.opening import opened
from conformance.pool import Pool
from conformance.report import Report, Result, Status, Time
from conformance.storm import weather
from conformance.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.behaviour import Behaviour, Plan
    from conformance.ledger import Ledger
    from conformance.opening import Opening
    from conformance.pool import Lease
    from conformance.report import Home
    from conformance.run_options import Options
    from conformance.stop import Stop
    from conformance.target import Target


async def run(
    plan: Plan,
    target: Target,
    *,
    options: Options,
    ledger_at: Callable[[str], Path],
    emit: Callable[[events.Event], None] = lambda event: None,
    stop: Stop | None = None,
    durable: bool = True,
) -> Report:
    """Judge `target` by `plan`, bring home what was started, and say how it was.

    `ledger_at` gives the ledger's path for a run's name; `durable` is whether what is started outlives this process.
    Raises TargetError where the target cannot be judged at all (nothing was started then), UsageError where the ledger
    cannot be written. No header's value is in anything that is emitted, returned or raised.
    """
    async with opened(target, options=options, stop=stop) as opening:
        found, few = opening.found, len(opening.slots)
        fit.check_size(plan, found, slots=few, use_idle=options.use_idle, max_machines=options.max_machines)
        async with opening.ledger(ledger_at, durable=durable) as ledger:
            course = Course(plan, opening, ledger, emit)
            try:
                async with weather(opening.client, options.faults, seed=options.seed):
                    return opening.discretion.report(await course.run())
            except asyncio.CancelledError:
                await course.give_up()
                raise


class Course:
    """One run from its first machine to its last. Made and used once."""

    def __init__(
        self,
        plan: Plan,
        opening: Opening,
        ledger: Ledger,
        emit: Callable[[events.Event], None],
    ) -> None:
        client, found, options, slots = opening.client, opening.found, opening.options, opening.slots
        self._plan, self._client, self._found, self._ledger = plan, client, found, ledger
        self._options, self._stop, self._name, self._started = options, opening.stop, opening.run, opening.at
        self._emit = emit = opening.discretion.before(emit)
        self._looked = client.now()
        self._slots = len(slots)
        self._most = fit.breadth(plan, slots=len(slots), jobs=options.jobs, max_machines=options.max_machines)
        self._meter = Meter(max_creates=options.max_creates)
        self._yard = Yard(
            run=opening.run,
            client=client,
            ledger=ledger,
            meter=self._meter,
            patience=options.patience,
            deletes=found.delete,
        )
        self._machines = 0
        # A large fleet has more slots than a run can ever use; where these are taken, the pool looks again.
        few = slots if options.use_idle or not found.delete else slots[: 8 * self._most + 64]
        self._pool = Pool(
            [self._machine(*slot) for slot in few], self._yard, most=self._most, limit=options.max_machines
        )
        self._judge = Judge(
            self._pool,
            self._yard,
            found,
            seed=options.seed,
            examples=options.examples,
            fence_scope=options.fence_scope,
            emit=emit,
        )
        self._agenda = Agenda([], keep=options.keep)
        self._running: dict[asyncio.Task[None], Behaviour | None] = {}
        self._until = 0.0
        """When the last verdict of what is under way can be expected, by what transitions have taken so far."""
        self._results: dict[str, Result] = {}
        self._chains: dict[str, float] = {}
        self._notes: list[str] = []
        self._cut: str | None = None
        """Why something was not judged that should have been; a stop that came when all was judged cut nothing."""
        self._checking = asyncio.Lock()
        self._lacking = tuple(name for name in options.require if not found.has(name))

    def _machine(self, machine_id: str, home: State = State.SPECULATIVE) -> Machine:
        self._machines += 1
        return Machine(machine_id, self._yard, number=self._machines, home=home)

    async def run(self) -> Report:
        """All phases, then home."""
        self._emit(
            events.RunStarted(
                run=self._name,
                target=self._client.target.address,
                at=self._started,
                seed=self._options.seed,
                found=self._found,
                behaviours=tuple(b.entry for b in self._plan),
                machines=self._most,
                ledger=str(self._ledger.path),
                version=self._options.version,
                strict=self._options.strict,
                lacking=self._lacking,
                whole=self._options.whole,
                asked=asked(self._options, self._client.target),
            )
        )
        shortage = fit.check_slots(self._plan, self._found, slots=self._slots)
        if shortage is not None:
            self._note(shortage)
        applicable = [b for b in self._plan if not self._skipped(b)]
        try:
            self._agenda = Agenda(applicable, keep=self._options.keep)
            for phase in Phase:
                await self._run(phase, jobs=1 if phase is Phase.QUIET else self._options.jobs or len(applicable))
            await self._abandon()
        except TargetError as error:
            self._stop(error.message)
            await self._abandon()
        except Exception as error:
            # Whatever is wrong with us, it is no reason to leave machines running.
            self._stop(f"the kit itself failed: {type(error).__name__}: {error}")
            await self._abandon()
            self._cut = self._stop.reason
        self._client.stop_faults()
        if self._client.overload.summary:
            self._note(self._client.overload.summary)
        home = await self._pool.home(keep=self._options.keep)
        report = self._report(home)
        self._emit(events.RunFinished(report=report))
        return report

    def _skipped(self, behaviour: Behaviour) -> bool:
        lacking = fit.missing(behaviour, self._found)
        if lacking is not None:
            self._finish(Result(entry=behaviour.entry, status=Status.SKIPPED, reason=fit.LACKS[lacking]))
        return lacking is not None

    # What runs when.

    async def _run(self, phase: Phase, *, jobs: int) -> None:
        """Start what can be leased now; look again whenever something ends."""
        self._agenda.turn(phase)
        stopped = asyncio.create_task(self._stop.wait())
        waited = 0.0
        try:
            while self._stop.reason is None and (self._agenda.pending or self._to_wait_for(phase)):
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

    def _to_wait_for(self, phase: Phase) -> bool:
        """Whether the next phase must wait: the quiet one for all that moves, the last one for verdicts only."""
        return any(phase is not Phase.QUIET or behaviour for behaviour in self._running.values())

    def _dispatch(self, jobs: int) -> None:
        running = list(self._running.values())
        for behaviour, lease in self._agenda.due(self._pool, self._judge.passages, running=running, jobs=jobs):
            self._running[asyncio.create_task(self._perform(behaviour, lease))] = behaviour
            if lease.machines:
                self._until = max(self._until, self._client.now() + behaviour.needs.weight * self._meter.slowest)
        in_time = self._client.now() + self._meter.slowest <= self._until
        spare = self._agenda.spare(self._pool, in_time=in_time) if self._running else []
        if spare:
            self._running[asyncio.create_task(self._pool.retire(spare))] = None

    def _give_up_hopeless(self) -> None:
        for behaviour in self._agenda.rest:
            reason = self._pool.hopeless(behaviour.needs)
            if reason is not None:
                self._agenda.drop(behaviour)
                self._error(behaviour, reason)

    async def _wait_for_slots(self, waited: float) -> float:
        """Nothing of ours runs and nothing can be leased: somebody else has the machines, or they are used up.

        Returns the seconds waited so far.
        """
        if not self._found.delete or waited >= self._options.patience.longest:
            for behaviour in self._agenda.pending:
                needs = behaviour.needs
                starts = " and ".join(dict.fromkeys(start.name for start in needs.starts))
                self._error(behaviour, f"no {needs.machines} machines are left that could be {starts}")
            self._agenda.pending.clear()
            return 0.0
        if waited == 0.0:
            self._note(f"{len(self._agenda.pending)} behaviours wait for machines that somebody else may give back")
        before = self._client.now()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(5.0, max(0.05, waited * 0.05))):
                await self._stop.wait()
        await self._pool.refresh(self._machine)
        return waited + self._client.now() - before

    def _reap(self) -> None:
        for task in [task for task in self._running if task.done()]:
            del self._running[task]
            task.result()

    async def _abandon(self) -> None:
        """After a stop: cancel what runs, hear it out, and say of everything else that it was not judged."""
        self._agenda.clear()
        while self._running:
            await self.give_up()
            self._running = {task: what for task, what in self._running.items() if not task.done()}
        for behaviour in self._plan:
            if behaviour.id not in self._results:
                self._cut = self._stop.reason
                self._error(behaviour, f"not judged: {self._stop.reason}")

    async def give_up(self) -> None:
        """Nobody waits for anything any more: end what runs, and bring nothing home."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _perform(self, behaviour: Behaviour, lease: Lease) -> None:
        """Judge one behaviour and say how it ended."""
        begun, warm = self._client.now(), any(machine.live for machine in lease.machines)
        result, lease = await self._judge.judge(behaviour, lease)
        if result is None:
            self._agenda.pending.append(behaviour)
            return
        if result.status is Status.ERROR:
            await self._check_grounds()
        self._finish(result)
        if self._options.fail_fast and result.status is Status.FAILED and not self._options.tolerates(result):
            self._stop("--fail-fast")
        # The verdict is there, and nobody has to wait for what only brings the machines back.
        self._running[asyncio.create_task(self._give_back(behaviour, lease, begun, warm=warm))] = None

    async def _give_back(self, behaviour: Behaviour, lease: Lease, begun: float, *, warm: bool) -> None:
        await self._pool.release(lease, wanted=self._agenda.wanted(lease))
        chain = self._client.now() - begun
        # A chain goes from home to home, also where a warm machine was used and handed on; but the quiet phase is one
        # after the other, on machines that are there.
        if not behaviour.needs.alone:
            if warm and State.SPECULATIVE not in lease.starts:
                chain += self._meter.median(Verb.CREATE)
            if self._found.delete and any(machine.live for machine in lease.machines):
                chain += self._meter.median(Verb.DELETE)
        self._chains[behaviour.id] = chain

    async def _check_grounds(self) -> None:
        """After a behaviour that could not be judged: where the target or the ledger is gone, the run is over."""
        if self._ledger.trouble is not None:
            self._stop(f"the ledger cannot be written: {self._ledger.trouble}")
        async with self._checking:
            if self._client.may_have_dropped_since(
                0.0
            ):  # who does not answer in weather of our own may be there all the same
                return
            if self._stop.reason is not None or (await self._client.list(cap=1)).answered:
                return
            try:
                await connect(self._client, timeout=self._options.connect_timeout)
                if not (await self._client.list(cap=1)).answered:
                    raise TargetError(f"List was not answered within {self._client.rpc_timeout:g} s, twice")
            except TargetError as error:
                self._stop(f"the target is gone: {error.message}")
                self._cut = self._stop.reason

    # What is said.

    def _error(self, behaviour: Behaviour, reason: str) -> None:
        self._finish(Result(entry=behaviour.entry, status=Status.ERROR, reason=reason))

    def _finish(self, result: Result) -> None:
        self._results[result.id] = result
        now = self._client.now()
        self._emit(events.BehaviourFinished(result=result, at=now, bill=self._meter.bill(now), rpcs=self._client.count))

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._emit(events.Noted(at=self._client.now(), text=text))

    def _report(self, home: Home) -> Report:
        now, options = self._client.now(), self._options
        alone = {b.id for b in self._plan if b.needs.alone}
        longest = max((chain for b, chain in self._chains.items() if b not in alone), default=0.0)
        quiet = sum(chain for b, chain in self._chains.items() if b in alone)
        return Report(
            run=self._name,
            version=options.version,
            target=self._client.target.address,
            started=self._started,
            seed=options.seed,
            found=self._found,
            results=tuple(self._results[b.id] for b in self._plan),
            quarantined=tuple(sorted(self._pool.quarantined.items())),
            notes=tuple(self._notes),
            bill=self._meter.bill(now),
            time=Time(
                wall=round(now, 3),
                critical_path=round(min(now, self._looked + longest + quiet), 3),
                sum=round(sum(self._chains.values()), 3),
            ),
            home=home,
            rpcs=self._client.count,
            ledger=str(self._ledger.path),
            stopped=self._cut,
            strict=options.strict,
            lacking=self._lacking,
            whole=options.whole,
            asked=asked(options, self._client.target),
            took={verb.value: self._meter.median(verb) for verb in Verb if self._meter.seen(verb)},
            weather=self._client.faults.stats() if self._client.faults else None,
        )
