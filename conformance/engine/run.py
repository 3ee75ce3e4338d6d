"""run(plan, target, ...) -> Report: runs the behaviours of a plan on leased machines, until all are cleaned up.

Does not import pytest, click or rich. Everything runs on one event loop; the scheduler decides what begins next.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

from conformance.core.errors import TargetError
from conformance.core.lifecycle import State, Verb
from conformance.core.text import quantity
from conformance.engine import preflight
from conformance.engine.faults import injected_faults
from conformance.engine.judge import Judge
from conformance.engine.report_builder import ReportBuilder, with_broken_target
from conformance.engine.run_log import RunLog
from conformance.engine.scheduler import ONE_AT_A_TIME, Phase, Scheduler
from conformance.engine.session import open_session
from conformance.fleet.context import FleetContext
from conformance.fleet.hosts import FleetHosts, look
from conformance.fleet.machine import Machine
from conformance.fleet.pool import Pool
from conformance.fleet.probe import connect
from conformance.fleet.replicas import Replicas
from conformance.fleet.restarts import Restarts
from conformance.results.bill import Meter
from conformance.results.breach import credible
from conformance.results.result import Result, Status
from conformance.rpc import http_answer
from conformance.testkit.hold import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from conformance.core.stop import Stop
    from conformance.engine.options import Options
    from conformance.engine.session import Session
    from conformance.fleet.backend import Backend
    from conformance.fleet.ledger import Ledger
    from conformance.fleet.pool import Lease
    from conformance.fleet.provider import Provider
    from conformance.fleet.repair import Repair
    from conformance.results.breach import Breach
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
    provider: Provider | None = None,
    backend: Backend | None = None,
    repair: Repair | None = None,
    durable: bool = True,
    settings: object = None,
) -> Report:
    """Judges `target` by `plan`, cleans up all started machines, and returns the report.

    `ledger_at` returns the ledger's path for a run's name; `provider`: the target, if the kit may stop and start it;
    `backend`: the provider's backend, if it can be asked for its hosts; `repair` cleans FAILED machines up; `durable`:
    machines outlive this process; `settings` are those of a lane, which its behaviours get as `trial.settings`. Raises
    TargetError if the target cannot be judged at all (then no machine was started), and UsageError if the ledger cannot
    be written. Events, the report and errors contain no header values.
    """
    work = _run(
        plan,
        target,
        options,
        ledger_at=ledger_at,
        emit=emit,
        stop=stop,
        durable=durable,
        provider=provider,
        backend=backend,
        repair=repair,
        settings=settings,
    )
    return await with_broken_target(work, [b.entry for b in plan], target, options=options, emit=emit)


async def _run(
    plan: Plan,
    target: Target,
    options: Options,
    *,
    ledger_at: Callable[[str], Path],
    emit: Callable[[Event], None],
    stop: Stop | None,
    durable: bool,
    provider: Provider | None,
    backend: Backend | None,
    repair: Repair | None,
    settings: object,
) -> Report:
    async with open_session(target, options=options, stop=stop) as session:
        found, few = session.found, len(session.slots)
        with session.blaming_breaches():
            preflight.check_size(
                plan,
                found,
                slots=few,
                use_idle=options.use_idle,
                max_machines=options.limits.max_machines,
                means=_means(provider, backend),
            )
        hosts = (
            FleetHosts() if backend is None else await session.stop.run_unless_stopped(look(backend, session.client))
        )
        async with session.ledger(ledger_at, durable=durable) as ledger:
            this_run = Run(
                plan,
                session,
                ledger,
                emit,
                provider=provider,
                backend=backend,
                repair=repair,
                hosts=hosts,
                settings=settings,
            )
            try:
                async with injected_faults(session.client, options.faults, seed=options.seed):
                    return await this_run.run()
            except asyncio.CancelledError:
                await this_run.cancel_all()
                raise


def _means(provider: Provider | None, backend: Backend | None) -> tuple[str, ...]:
    """Returns the capabilities that the run has by its options."""
    return preflight.means(
        restarts=provider is not None,
        next_version=provider is not None and provider.can_upgrade,
        replicas=isinstance(provider, Replicas),
        backend=backend is not None,
    )


class Run:
    """One run from its first machine to its last. Created and used once."""

    def __init__(
        self,
        plan: Plan,
        session: Session,
        ledger: Ledger,
        emit: Callable[[Event], None],
        *,
        provider: Provider | None = None,
        backend: Backend | None = None,
        repair: Repair | None = None,
        hosts: FleetHosts,
        settings: object = None,
    ) -> None:
        client, found, options, slots = session.client, session.found, session.options, session.slots
        limits = options.limits
        self._plan, self._session = plan, session
        self._context = FleetContext(
            run=session.run,
            client=client,
            ledger=ledger,
            meter=Meter(max_creates=limits.max_creates),
            patience=options.timeouts.patience,
            deletes=found.delete,
            model=session.model,
            provider=provider,
            backend=backend,
            settings=settings,
            repair=repair,
            hosts_before=hosts,
            note=lambda text: self._builder.note(text),
            restarts=None if provider is None else Restarts(provider, client, session.model),
        )
        self._builder = ReportBuilder(session, ledger, self._context.meter, emit)
        self._log = RunLog(self._builder, client)
        self._max_alive = preflight.pool_size(
            plan, slots=len(slots), jobs=limits.jobs, max_machines=limits.max_machines
        )
        self._machine_numbers = count(1)
        # A large fleet has more slots than a run can use. If other clients take these, the pool looks for more.
        pool_slots = slots if options.use_idle or not found.delete else slots[: 8 * self._max_alive + 64]
        self._pool = Pool(
            [self._machine(*slot) for slot in pool_slots],
            self._context,
            max_alive=self._max_alive,
            limit=options.limits.max_machines,
        )
        self._hold = Hold(options.hold, clock=client.now, tell=self._builder.tell)
        self._judge = Judge(
            self._pool,
            self._context,
            found,
            seed=options.seed,
            examples=options.examples,
            fence_scope=options.fence_scope,
            hold=self._hold,
            emit=self._builder.emit,
        )
        self._scheduler = Scheduler([], keep=options.keep)
        self._running: dict[asyncio.Task[None], Behaviour | None] = {}
        """Each job, with the behaviour that it judges; None if it only cleans machines up."""
        self._busy_until = 0.0
        """The expected time of the last verdict of the running behaviours, from the transition times seen up to now."""
        self._checking = asyncio.Lock()

    def _machine(self, machine_id: str, home: State = State.SPECULATIVE) -> Machine:
        return Machine(machine_id, self._context, number=next(self._machine_numbers), home=home)

    @property
    def _options(self) -> Options:
        return self._session.options

    @property
    def _stop(self) -> Stop:
        return self._session.stop

    async def run(self) -> Report:
        """Runs all phases, and then cleans all machines up."""
        self._builder.start([b.entry for b in self._plan], machines=self._max_alive, whole=self._options.info.whole)
        shortage = preflight.check_slots(self._plan, self._session.found, slots=len(self._session.slots))
        if shortage is not None:
            self._builder.note(shortage)
        applicable = [b for b in self._plan if not self._skipped(b)]
        self._scheduler = Scheduler(applicable, keep=self._options.keep)
        await self._run_phases([phase for phase in Phase if phase is not Phase.RETURNED], jobs=len(applicable))
        client = self._context.client
        client.stop_faults()
        if client.overload.summary:
            self._builder.note(client.overload.summary)
        # The readings after an unexpected end of the provider are not evidence about the fleet.
        breaches = self._credible_breaches() if await self._revive() else None
        await self._clean_up_failed()
        home = await self._pool.clean_up(keep=self._options.keep)
        await self._run_phases([Phase.RETURNED], jobs=1)
        return self._builder.finish(
            [self._log.results[b.id] for b in self._plan],
            breaches=self._credible_breaches() if breaches is None else breaches,
            home=home,
            time=self._log.time(client.now(), alone={b.id for b in self._plan if b.needs.alone}),
            stopped=self._log.cut_short,
            whole=self._options.info.whole,
            quarantined=sorted(self._pool.quarantined.items()),
            held=self._hold.held,
            restarts=self._context.restarts.count if self._context.restarts is not None else 0,
        )

    async def _run_phases(self, phases: Sequence[Phase], *, jobs: int) -> None:
        """Runs some phases. Afterwards each of their behaviours has a result, and nothing runs."""
        try:
            for phase in phases:
                together = self._options.limits.jobs or jobs
                await self._run(phase, jobs=1 if phase in ONE_AT_A_TIME else together)
            await self._cancel_rest()
        except TargetError as error:
            self._stop(error.message)
            await self._cancel_rest()
        except Exception as error:
            # A bug in the kit must not leave machines running.
            self._stop(f"the kit itself failed: {type(error).__name__}: {error}")
            await self._cancel_rest()
            self._log.cut_short = self._stop.reason

    async def _revive(self) -> bool:
        """Starts a provider that has died, so that its machines can be returned. Returns whether it had died."""
        provider = self._context.provider
        if provider is None or not provider.death:
            return False
        self._builder.note(provider.death)
        try:
            await provider.start()
            await self._context.client.reconnect()
        except TargetError as error:
            self._builder.note(f"it could not be started again: {error.message}")
        else:
            self._builder.note("it was started again to return the machines of the run")
        return True

    def _credible_breaches(self) -> Sequence[Breach]:
        """Returns what was seen outside the behaviours and cannot be another client's doing."""
        # A client that drives other machines, or has taken a slot of the kit, may have driven the kit's machines too.
        return credible(self._context.model.breaches, other_client=self._judge.other_client_seen)

    def _skipped(self, behaviour: Behaviour) -> bool:
        """Returns whether the behaviour does not apply to this target, and if so records it as skipped."""
        context = self._context
        means = _means(context.provider, context.backend)
        lacking = preflight.missing_capability(behaviour, self._session.found, means)
        reason = preflight.SKIP_REASONS[lacking] if lacking else ""
        if not reason and behaviour.needs.returned and self._options.keep:
            reason = "not observed: with --keep, the machines of the run are not returned"
        if reason:
            self._log.finish(Result(entry=behaviour.entry, status=Status.SKIPPED, reason=reason))
        return bool(reason)

    # The order of the behaviours.

    async def _run(self, phase: Phase, *, jobs: int) -> None:
        """Runs one phase: starts the behaviours that can be leased now, and again whenever a job ends."""
        self._scheduler.enter_phase(phase)
        stopped = asyncio.create_task(self._stop.wait())
        waited = 0.0
        try:
            while self._stop.reason is None and (self._scheduler.pending or self._must_wait(phase)):
                self._drop_unavailable()
                self._dispatch(jobs)
                if self._running:
                    waited = 0.0
                    await asyncio.wait({stopped, *self._running}, return_when=asyncio.FIRST_COMPLETED)
                    self._reap()
                elif self._scheduler.pending:
                    waited = await self._wait_for_slots(waited)
        finally:
            stopped.cancel()

    def _must_wait(self, phase: Phase) -> bool:
        """Returns whether the next phase must wait: after the quiet phase for verdicts only, else for all jobs."""
        return any(phase is not Phase.QUIET or behaviour for behaviour in self._running.values())

    def _dispatch(self, jobs: int) -> None:
        """Starts the behaviours that can begin now, and cleans up the machines that no behaviour will use again."""
        now, slowest = self._context.client.now, self._context.meter.slowest
        running = list(self._running.values())
        for behaviour, lease in self._scheduler.next_runnable(
            self._pool, self._judge.recordings, running=running, jobs=jobs
        ):
            self._running[asyncio.create_task(self._perform(behaviour, lease))] = behaviour
            if lease.machines:
                self._busy_until = max(self._busy_until, now() + behaviour.needs.weight * slowest)
        surplus = (
            self._scheduler.surplus(self._pool, in_time=now() + slowest <= self._busy_until) if self._running else []
        )
        if surplus:
            self._running[asyncio.create_task(self._pool.return_surplus(surplus))] = None

    def _drop_unavailable(self) -> None:
        """Drops the behaviours whose machines have become unavailable for the rest of the run."""
        for behaviour in self._scheduler.not_begun:
            reason = self._pool.unavailable_reason(behaviour.needs)
            if reason is not None:
                self._scheduler.drop(behaviour)
                self._log.error(behaviour, reason)

    async def _wait_for_slots(self, waited: float) -> float:
        """Waits while no job runs and nothing can be leased: other clients have the machines, or all are used up.

        Returns the seconds waited so far.
        """
        pending = self._scheduler.pending
        # A provider that loses machines itself would be waited for in vain.
        gone = not self._context.deletes or bool(self._credible_breaches())
        if gone or waited >= self._options.timeouts.patience.longest:
            for behaviour in pending:
                needs = behaviour.needs
                if (result := self._judge.seen_once.get(behaviour.id)) is not None:
                    self._log.finish(result)
                    continue
                starts = " and ".join(dict.fromkeys(start.name for start in needs.starts))
                self._log.error(behaviour, f"too few machines are left: it needs {needs.machines} ({starts})")
            pending.clear()
            return 0.0
        if waited == 0.0:
            waiting = quantity(len(pending), "behaviour")
            self._builder.note(f"waiting for machines that other clients may return: {waiting}")
        before = self._context.client.now()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(5.0, max(0.05, waited * 0.05))):
                await self._stop.wait()
        await self._pool.refresh(self._machine)
        return waited + self._context.client.now() - before

    def _reap(self) -> None:
        """Removes the jobs that are done. Raises the error of a job that failed."""
        for task in [task for task in self._running if task.done()]:
            del self._running[task]
            task.result()

    async def _cancel_rest(self) -> None:
        """Cancels all jobs, waits for their end, and reports all other behaviours as not judged."""
        stopped = self._stop.reason is not None
        if stopped:
            self._scheduler.clear()
        while self._running:
            await self.cancel_all()
            self._running = {task: behaviour for task, behaviour in self._running.items() if not task.done()}
        for behaviour in self._plan:
            if behaviour.id not in self._log.results and (stopped or not behaviour.needs.returned):
                self._log.cut_short = self._stop.reason
                self._log.error(behaviour, f"not judged: {self._stop.reason}")

    async def cancel_all(self) -> None:
        """Cancels all jobs without cleaning up machines: the caller of the run was cancelled."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _perform(self, behaviour: Behaviour, lease: Lease) -> None:
        """Judges one behaviour and records its result."""
        began, was_live = self._context.client.now(), any(machine.live for machine in lease.machines)
        result, lease = await self._judge.judge(behaviour, lease)
        if result is None:
            recorded = behaviour.needs.recording in self._judge.recordings
            self._scheduler.add_again(behaviour, alone=behaviour.id in self._judge.too_slow, records=recorded)
            return
        if result.status is Status.ERROR:
            await self._check_target()
        self._log.finish(result)
        if behaviour.needs.restarts:
            await self._check_restarted()
        if self._options.fail_fast and result.status is Status.FAILED and not self._options.tolerates(result):
            self._stop("--fail-fast")
        # The result is known. The run goes on while the machines are returned.
        self._running[asyncio.create_task(self._return_machines(behaviour, lease, began, was_live=was_live))] = None

    async def _return_machines(self, behaviour: Behaviour, lease: Lease, began: float, *, was_live: bool) -> None:
        """Returns the machines to the pool, and records the length of the behaviour's chain."""
        await self._pool.release(lease, wanted=self._scheduler.wanted_states(lease))
        chain = self._context.client.now() - began
        # A chain starts and ends with machines in their original state, even if a live machine was reused. The quiet
        # phase is different: it runs one behaviour at a time, on machines that are already alive.
        if not behaviour.needs.alone:
            meter = self._context.meter
            if was_live and State.SPECULATIVE not in lease.starts:
                chain += meter.median(Verb.CREATE)
            if self._context.deletes and any(machine.live for machine in lease.machines):
                chain += meter.median(Verb.DELETE)
        self._log.chains[behaviour.id] = chain

    async def _check_restarted(self) -> None:
        """Stops the run if the provider does not serve again after a behaviour that has restarted it."""
        restarts = self._context.restarts
        if restarts is not None and not await restarts.ensure_serving():
            self._stop("the provider does not serve again after a restart")
            self._log.cut_short = self._stop.reason

    async def _clean_up_failed(self) -> None:
        """Lets FAILED machines be cleaned up: by the user's command, or by an orderly restart of the provider."""
        if self._options.keep or not self._pool.any_failed:
            return
        if self._context.repair is not None:
            for problem in await self._pool.repair(self._context.repair):
                self._builder.note(problem)
            return
        restarts = self._context.restarts
        if restarts is None:
            return
        self._builder.tell("machines rest in FAILED: the provider is stopped and started again to clean them up")
        with suppress(TargetError):
            await restarts.stop()
        if not await restarts.ensure_serving():
            self._builder.note("the provider does not serve again after an orderly stop")

    async def _check_target(self) -> None:
        """Stops the run if the target or the ledger is gone. Called after a behaviour that could not be judged."""
        if self._context.ledger.write_error is not None:
            self._stop(f"the ledger cannot be written: {self._context.ledger.write_error}")
        client = self._context.client
        async with self._checking:
            # While faults are injected, a target that does not answer may still be there.
            if client.may_have_dropped_since(0.0):
                return
            if self._stop.reason is not None or (await client.list(cap=1)).answered:
                return
            try:
                await connect(client, timeout=self._options.timeouts.connect)
                last = await client.list(cap=1)
                if not last.answered:
                    late = f"was not answered within {client.rpc_timeout:g} s"
                    by_proxy = http_answer.is_gateway_error(last.details)
                    raise TargetError(f"List {f'answered {last.outcome()}' if by_proxy else late}, twice")
            except TargetError as error:
                provider = self._context.provider
                death = provider.death if provider is not None else ""
                self._stop(f"the target is gone: {death or error.message}")
                self._log.cut_short = self._stop.reason
