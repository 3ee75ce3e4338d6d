"""Emits the events of a run and builds its report: the same for every lane, with all secrets redacted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from conformance.core.lifecycle import Verb
from conformance.engine.options import FAKE, replay_options
from conformance.results import events
from conformance.results.bill import Bill
from conformance.results.breach import OUTSIDE, TargetBroken, with_breaches
from conformance.results.redaction import Redactor
from conformance.results.report import Home, Report, Time
from conformance.results.result import Result, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from conformance.core.catalogue import Entry
    from conformance.core.errors import TargetError
    from conformance.engine.options import Options
    from conformance.engine.session import Session
    from conformance.fleet.ledger import Ledger
    from conformance.results.bill import Meter
    from conformance.results.breach import Breach
    from conformance.results.lane_figures import LaneFigures
    from conformance.results.target_info import TargetInfo
    from conformance.rpc.target import Target

MAX_BREACH_NOTES: Final = 5
"""The number of breaches seen outside the behaviours that are noted: one defect may show on every machine."""


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
        return _lacking(self._session.options, self._session.found)

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
        self.tell(text)

    def tell(self, text: str) -> None:
        """Emits a note that is about the progress of the run, and not in the report."""
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
        breaches: Sequence[Breach] = (),
        stopped: str | None = None,
        whole: bool = True,
        quarantined: Sequence[tuple[str, str]] = (),
        held: Mapping[str, float] | None = None,
        figures: LaneFigures | None = None,
        restarts: int = 0,
    ) -> Report:
        """Builds the report, emits it and returns it, redacted.

        `breaches` are those that were seen outside the behaviours; `stopped` is the reason why the run ended early;
        `restarts`: how often the kit has ended the provider.
        """
        session, options, client = self._session, self._session.options, self._session.client
        failed = {result.id for result in results if result.status is Status.FAILED}
        unsaid = dict.fromkeys(f"{each.behaviour}: {each.text}" for each in breaches if each.behaviour not in failed)
        for text in list(unsaid)[:MAX_BREACH_NOTES]:
            self.note(f"{OUTSIDE}: {text}")
        final = with_breaches(results, breaches, options.catalogue)
        known = {result.id: result for result in results}
        for result in final:
            if known.get(result.id) is not result:
                self.add(result)
        report = _report(
            options,
            client.target,
            found=session.found,
            run=session.run,
            started=session.started_at,
            results=final,
            quarantined=tuple(quarantined),
            notes=tuple(self._notes),
            bill=replace(self._meter.bill(client.now()), restarts=restarts),
            time=time,
            home=home,
            rpcs=client.count,
            ledger=str(self._ledger.path),
            stopped=stopped,
            whole=whole,
            took={verb.value: self._meter.median(verb) for verb in Verb if self._meter.has_samples(verb)},
            held=dict(held or {}),
            weather=client.faults.stats() if client.faults else None,
            figures=figures,
        )
        report = session.redactor.report(report)
        self._emit(events.RunFinished(report=report))
        return report


async def with_broken_target(
    work: Awaitable[Report],
    entries: Sequence[Entry],
    target: Target,
    *,
    options: Options,
    emit: Callable[[events.Event], None],
) -> Report:
    """Returns the report of a lane's `work`.

    If the target breaks the contract so that the lane cannot judge it, emits and returns the report that says so.
    """
    try:
        return await work
    except TargetBroken as error:
        report = not_judged(entries, error, target, options=options)
        emit(events.RunFinished(report=report))
        return report


def not_judged(entries: Sequence[Entry], error: TargetError, target: Target | None, *, options: Options) -> Report:
    """Returns the redacted report of a target that could not be judged at all, and where nothing was started.

    Without a `target`, it is the embedded fake. A breach that was seen before the error is still a failure.
    """
    results = [Result(entry=entry, status=Status.ERROR, reason=f"not judged: {error.message}") for entry in entries]
    breaches = error.breaches if isinstance(error, TargetBroken) else ()
    report = _report(
        options,
        target,
        found=None,
        run="",
        started="",
        results=with_breaches(results, breaches, options.catalogue),
        quarantined=(),
        notes=(),
        bill=Bill(),
        time=Time(wall=0.0, critical_path=0.0, sum=0.0),
        home=Home(),
        rpcs=0,
        ledger="",
        stopped=error.message,
        whole=options.info.whole,
    )
    return Redactor(target.headers if target else ()).report(report)


def _report(options: Options, target: Target | None, *, found: TargetInfo | None, **others: Any) -> Report:
    """Returns a report with everything that the options say, in the same way whether the target was judged or not."""
    return Report(
        version=options.info.version,
        target=target.address if target else FAKE,
        seed=options.seed,
        found=found,
        strict=options.strict,
        lacking=_lacking(options, found),
        asked=replay_options(options, target),
        coverage=options.info.coverage,
        **others,
    )


def _lacking(options: Options, found: TargetInfo | None) -> tuple[str, ...]:
    """Returns the required capabilities that the target does not have; none if they are unknown."""
    return tuple(name for name in options.require if not found.has(name)) if found is not None else ()
