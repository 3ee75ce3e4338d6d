"""Emits the events of a run and builds its report: the same for every lane, with all secrets redacted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core.lifecycle import Verb
from conformance.engine.options import asked
from conformance.results import events
from conformance.results.bill import Bill
from conformance.results.replay_options import ReplayOptions
from conformance.results.report import Home, Report, Time
from conformance.results.result import Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.core.catalogue import Entry
    from conformance.core.errors import TargetError
    from conformance.engine.options import Options
    from conformance.engine.session import Session
    from conformance.fleet.ledger import Ledger
    from conformance.results.bill import Meter
    from conformance.results.lane_figures import LaneFigures


class ReportBuilder:
    """What is said about one run. Made when its ledger is open, used until its machines are returned."""

    def __init__(self, opening: Session, ledger: Ledger, meter: Meter, emit: Callable[[events.Event], None]) -> None:
        self._opening, self._ledger, self._meter, self._emit = opening, ledger, meter, emit
        self._notes: list[str] = []

    def emit(self, event: events.Event) -> None:
        """Emits an event, redacted."""
        self._emit(self._opening.discretion.event(event))

    @property
    def lacking(self) -> tuple[str, ...]:
        """The capabilities that the user requires and the target does not have."""
        return tuple(name for name in self._opening.options.require if not self._opening.found.has(name))

    def start(self, entries: Sequence[Entry], *, machines: int, whole: bool = True) -> None:
        """Emits that the run has started: its behaviours, and the most machines that it will have at once."""
        opening, options = self._opening, self._opening.options
        target = opening.client.target
        self.emit(
            events.RunStarted(
                run=opening.run,
                target=target.address,
                at=opening.at,
                seed=options.seed,
                found=opening.found,
                behaviours=tuple(entries),
                machines=machines,
                ledger=str(self._ledger.path),
                version=options.version,
                strict=options.strict,
                lacking=self.lacking,
                whole=whole,
                asked=asked(options, target),
            )
        )

    def note(self, text: str) -> None:
        """Adds a remark to the report and emits it."""
        self._notes.append(text)
        self.emit(events.Noted(at=self._opening.client.now(), text=text))

    def add(self, result: Result) -> None:
        """Emits a result, with what the run has cost until now."""
        now = self._opening.client.now()
        self.emit(
            events.BehaviourFinished(result=result, at=now, bill=self._meter.bill(now), rpcs=self._opening.client.count)
        )

    def finish(
        self,
        results: Sequence[Result],
        *,
        home: Home,
        time: Time,
        stopped: str | None = None,
        whole: bool = True,
        quarantined: Sequence[tuple[str, str]] = (),
        figures: LaneFigures | None = None,
    ) -> Report:
        """Builds the report, emits it and returns it, redacted. `stopped` is why the run ended before its plan did."""
        opening, options, client = self._opening, self._opening.options, self._opening.client
        report = Report(
            run=opening.run,
            version=options.version,
            target=client.target.address,
            started=opening.at,
            seed=options.seed,
            found=opening.found,
            results=tuple(results),
            quarantined=tuple(quarantined),
            notes=tuple(self._notes),
            bill=self._meter.bill(client.now()),
            time=time,
            home=home,
            rpcs=client.count,
            ledger=str(self._ledger.path),
            stopped=stopped,
            strict=options.strict,
            lacking=self.lacking,
            whole=whole,
            asked=asked(options, client.target),
            took={verb.value: self._meter.median(verb) for verb in Verb if self._meter.has_samples(verb)},
            weather=client.faults.stats() if client.faults else None,
            figures=figures,
        )
        report = opening.discretion.report(report)
        self._emit(events.RunFinished(report=report))
        return report


def not_judged(entries: Sequence[Entry], error: TargetError, *, target: str, options: Options, version: str) -> Report:
    """Returns the report of a target that could not be judged at all, so that nothing was started there."""
    return Report(
        run="",
        version=version,
        target=target,
        started="",
        seed=options.seed,
        found=None,
        results=tuple(
            Result(entry=entry, status=Status.ERROR, reason=f"not judged: {error.message}") for entry in entries
        ),
        quarantined=(),
        notes=(),
        bill=Bill(),
        time=Time(wall=0.0, critical_path=0.0, sum=0.0),
        home=Home(),
        rpcs=0,
        ledger="",
        stopped=error.message,
        whole=options.whole,
        asked=ReplayOptions(fake=options.fake),
    )
