"""Reads a finished run from report.json or events.ndjson, as the `Report` that it had when it ended.

A log without its last line is a truncated run: behaviours without a result in the log were not judged, and the verdict
is never conformant.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from conformance.core.errors import UsageError
from conformance.core.json_reader import Malformed, NotJson, decode, parse
from conformance.core.text import cut
from conformance.results.bill import Bill
from conformance.results.record_schema import (
    LINE,
    BehaviourFinished,
    BehaviourStarted,
    Noted,
    RunFinished,
    RunStarted,
    Versioned,
    WholePart,
)
from conformance.results.report import FORMAT, Home, Report, Time
from conformance.results.result import Result, Status
from conformance.rpc.call import CLOCK_DECIMALS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conformance.core.catalogue import Entry
    from conformance.results.lane_figures import FiguresReader
    from conformance.results.record_schema import Event, Line

HINT: Final = "give a report.json or events.ndjson that --report-dir wrote"
TRUNCATED: Final = "truncated: the log ends before the run does"
UNFINISHED: Final = "the log ends before this behaviour does"


def read(path: Path, figures: Mapping[str, FiguresReader] | None = None) -> Report:
    """Returns the run in the report.json or events.ndjson at `path`; the content shows which of the two it is.

    `figures` are the readers of lane figures by lane; `lanes.records.read` passes all of them. Calls and target contain
    only the data that a report has. Raises UsageError for any other file.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}", hint=HINT) from error
    if not content.strip():
        hint = "the run has not finished; use the events.ndjson in the same directory" if not content else HINT
        raise UsageError(f"{path} is empty", hint=hint)
    try:
        return read_text(content, figures)
    except Malformed as error:
        raise UsageError(f"{path} is not a run record: {cut(str(error), 200)}", hint=HINT) from error


def failed_in(path: Path) -> tuple[str, ...]:
    """Returns the ids of the behaviours that did not pass in a record. Raises UsageError, also if all passed."""
    failed = tuple(result.id for result in read(path).with_status(Status.FAILED, Status.WARNED, Status.ERROR))
    if not failed:
        raise UsageError(f"nothing failed in {path}", hint="drop --select failed to run everything")
    return failed


def read_text(content: bytes, figures: Mapping[str, FiguresReader] | None = None) -> Report:
    """Returns the run in a file's content. Raises Malformed."""
    lines = content.rstrip().split(b"\n")
    try:
        first = parse(lines[0])
    except NotJson:
        # A report with many lines, or a log with a truncated first line.
        return _whole(parse(content), figures)
    if not (isinstance(first, dict) and "event" in first):
        return _whole(parse(content), figures)
    if len(lines) == 1 and first["event"] == "run-finished":
        return _whole(first, figures)  # the run never started
    return _log([first, *_rest(lines)], figures)


def _rest(lines: list[bytes]) -> list[dict[str, Any]]:
    """Returns the lines after the first. The last line may be incomplete, if the run was killed."""
    found = []
    for number, line in enumerate(lines[1:], 2):
        value = None
        with suppress(NotJson):
            value = parse(line)
        if isinstance(value, dict):
            found.append(value)
        elif number < len(lines):
            raise Malformed(f"line {number} is not a JSON object")
    return found


def _check_format(record: Any) -> None:
    if (number := decode(record, Versioned).format) != FORMAT:
        raise Malformed(f"its format is {number}, but this release reads format {FORMAT}")


def _with_figures(report: Report, record: Any, readers: Mapping[str, FiguresReader] | None) -> Report:
    """Adds the figures of a lane, which are under the lane's name. Raises Malformed."""
    for lane, reader in (readers or {}).items():
        if record.get(lane) is not None:
            return replace(report, figures=reader(record[lane], lane))
    return report


def _whole(record: Any, figures: Mapping[str, FiguresReader] | None) -> Report:
    _check_format(record)
    whole = decode(record, WholePart)
    if len({result.id for result in whole.behaviours}) < len(whole.behaviours):
        raise Malformed("two results have the same behaviour id")
    return _with_figures(whole.value(tuple(result.value() for result in whole.behaviours)), record, figures)


# A log.


@dataclass(slots=True, kw_only=True)
class _LogState:
    """The contents of the log lines read so far."""

    plan: dict[str, Entry]
    results: dict[str, Result] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)
    """The behaviours of breaches that were seen outside the behaviours: they have a second result, or no other."""
    started: dict[str, BehaviourStarted] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    bill: Bill = field(default_factory=Bill)
    rpcs: int = 0
    last: float = 0.0
    """Seconds on the run's clock."""

    def add(self, line: Event, place: str) -> None:
        """Adds a line that is neither the first nor the last of the run. Raises Malformed."""
        match line:
            case BehaviourStarted():
                if line.id not in self.plan:
                    raise Malformed(f"{place}.id: {line.id!r} is not in the plan of the run")
                self.started[line.id] = line
            case BehaviourFinished():
                if line.id in self.results or line.id not in self.plan:
                    self.late.append(line.id)
                self.results[line.id] = line.value()
                self.bill, self.rpcs = line.bill.make(Bill), line.rpcs
            case Noted():
                self.notes.append(line.text)
        self.last = max(self.last, line.at)

    def all_results(self, reason: str) -> tuple[Result, ...]:
        """Returns the results in the plan's order, then the late ones. Missing ones are not judged, with `reason`."""
        late = dict.fromkeys(self.late)
        planned = ((name, entry) for name, entry in self.plan.items() if name not in late)
        return (
            *(self.results.get(name) or self._unfinished(entry, reason) for name, entry in planned),
            *(self.results[name] for name in late),
        )

    def _unfinished(self, entry: Entry, reason: str) -> Result:
        result = Result(entry=entry, status=Status.ERROR, reason=reason)
        started = self.started.get(entry.id)
        if started is None:
            return result
        seconds = round(max(0.0, self.last - started.at), CLOCK_DECIMALS)
        return replace(result, started=started.at, seconds=seconds, machines=started.machines)

    def truncated(self, header: RunStarted) -> Report:
        """Returns the report of a run without its last line."""
        seconds = [result.seconds for result in self.results.values()]
        wall, longest, total = (round(value, 3) for value in (self.last, max(seconds, default=0.0), sum(seconds)))
        return header.report(
            started=header.at,
            results=self.all_results(UNFINISHED),
            quarantined=(),
            notes=tuple(self.notes),
            bill=self.bill,
            time=Time(wall=wall, critical_path=longest, sum=total),
            home=Home(known=False),
            rpcs=self.rpcs,
            stopped=TRUNCATED,
        )


def _log(lines: list[Any], figures: Mapping[str, FiguresReader] | None) -> Report:
    if lines[0]["event"] != "run-started":
        raise Malformed("its first line is not a run-started event")
    _check_format(lines[0])
    header = decode(lines[0], RunStarted, "line 1")
    state = _LogState(plan={one.id: one.entry() for one in header.behaviours})
    if len(state.plan) < len(header.behaviours):
        raise Malformed("the plan contains a behaviour twice")
    for number, value in enumerate(lines[1:], 2):
        line: Line = decode(value, LINE, f"line {number}")
        if isinstance(line, RunStarted):
            raise Malformed(f"line {number}: a second run-started event")
        if isinstance(line, RunFinished):
            _check_format(value)
            if number < len(lines):
                raise Malformed(f"line {number + 1} is after the run-finished event")
            return _with_figures(line.value(state.all_results(f"not judged: {line.stopped}")), value, figures)
        state.add(line, f"line {number}")
    return state.truncated(header)
