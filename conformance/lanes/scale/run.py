"""Runs the scale lane, from the probe of the target to the return of the last machine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from conformance.core.errors import TargetError, TargetLost
from conformance.core.text import quantity
from conformance.engine import preflight
from conformance.engine.report_builder import ReportBuilder, with_broken_target
from conformance.engine.session import open_session
from conformance.fleet.context import FleetContext
from conformance.fleet.pool import Pool
from conformance.fleet.probe import connect
from conformance.lanes import catalogue_file
from conformance.lanes.scale import budget, memory
from conformance.lanes.scale import soak as soaks
from conformance.lanes.scale.churn import Callbacks, Churn, ChurnPlan
from conformance.lanes.scale.figures import Fleet, ScaleFigures
from conformance.lanes.scale.supply import Size
from conformance.lanes.scale.verdicts import Verdicts
from conformance.results import events
from conformance.results.bill import Meter
from conformance.results.breach import credible
from conformance.results.report import Time
from conformance.results.result import Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from conformance.core.catalogue import Entry
    from conformance.core.stop import Stop
    from conformance.engine.options import Options
    from conformance.engine.session import Session
    from conformance.fleet.ledger import Ledger
    from conformance.lanes.scale.budget import Budget
    from conformance.lanes.scale.figures import ChurnProgress
    from conformance.lanes.scale.soak import Soak
    from conformance.results.breach import Breach
    from conformance.results.report import Report
    from conformance.rpc.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleSettings:
    """The values of the lane's own options."""

    soak: Soak = soaks.DEFAULT
    budgets: tuple[Budget, ...] = ()


async def run(
    settings: ScaleSettings,
    target: Target,
    *,
    options: Options,
    ledger_at: Callable[[str], Path],
    emit: Callable[[events.Event], None] = lambda event: None,
    stop: Stop | None = None,
) -> Report:
    """Runs one churn on many machines of `target`, returns the machines, and returns the report.

    Raises TargetError if the target cannot be judged at all (then no machine was started), and UsageError if the ledger
    cannot be written. Events, the report and errors contain no header values.
    """
    work = _run(settings, target, options=options, ledger_at=ledger_at, emit=emit, stop=stop)
    return await with_broken_target(work, catalogue_file.entries(__package__), target, options=options, emit=emit)


async def _run(
    settings: ScaleSettings,
    target: Target,
    *,
    options: Options,
    ledger_at: Callable[[str], Path],
    emit: Callable[[events.Event], None],
    stop: Stop | None,
) -> Report:
    async with open_session(target, options=options, stop=stop) as session:
        with session.blaming_breaches():
            size = Size.of(session.slots, session.found, options, settings.soak)
        async with session.ledger(ledger_at) as ledger:
            return await ScaleRun(settings, session, size, ledger, emit).run()


