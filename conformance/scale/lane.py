"""run(target, ...) -> Report: the scale lane, from its first look to the last machine's homecoming."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance import events, fit
from conformance.bill import Meter
from conformance.errors import TargetError, TargetLost
from conformance.judge import BROKEN
from conformance.lifecycle import State, Verb
from conformance.opening import opened
from conformance.pool import Pool
from conformance.probe import connect
from conformance.report import Report, Result, Status, Time
from conformance.run_options import asked
from conformance.scale import behaviours, budget, memory
from conformance.scale import soak as soaks
from conformance.scale.churn import Churn
from conformance.scale.figures import Fleet, Scale
from conformance.scale.oracle import Oracle
from conformance.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.catalogue import Entry
    from conformance.found import Found
    from conformance.ledger import Ledger
    from conformance.opening import Opening
    from conformance.report import Home
    from conformance.run_options import Options
    from conformance.scale.budget import Budget
    from conformance.scale.figures import Progress
    from conformance.scale.soak import Soak
    from conformance.stop import Stop
    from conformance.target import Target

MACHINES: Final = 16
"""So many are driven at once where nobody says otherwise."""
LIVES: Final = 10
"""And each is started so often, on the average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What only this lane is asked for."""

    soak: Soak = soaks.DEFAULT
    budgets: tuple[Budget, ...] = ()


async def run(
    asking: Asking,
    target: Target,
    *,
    options: Options,
    ledger_at: Callable[[str], Path],
    emit: Callable[[events.Event], None] = lambda event: None,
    stop: Stop | None = None,
) -> Report:
    """Drive many machines of `target` for a while, bring them home, and say what was seen.

    Raises TargetError where the target cannot be judged at all (nothing was started then), UsageError where the
    ledger cannot be written. No header's value is in anything that is emitted, returned or raised.
    """
    async with opened(target, options=options, stop=stop) as opening:
        size = Size.of(opening.slots, opening.found, options)
        async with opening.ledger(ledger_at) as ledger:
            return opening.discretion.report(await Lane(asking, opening, size, ledger, emit).run())


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many machines at once, and how many Creates at most."""

    machines: int
    creates: int

    @classmethod
    def of(cls, slots: list[tuple[str, State]], found: Found, options: Options) -> Size:
        """As asked for; else a handful, half of a small fleet at most. Raises TargetError where there is nothing."""
        wanted = options.max_machines or min(MACHINES, max(1, len(slots) // 2))
        machines = min(wanted, len(slots))
        lives = LIVES if found.delete else 1
        creates = lives * machines if options.max_creates is None else options.max_creates
        idle = sum(home is State.IDLE for _, home in slots)
        machines = min(machines, idle + creates)
        if not machines:
            free = "--use-idle lets the kit drive those that are IDLE" if found.idle else "give it SPECULATIVE ones"
            raise TargetError("there is no machine that could be driven; nothing was touched", hint=free)
        return cls(machines=machines, creates=creates)


class Lane:
    """One run of the lane. Made and used once."""

    def __init__(
        self,
        asking: Asking,
        opening: Opening,
        size: Size,
        ledger: Ledger,
        emit: Callable[[events.Event], None],
    ) -> None:
        client, found, options = opening.client, opening.found, opening.options
        self._asking, self._client, self._found, self._size = asking, client, found, size
        self._ledger, self._options, self._stop, self._name = ledger, options, opening.stop, opening.run
        self._emit = opening.discretion.before(emit)
        self._started, self._looked = opening.at, client.now()
        self._meter, self._oracle = Meter(max_creates=size.creates), Oracle()
        self._yard = Yard(
            run=opening.run,
            client=client,
            ledger=ledger,
            meter=self._meter,
            patience=options.patience,
            deletes=found.delete,
        )
        self._notes: list[str] = []
        self._cut: str | None = None
        self._churned = 0.0
        self._lacking = tuple(each for each in options.require if not found.has(each))
        self._churn = Churn(
            self._yard,
            self._oracle,
            opening.slots,
            machines=size.machines,
            creates=size.creates,
            limit=options.max_machines,
            soak=asking.soak,
            revisions=found.revisions,
            seed=options.seed,
            fail_fast=options.fail_fast,
            alive=self._alive,
            tell=self._tell,
            note=self._note,
        )

    async def run(self) -> Report:
        """The churn, then home."""
        entries, options = behaviours.load(), self._options
        self._emit(
            events.RunStarted(
                run=self._name,
                target=self._client.target.address,
                at=self._started,
                seed=options.seed,
                found=self._found,
                behaviours=entries,
                machines=self._size.machines,
                ledger=str(self._ledger.path),
                version=options.version,
                strict=options.strict,
                lacking=self._lacking,
                asked=asked(options, self._client.target),
            )
        )
        self._note(
            f"scale lane: {self._size.machines} machines at once for {self._asking.soak}, and not more than"
            f" {self._size.creates} creates in all"
        )
        try:
            await self._until_stopped()
        except TargetLost as error:
            self._cut = error.message
        except Exception as error:
            # Whatever is wrong with us, it is no reason to leave machines running.
            self._cut = f"the kit itself failed: {type(error).__name__}: {error}"
        self._churned = self._client.now() - self._looked
        home = await Pool([drive.machine for drive in self._churn.drives], self._yard, most=0).home(keep=options.keep)
        report = self._report(entries, home)
        for result in report.results:
            now = self._client.now()
            bill = self._meter.bill(now)
            self._emit(events.BehaviourFinished(result=result, at=now, bill=bill, rpcs=self._client.count))
        self._emit(events.RunFinished(report=report))
        return report

    async def _until_stopped(self) -> None:
        churn, stopped = asyncio.create_task(self._churn.run()), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({churn, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if churn.done():
                churn.result()
            self._cut = self._stop.reason
        finally:
            for task in (churn, stopped):
                task.cancel()
            await asyncio.gather(churn, stopped, return_exceptions=True)
        if self._cut is None and not self._churn.whole and not self._oracle.findings:
            self._cut = "no machine is left that could be driven"

    async def _alive(self) -> None:
        """After a call that was not answered: where the target is gone, so is the run. Raises TargetLost."""
        if (await self._client.list(cap=1)).answered:
            return
        try:
            await connect(self._client, timeout=self._options.connect_timeout)
        except TargetError as error:
            raise TargetLost(f"the target is gone: {error.message}") from error

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._emit(events.Noted(at=self._client.now(), text=text))

    def _tell(self, progress: Progress) -> None:
        self._emit(events.Progressed(progress=progress))

    def _result(self, entry: Entry) -> Result:
        finding, clause = self._oracle.findings.get(entry.clause.id), entry.clause.id
        lacking = next((need for need in entry.needs if not self._found.has(need)), None)
        judged = self._oracle.judged[clause]
        if finding is not None:
            more = f" ({finding.count} times in all)" if finding.count > 1 else ""
            decisive = tuple(n for n, call in enumerate(finding.calls) if call in finding.decisive)
            return Result(
                entry=entry,
                status=BROKEN[entry.level],
                reason=f"{clause}: wanted {finding.wanted}; got {finding.got}{more}",
                wanted=finding.wanted,
                got=f"{finding.got}{more}",
                started=self._looked,
                seconds=self._churned,
                machines=finding.machines,
                calls=finding.calls,
                decisive=decisive,
            )
        if lacking is not None:
            return Result(entry=entry, status=Status.SKIPPED, reason=fit.LACKS[lacking])
        status, reason = Status.PASSED, ""
        if self._cut is not None:
            status, reason = Status.ERROR, f"not judged to the end: {self._cut}"
        elif not judged and not self._churn.whole:
            status, reason = Status.ERROR, "the run ended before it could be judged"
        elif not judged:
            status, reason = Status.SKIPPED, "nothing came about by which it could be judged"
        return Result(entry=entry, status=status, reason=reason, started=self._looked, seconds=self._churned)

    def _report(self, entries: tuple[Entry, ...], home: Home) -> Report:
        now, options = self._client.now(), self._options
        return Report(
            run=self._name,
            version=options.version,
            target=self._client.target.address,
            started=self._started,
            seed=options.seed,
            found=self._found,
            results=tuple(map(self._result, entries)),
            quarantined=(),
            notes=tuple(self._notes),
            bill=self._meter.bill(now),
            time=Time(wall=round(now, 3), critical_path=round(now, 3), sum=round(self._churned, 3)),
            home=home,
            rpcs=self._client.count,
            ledger=str(self._ledger.path),
            stopped=self._cut,
            strict=options.strict,
            lacking=self._lacking,
            asked=asked(options, self._client.target),
            took={verb.value: self._meter.median(verb) for verb in Verb if self._meter.seen(verb)},
            scale=self._figures(),
        )

    def _figures(self) -> Scale:
        churn, latencies = self._churn, self._churn.timings.latencies()
        held = churn.memory or [0]
        return Scale(
            soak=str(self._asking.soak),
            machines=self._size.machines,
            most_creates=self._size.creates,
            seconds=round(self._churned, 3),
            operations=churn.operations,
            checks=churn.checks,
            facts=self._oracle.facts,
            disagreements=self._oracle.disagreements,
            pushed_back=churn.put_off,
            disturbed=churn.disturbed,
            fleet=churn.follower.fleet or Fleet(),
            latencies=latencies,
            growth=churn.timings.growth(),
            budgets=budget.held(self._asking.budgets, latencies),
            memory=memory.most(),
            memory_growth=max(0, held[-1] - held[len(held) // 2]),
        )
