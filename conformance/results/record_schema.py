"""JSON objects of report.json and events.ndjson (format 1) that differ from the values that they are read into.

All fields are required that release 0.1.0 wrote. Unknown keys are ignored, because newer releases may write them.
"""

from __future__ import annotations

import dataclasses
from datetime import date, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from conformance.core.catalogue import Clause, Entry, Level
from conformance.core.json_reader import decode
from conformance.core.lifecycle import State
from conformance.core.value_types import Count, FenceScope, Seconds
from conformance.results.bill import Bill
from conformance.results.kit_coverage import KitCoverage
from conformance.results.replay_options import ReplayOptions
from conformance.results.report import Home, Report, Time
from conformance.results.result import Result, Status, Verdict
from conformance.results.target_info import TargetInfo
from conformance.results.waivers import Waived, Waiver, WaiverState
from conformance.rpc.call_record import CallRecord
from conformance.rpc.faults.spec import FaultStats

T = TypeVar("T")


class Part(Struct):
    """A JSON object in a record."""

    def make(self, kind: type[T], **others: Any) -> T:
        """Returns a `kind` with this object's fields of the same names, and with `others`."""
        names = {field.name for field in dataclasses.fields(kind)} & {*self.__struct_fields__}  # type: ignore[arg-type]
        return kind(**{name: getattr(self, name) for name in names} | others)


def check_time(text: str) -> None:
    """Raises ValueError for text that is not an ISO 8601 time. It is empty if the run never started."""
    try:
        if text:
            datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an ISO 8601 time") from None


class EntryPart(Part):
    """A behaviour from the run's catalogue. The current catalogue may have another text, or not have the behaviour."""

    id: Annotated[str, Meta(pattern=r"^[A-Z]{3}-[0-9]+[a-z]+\Z")]
    clause: Annotated[str, Meta(pattern=r"^[A-Z]{3}-[0-9]+\Z")]
    level: Level
    title: str
    observed: str
    clause_level: Level
    clause_text: str
    since: str
    needs: tuple[str, ...]
    rests_on: tuple[str, ...]

    def entry(self) -> Entry:
        """Returns the behaviour."""
        return self.make(Entry, clause=Clause(id=self.clause, level=self.clause_level, text=self.clause_text))


class ResultPart(EntryPart):
    """The result of a behaviour."""

    status: Status
    reason: str
    wanted: str
    got: str
    started: Seconds
    seconds: Seconds
    machines: tuple[str, ...]
    calls: tuple[CallRecord, ...]
    decisive: tuple[Count, ...]

    def __post_init__(self) -> None:
        if any(number >= len(self.calls) for number in self.decisive):
            raise ValueError(f"`decisive` must contain numbers below {len(self.calls)}, the number of calls")

    def value(self) -> Result:
        """Returns the result."""
        return self.make(Result, entry=self.entry())


class FoundPart(Part):
    """The target's properties. The ids of its machines are not recorded."""

    fleet: dict[str, Count]
    delete: bool
    revisions: bool
    fence_scope: FenceScope | None
    tls: bool
    client_certificate: bool
    health: str | None
    reflection: bool
    spot: bool
    zones: tuple[str, ...]
    capacity_types: tuple[str, ...] = ()
    """Older releases did not record them."""

    def __post_init__(self) -> None:
        for state in self.fleet.keys() - State.__members__.keys():
            raise ValueError(f"unknown machine state {state!r}")


class HomePart(Part):
    """The clean-up: machines that were not returned."""

    left: tuple[str, ...]
    reasons: dict[str, str]
    taken: dict[str, str]
    kept: bool
    known: bool
    failed: dict[str, str] = {}
    """Older releases named these machines in `left`."""

    def __post_init__(self) -> None:
        if {*self.left} != self.reasons.keys():
            raise ValueError("`left` and `reasons` name different machines")

    def value(self) -> Home:
        """Returns the clean-up."""
        left = tuple((machine, self.reasons[machine]) for machine in self.left)
        return self.make(Home, left=left, taken=tuple(self.taken.items()), failed=tuple(self.failed.items()))