class ScaleRun:
    """One run of the lane. Created and used once."""

    def __init__(
        self,
        settings: ScaleSettings,
        session: Session,
        size: Size,
        ledger: Ledger,
        emit: Callable[[events.Event], None],
    ) -> None:
        found, options = session.found, session.options
        self._settings, self._session, self._size = settings, session, size
        meter = Meter(max_creates=size.creates)
        self._builder = ReportBuilder(session, ledger, meter, emit)
        self._entries = catalogue_file.entries(__package__)
        self._verdicts = Verdicts(session.model, self._entries)
        self._context = FleetContext(
            run=session.run,
            client=session.client,
            ledger=ledger,
            meter=meter,
            patience=options.timeouts.patience,
            deletes=found.delete,
            model=session.model,
        )
        plan = ChurnPlan(
            slots=session.slots,
            size=size,
            max_alive=options.limits.max_machines,
            soak=settings.soak,
            seed=options.seed,
            revisions=found.revisions,
            fail_fast=options.fail_fast,
        )
        callbacks = Callbacks(check_target=self._check_target, progress=self._progress, note=self._builder.note)
        self._churn = Churn(self._context, self._verdicts, plan, callbacks)
        self._began, self._seconds = session.client.now(), 0.0
        """The start of the churn on the run's clock, and its duration, in seconds."""
        self._stopped: str | None = None
        """The reason why the churn ended before its soak; None if it did not."""

    async def run(self) -> Report:
        """Runs the churn, and returns all machines."""
        client = self._session.client
        self._builder.start(self._entries, machines=self._size.machines)
        self._builder.note(
            f"scale lane: {quantity(self._size.machines, 'machine')} at once for {self._settings.soak},"
            f" at most {quantity(self._size.creates, 'create')} in total"
        )
        try:
            await self._until_stopped()
        except TargetLost as error:
            self._stopped = error.message
        except Exception as error:
            # A bug in the kit must not leave machines running.
            self._stopped = f"the kit itself failed: {type(error).__name__}: {error}"
        self._seconds = client.now() - self._began
        pool = Pool([worker.machine for worker in self._churn.supply.workers], self._context, max_alive=0)
        home = await pool.clean_up(keep=self._session.options.keep)
        other_client = pool.lost_claim or self._churn.counts.disturbed > 0
        results = [self._result(entry, other_client=other_client) for entry in self._entries]
        for result in results:
            self._builder.add(result)
        wall = round(client.now(), 3)
        return self._builder.finish(
            results,
            breaches=credible(self._verdicts.other, other_client=other_client),
            home=home,
            time=Time(wall=wall, critical_path=wall, sum=round(self._seconds, 3)),
            stopped=self._stopped,
            figures=self._figures(),
        )

    async def _until_stopped(self) -> None:
        stop = self._session.stop
        churn, stopped = asyncio.create_task(self._churn.run()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({churn, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if churn.done():
                churn.result()
            self._stopped = stop.reason
        finally:
            for task in (churn, stopped):
                task.cancel()
            await asyncio.gather(churn, stopped, return_exceptions=True)
        if self._stopped is None and not self._churn.whole and not self._verdicts.found:
            self._stopped = "no machine is left to drive"

    async def _check_target(self) -> None:
        """Checks the target after a call that was not answered. Raises TargetLost if it is gone."""
        client = self._session.client
        if (await client.list(cap=1)).answered:
            return
        try:
            await connect(client, timeout=self._session.options.timeouts.connect)
        except TargetError as error:
            raise TargetLost(f"the target is gone: {error.message}") from error

    def _progress(self, progress: ChurnProgress) -> None:
        self._builder.emit(events.Progressed(progress=progress))

    def _result(self, entry: Entry, *, other_client: bool) -> Result:
        found = [
            breach
            for breach in self._verdicts.found.get(entry.id, ())
            if not (other_client and breach.other_client_possible)
        ]
        if found:
            return self._broken(entry, found)
        lacking = next((need for need in entry.needs if not self._session.found.has(need)), None)
        if lacking is not None:
            return Result(entry=entry, status=Status.SKIPPED, reason=preflight.SKIP_REASONS[lacking])
        status, reason = Status.PASSED, ""
        judged = self._verdicts.judged[entry.clause.id]
        if self._stopped is not None:
            status, reason = Status.ERROR, f"not judged completely: {self._stopped}"
        elif not judged and not self._churn.whole:
            status, reason = Status.ERROR, "the run ended before this check"
        elif not judged:
            status, reason = Status.SKIPPED, "the run produced no data for this check"
        return Result(entry=entry, status=status, reason=reason, started=self._began, seconds=self._seconds)

    def _broken(self, entry: Entry, found: Sequence[Breach]) -> Result:
        first, machines = found[0], len({breach.machine for breach in found})
        more = f" (and {quantity(machines - 1, 'more machine')})" if machines > 1 else ""
        return replace(
            first.result(entry),
            reason=f"{entry.clause.id}: {first.text}{more}",
            got=f"{first.got}{more}",
            seconds=self._seconds,
        )

    def _figures(self) -> ScaleFigures:
        churn, latencies = self._churn, self._churn.timings.latencies()
        used = churn.counts.memory or [0]
        return ScaleFigures(
            soak=str(self._settings.soak),
            machines=self._size.machines,
            most_creates=self._size.creates,
            seconds=round(self._seconds, 3),
            operations=churn.schedule.operations,
            checks=churn.counts.checks,
            facts=self._verdicts.facts,
            disagreements=self._verdicts.disagreements,
            pushed_back=churn.deferred,
            disturbed=churn.counts.disturbed,
            fleet=churn.follower.fleet or Fleet(),
            latencies=latencies,
            growth=churn.timings.growth(),
            budgets=budget.check(self._settings.budgets, latencies),
            memory=memory.peak(),
            memory_growth=max(0, used[-1] - used[len(used) // 2]),
        )
