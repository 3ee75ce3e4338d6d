"""A run that is over, read back: report.json or events.ndjson -> Report, as it was when the run ended.

A log without its last line is a truncated run. Its results are those that it holds, every other behaviour could not
be judged, and it is never conformant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

import grpc

from conformance import weather
from conformance.asked import Asked
from conformance.bill import Bill
from conformance.call import DIGITS
from conformance.catalogue import Clause, Entry, Level
from conformance.errors import UsageError
from conformance.fields import Fields, Malformed, parse
from conformance.found import SHARD, SHARD_MACHINE, Found
from conformance.kept import Kept
from conformance.lifecycle import State, Verb
from conformance.patience import Patience
from conformance.report import FORMAT, Home, Report, Time
from conformance.result import Result, Status, Verdict
from conformance.text import cut
from conformance.token import Token
from conformance.waiver import Standing, Waived, Waiver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from conformance.lane_figures import FiguresReader, LaneFigures

HINT: Final = "give the report.json or the events.ndjson that --report-dir wrote"
TRUNCATED: Final = "truncated: the log ends before the run did"
UNFINISHED: Final = "the log ends before it did"

_BEHAVIOUR: Final = re.compile(r"[A-Z]{3}-[0-9]+[a-z]+")
_CLAUSE: Final = re.compile(r"[A-Z]{3}-[0-9]+")


def read(path: Path, figures: Mapping[str, FiguresReader] | None = None) -> Report:
    """The run that the report.json or events.ndjson at `path` tells of; its content says which of them it is.

    `figures` has, by lane, the readers of what lanes measured: `lanes.records.read` knows them all.

    Only what a report tells of calls and of the target is there again. Raises UsageError for any other file.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}", hint=HINT) from error
    if not content.strip():
        hint = "its run has not finished: the events.ndjson beside it holds what there is" if not content else HINT
        raise UsageError(f"{path} is empty", hint=hint)
    try:
        return read_text(content, figures)
    except Malformed as error:
        raise UsageError(f"{path} is no record of a run: {cut(str(error), 200)}", hint=HINT) from error


def failed_in(path: Path) -> tuple[str, ...]:
    """The ids of what did not pass in the run that `path` tells of. Raises UsageError, also where all passed."""
    failed = tuple(result.id for result in read(path).with_status(Status.FAILED, Status.WARNED, Status.ERROR))
    if not failed:
        raise UsageError(f"nothing failed in {path}", hint="drop --select failed to run everything")
    return failed


def read_text(content: bytes, figures: Mapping[str, FiguresReader] | None = None) -> Report:
    """As `read`, of a file's content. Raises Malformed."""
    lines = content.rstrip().split(b"\n")
    try:
        first = Fields(_json(lines[0]), "line 1")
    except Malformed:
        # The header was cut, or this is a report, which has a line for everything.
        return _whole(Fields(_json(content)), figures)
    if "event" in first:
        return _log([first, *_rest(lines)], figures)
    return _whole(Fields(_json(content)), figures)


