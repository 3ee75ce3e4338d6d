"""Emits the events of a run and builds its report: the same for every lane, with all secrets redacted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core import catalogue
from conformance.core.lifecycle import Verb
from conformance.engine.options import replay_options
from conformance.results import events
from conformance.results.bill import Bill
from conformance.results.breach import TargetBroken, with_breaches
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
    """Emits the events of one run and builds its report. Created when its ledger is open."""

    def __init__(self, session: Session, ledger: Ledger, meter: Meter, emit: Callable[[events.Event], None]) -> None:
        self._session, self._ledger, self._meter, self._emit = session, ledger, meter, emit
        self._notes: list[str] = []

    def emit(self, event: events.Event) -> None:
        """Emits an event, redacted."""
        self._emit(self._session.redactor.event(event))

    @property
    def lacking(self) -> tuple[str, ...]:
        """The capabilities that the user requires and the target does not have."""
        return tuple(name for name in self._session.options.require if not self._session.found.has(name))

    def start(self, entries: Sequence[Entry], *, machines: int, whole: bool = True) -> None:
        """Emits that the run has started: its behaviours, and the maximum number of machines that are alive at once."""
        session, options = self._session, self._session.options
        target = session.client.target
        self.emit(
            events.RunStarted(
                run=session.run,
                target=target.address,
                at=session.started_at,
                seed=options.seed,
                found=session.found,
                behaviours=tuple(entries),
                machines=machines,
                ledger=str(self._ledger.path),
                version=options.info.version,
                strict=options.strict,
                lacking=self.lacking,
                whole=whole,
                asked=replay_options(options, target),
                coverage=options.info.coverage,
            )
        )

    def note(self, text: str) -> None:
        """Adds a note to the report and emits it."""
        self._notes.append(text)
        self.emit(events.Noted(at=self._session.client.now(), text=text))

    def add(self, result: Result) -> None:
        """Emits a result, with the cost of the run until now."""
        now = self._session.client.now()
        self.emit(
            events.BehaviourFinished(result=result, at=now, bill=self._meter.bill(now), rpcs=self._session.client.count)
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
        """Builds the report, emits it and returns it, redacted. `stopped` is the reason why the run ended early."""
        session, options, client = self._session, self._session.options, self._session.client
        report = Report(
            run=session.run,
            version=options.info.version,
            target=client.target.address,
            started=session.started_at,
            seed=options.seed,
            found=session.found,
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
            asked=replay_options(options, client.target),
            took={verb.value: self._meter.median(verb) for verb in Verb if self._meter.has_samples(verb)},
            weather=client.faults.stats() if client.faults else None,
            figures=figures,
            coverage=options.info.coverage,
        )
        report = session.redactor.report(report)
        self._emit(events.RunFinished(report=report))
        return report


def not_judged(entries: Sequence[Entry], error: TargetError, *, target: str, options: Options, version: str) -> Report:
    """Returns the report of a target that could not be judged at all, and where nothing was started.

    A breach that was seen before that is still a failure.
    """
    results = tuple(
        Result(entry=entry, status=Status.ERROR, reason=f"not judged: {error.message}") for entry in entries
    )
    return Report(
        run="",
        version=version,
        target=target,
        started="",
        seed=options.seed,
        found=None,
        results=with_breaches(results, error.breaches, catalogue.load())
        if isinstance(error, TargetBroken)
        else results,
        quarantined=(),
        notes=(),
        bill=Bill(),
        time=Time(wall=0.0, critical_path=0.0, sum=0.0),
        home=Home(),
        rpcs=0,
        ledger="",
        stopped=error.message,
        whole=options.info.whole,
        asked=ReplayOptions(fake=options.info.fake),
        coverage=options.info.coverage,
    )