class QuarantinedPart(Part):
    """A quarantined machine, which the run did not use again."""

    machine: str
    reason: str


class WaivedPart(Part):
    """A waiver with its state at the time of the run."""

    id: str
    reason: str
    owner: str
    expires: date
    fingerprint: str
    failure: str
    standing: WaiverState
    detail: str
    covers: tuple[str, ...] = ()
    covered: tuple[str, ...] = ()


class Versioned(Part):
    """Any record. Its format is checked first."""

    format: int


class RunPart(Part, kw_only=True):
    """The data of a run that are known at its start."""

    run: str
    kit: str
    target: str
    seed: int
    found: dict[str, Any]
    strict: bool
    lacking: tuple[str, ...]
    whole: bool
    ledger: str
    asked: ReplayOptions
    coverage: KitCoverage = msgspec.field(default_factory=KitCoverage)
    """Older releases did not record it."""

    def __post_init__(self) -> None:
        self.target_info()

    def target_info(self) -> TargetInfo | None:
        """Returns the target's properties; None if the object is empty, because the target was not reached."""
        return decode(self.found, FoundPart, "found").make(TargetInfo, speculative=(), idle=()) if self.found else None

    def report(self, **others: Any) -> Report:
        """Returns a report with this object's fields, and with `others`."""
        return self.make(Report, version=self.kit, found=self.target_info(), **others)


class BillPart(Part, kw_only=True):
    """The cost of a run."""

    create: Count
    configure: Count
    drain: Count
    delete: Count
    peak_machines: Count
    machine_seconds: Seconds
    price: float
    restarts: Count = 0
    """Older releases did not record it."""


class ReportPart(RunPart, kw_only=True):
    """A finished run without its results."""

    verdict: Verdict
    started: str
    stopped: str | None
    waivers_file: str
    waivers: tuple[WaivedPart, ...]
    quarantined: tuple[QuarantinedPart, ...]
    notes: tuple[str, ...]
    bill: BillPart
    time: Time
    rpcs: Count
    home: HomePart
    weather: FaultStats | None
    took: dict[str, Seconds]
    held: dict[str, Seconds] = {}
    """Older releases did not record it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_time(self.started)

    def value(self, results: tuple[Result, ...]) -> Report:
        """Returns the report with these `results`. Raises Malformed."""
        return self.report(
            results=results,
            bill=self.bill.make(Bill),
            waivers=tuple(
                waived.make(Waived, waiver=waived.make(Waiver), state=waived.standing) for waived in self.waivers
            ),
            quarantined=tuple((one.machine, one.reason) for one in self.quarantined),
            home=self.home.value(),
        )


class WholePart(ReportPart, kw_only=True):
    """A report.json, or the only line of a log whose run never started."""

    behaviours: tuple[ResultPart, ...]


# The lines of a log.


class RunStarted(RunPart, kw_only=True, tag_field="event", tag="run-started"):
    """The first line."""

    at: str
    behaviours: tuple[EntryPart, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_time(self.at)


class BehaviourStarted(Part, tag_field="event", tag="behaviour-started"):
    """A behaviour has its machines."""

    id: str
    at: Seconds
    machines: tuple[str, ...]


class BehaviourFinished(ResultPart, tag_field="event", tag="behaviour-finished"):
    """A behaviour has ended; a later line replaces an earlier one (a breach that was seen outside the behaviours)."""

    at: Seconds
    bill: BillPart
    rpcs: Count


class Noted(Part, tag_field="event", tag="noted"):
    """A note for users."""

    at: Seconds
    text: str


class Progressed(Part, tag_field="event", tag="progressed"):
    """A lane's figures so far."""

    at: Seconds


class RunFinished(ReportPart, kw_only=True, tag_field="event", tag="run-finished"):
    """The last line."""


Event = BehaviourStarted | BehaviourFinished | Noted | Progressed
Line = RunStarted | Event | RunFinished
LINE: Any = Line
"""The union as an argument: mypy does not accept a union as a `type[T]`."""