def _json(content: bytes) -> Any:
    try:
        return parse(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise Malformed("it is not text") from None


def _rest(lines: list[bytes]) -> list[Fields]:
    """The lines after the first. The last one may be cut wherever the run died."""
    found = []
    for number, line in enumerate(lines[1:], 2):
        try:
            found.append(Fields(_json(line), f"line {number}"))
        except Malformed:
            if number < len(lines):
                raise Malformed(f"line {number} is no line of a log") from None
    return found


def _check_format(record: Fields) -> None:
    number = record.integer("format")
    if number != FORMAT:
        raise Malformed(f"it has format {number}, and this kit reads format {FORMAT}")


# A report.


def _figures(record: Fields, readers: Mapping[str, FiguresReader] | None) -> LaneFigures | None:
    """What a lane measured: under the lane's name, read by the lane."""
    for lane, reader in (readers or {}).items():
        if lane in record and record.object_or_null(lane) is not None:
            return reader(record.free(lane), lane)
    return None


def _whole(
    record: Fields,
    readers: Mapping[str, FiguresReader] | None,
    results: Callable[[str | None], tuple[Result, ...]] | None = None,
) -> Report:
    """A report, from report.json or from a log's last line; `results` has them where the lines above it do."""
    _check_format(record)
    record.named("verdict", Verdict, "a verdict")
    home = record.object("home")
    stopped = record.text_or_null("stopped")
    reasons = home.mapping("reasons", Fields.text)
    left = home.texts("left")
    if set(left) != set(reasons):
        raise Malformed("home.left and home.reasons name different machines")
    return Report(
        run=record.text("run"),
        version=record.text("kit"),
        target=record.text("target"),
        started=_moment(record, "started"),
        seed=record.integer("seed"),
        found=_found(record.object("found")),
        results=results(stopped) if results is not None else _unique(tuple(map(_result, record.objects("behaviours")))),
        quarantined=tuple((one.text("machine"), one.text("reason")) for one in record.objects("quarantined")),
        notes=record.texts("notes"),
        bill=_bill(record.object("bill")),
        time=Time(**{each.name: record.object("time").seconds(each.name) for each in fields(Time)}),
        home=Home(
            left=tuple((machine, reasons[machine]) for machine in left),
            taken=tuple(home.mapping("taken", Fields.text).items()),
            kept=home.flag("kept"),
            known=home.flag("known"),
        ),
        rpcs=record.count("rpcs"),
        ledger=record.text("ledger"),
        stopped=stopped,
        strict=record.flag("strict"),
        lacking=record.texts("lacking"),
        whole=record.flag("whole"),
        asked=_asked(record.object("asked")),
        took=record.mapping("took", Fields.seconds),
        figures=_figures(record, readers),
        weather=weather.read(record.object_or_null("weather")),
        waivers_file=record.text("waivers_file"),
        waivers=tuple(map(_waived, record.objects("waivers"))),
    )


def _waived(one: Fields) -> Waived:
    """A waiver, with what the run said of it then: no day of today's counts."""
    return Waived(
        waiver=Waiver(
            id=one.text("id"),
            reason=one.text("reason"),
            owner=one.text("owner"),
            expires=one.named("expires", date.fromisoformat, "a day"),
            fingerprint=one.text("fingerprint"),
            failure=one.text("failure"),
        ),
        standing=one.named("standing", Standing, "what a run says of a waiver"),
        detail=one.text("detail"),
    )


def _unique(results: tuple[Result, ...]) -> tuple[Result, ...]:
    if len({result.id for result in results}) < len(results):
        raise Malformed("a behaviour is told of twice")
    return results


def _moment(record: Fields, key: str) -> str:
    """ISO 8601 as it stands there; empty where the run never started."""
    record.named(key, lambda text: text and datetime.fromisoformat(text), "a moment")
    return record.text(key)


def _found(found: Fields) -> Found | None:
    """What was found; the ids of the machines that the run could have used are not recorded."""
    if not found:
        return None
    fleet = found.mapping("fleet", Fields.count)
    if not fleet.keys() <= State.__members__.keys():
        raise found.wrong("fleet", "machines by state")
    return Found(
        fleet=fleet,
        delete=found.flag("delete"),
        revisions=found.flag("revisions"),
        fence_scope=_scope(found),
        tls=found.flag("tls"),
        client_certificate=found.flag("client_certificate"),
        health=found.text_or_null("health"),
        reflection=found.flag("reflection"),
        spot=found.flag("spot"),
        zones=found.texts("zones"),
        speculative=(),
        idle=(),
    )


def _asked(asked: Fields) -> Asked:
    patience = asked.object("patience")
    return Asked(
        examples=asked.count("examples"),
        fence_scope=_scope(asked),
        use_idle=asked.flag("use_idle"),
        patience=Patience(**{verb.value.lower(): patience.seconds(verb.value.lower()) for verb in Verb}),
        rpc_timeout=asked.seconds("rpc_timeout"),
        fake=asked.flag("fake"),
        headers=asked.texts("headers"),
        faults=asked.texts("faults"),
        server_name=asked.text_or_null("server_name"),
    )


def _scope(fields: Fields) -> str | None:
    scope = fields.text_or_null("fence_scope")
    if scope not in (SHARD, SHARD_MACHINE, None):
        raise fields.wrong("fence_scope", "a scope of the fence")
    return scope


def _bill(bill: Fields) -> Bill:
    counts = {name: bill.count(name) for name in ("create", "configure", "drain", "delete", "peak_machines")}
    return Bill(**counts, machine_seconds=bill.seconds("machine_seconds"), price=bill.number("price"))


def _entry(one: Fields) -> Entry:
    """A behaviour as the catalogue had it then: today's may have another text, or none of that id."""
    level = Level, "a level"
    clause = Clause(
        id=one.named("clause", _like(_CLAUSE), "a clause's id"),
        level=one.named("clause_level", *level),
        text=one.text("clause_text"),
    )
    return Entry(
        id=one.named("id", _like(_BEHAVIOUR), "a behaviour's id"),
        clause=clause,
        level=one.named("level", *level),
        title=one.text("title"),
        observed=one.text("observed"),
        since=one.text("since"),
        needs=one.texts("needs"),
        rests_on=one.texts("rests_on"),
    )


def _like(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise ValueError(text)
        return text

    return check


def _result(one: Fields) -> Result:
    calls = tuple(map(_call, one.objects("calls")))
    return Result(
        entry=_entry(one),
        status=one.named("status", Status, "a status"),
        reason=one.text("reason"),
        wanted=one.text("wanted"),
        got=one.text("got"),
        started=one.seconds("started"),
        seconds=one.seconds("seconds"),
        machines=one.texts("machines"),
        calls=calls,
        decisive=one.indices("decisive", len(calls)),
    )


def _call(one: Fields) -> Kept:
    shown = one.object_or_null("token")
    token = None if shown is None else Token(shown.text("shard"), shown.integer("epoch"), shown.integer("sequence"))
    started = one.seconds("at")
    return Kept(
        rpc=one.text("rpc"),
        machine_id=one.text("machine"),
        token=token,
        code=one.named("code", grpc.StatusCode.__getitem__, "a gRPC status"),
        answered=one.flag("answered"),
        started=started,
        ended=round(started + one.seconds("seconds"), DIGITS),
        request=one.text("request"),
        came=one.text("outcome"),
        message=one.free("sent"),
        states=one.mapping("seen", lambda seen, machine: seen.named(machine, State.__getitem__, "a state")),
    )


# A log.


@dataclass(slots=True, kw_only=True)
class _Story:
    """What the lines of a log have told so far."""

    plan: dict[str, Entry]
    results: dict[str, Result] = field(default_factory=dict)
    began: dict[str, tuple[float, tuple[str, ...]]] = field(default_factory=dict)
    """When each behaviour began, and on which machines."""
    notes: list[str] = field(default_factory=list)
    bill: Bill = field(default_factory=Bill)
    rpcs: int = 0
    last: float = 0.0
    """Seconds on the run's clock."""

    def hear(self, line: Fields) -> None:
        """One more line, which is neither the first nor the last of the run."""
        match line.text("event"):
            case "behaviour-started":
                self.began[self._known(line)] = line.seconds("at"), line.texts("machines")
            case "behaviour-finished":
                self.results[self._known(line)] = _result(line)
                self.bill, self.rpcs = _bill(line.object("bill")), line.count("rpcs")
            case "noted":
                self.notes.append(line.text("text"))
            case other if other != "progressed":
                raise line.wrong("event", "an event that this kit knows")
        self.last = max(self.last, line.seconds("at"))

    def _known(self, line: Fields) -> str:
        if line.text("id") not in self.plan:
            raise line.wrong("id", "a behaviour of the run")
        return line.text("id")

    def told(self, reason: str) -> tuple[Result, ...]:
        """The results in the plan's order; of what has none, `reason` says why."""
        return tuple(self.results.get(name) or self._unfinished(entry, reason) for name, entry in self.plan.items())

    def _unfinished(self, entry: Entry, reason: str) -> Result:
        started, machines = self.began.get(entry.id, (0.0, ()))
        seconds = round(max(0.0, self.last - started), DIGITS) if entry.id in self.began else 0.0
        return Result(
            entry=entry, status=Status.ERROR, reason=reason, started=started, seconds=seconds, machines=machines
        )


def _log(lines: list[Fields], figures: Mapping[str, FiguresReader] | None) -> Report:
    header = lines[0]
    if header.text("event") == "run-finished" and len(lines) == 1:
        return _whole(header, figures)  # of a target that could not be judged at all
    if header.text("event") != "run-started":
        raise Malformed("its first line is not where a run starts")
    _check_format(header)
    entries = tuple(map(_entry, header.objects("behaviours")))
    story = _Story(plan={entry.id: entry for entry in entries})
    if len(story.plan) < len(entries):
        raise Malformed("a behaviour is planned twice")
    cut = _truncated(header)
    for number, line in enumerate(lines[1:], 2):
        if line.text("event") == "run-finished":
            if number < len(lines):
                raise Malformed(f"line {number + 1} comes after the run's end")
            return _whole(line, figures, lambda stopped: story.told(f"not judged: {stopped}"))
        story.hear(line)
    results = story.told(UNFINISHED)
    seconds = [result.seconds for result in results if result.id in story.results]
    return replace(
        cut,
        results=results,
        notes=tuple(story.notes),
        bill=story.bill,
        rpcs=story.rpcs,
        time=Time(
            wall=round(story.last, 3), critical_path=round(max(seconds, default=0.0), 3), sum=round(sum(seconds), 3)
        ),
    )


def _truncated(header: Fields) -> Report:
    """What the first line says of a run, and that nobody knows how it ended."""
    return Report(
        run=header.text("run"),
        version=header.text("kit"),
        target=header.text("target"),
        started=_moment(header, "at"),
        seed=header.integer("seed"),
        found=_found(header.object("found")),
        results=(),
        quarantined=(),
        notes=(),
        bill=Bill(),
        time=Time(wall=0.0, critical_path=0.0, sum=0.0),
        home=Home(known=False),
        rpcs=0,
        ledger=header.text("ledger"),
        stopped=TRUNCATED,
        strict=header.flag("strict"),
        lacking=header.texts("lacking"),
        whole=header.flag("whole"),
        asked=_asked(header.object("asked")),
    )
