"""A minimal lane, which lists the fleet a few times. It shows that a lane is one package and one line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from conformance.core.errors import UsageError
from conformance.core.json_reader import Malformed
from conformance.engine.report_builder import ReportBuilder
from conformance.engine.session import open_session
from conformance.lanes import catalogue_file
from conformance.lanes.protocol import LaneOption
from conformance.results import events
from conformance.results.bill import Meter
from conformance.results.lane_figures import Effect, FailedCheck, Section
from conformance.results.report import Home, Time
from conformance.results.result import BROKEN, Result, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.core.catalogue import Entry
    from conformance.lanes.protocol import Lane, LaneRun
    from conformance.results.report import Report
    from conformance.testkit.behaviour import Plan

MAX_LISTS = 5
"""The limit of the lane's check. A test exceeds it."""


@dataclass(frozen=True, kw_only=True)
class TinyProgress:
    at: float
    lists: int

    @property
    def line(self) -> str:
        return f"tiny       {self.lists} Lists"

    @property
    def table(self) -> Section:
        return Section(title="lists", columns=("call", "count"), rows=(("List", str(self.lists)),))

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class TinyFigures:
    machines: tuple[int, ...]

    lane: ClassVar[str] = "tiny"
    about: ClassVar[str] = "a few Lists"

    @property
    def headline(self) -> str:
        return "too many Lists" if self.failed_checks else ""

    @property
    def effect(self) -> Effect:
        return Effect.FAILED if self.failed_checks else Effect.NONE

    @property
    def sections(self) -> tuple[Section, ...]:
        rows = tuple((f"List {number}", str(machines)) for number, machines in enumerate(self.machines, 1))
        return (
            Section(title="tiny", lines=(f"{len(self.machines)} Lists",)),
            Section(title="lists", columns=("List", "machines"), rows=rows),
        )

    @property
    def failed_checks(self) -> tuple[FailedCheck, ...]:
        lists = len(self.machines)
        return (FailedCheck(kind="lists", name="most", message=f"{lists}, limit {MAX_LISTS}"),) * (lists > MAX_LISTS)

    @property
    def repeat_options(self) -> tuple[str, ...]:
        return ("--lists", str(len(self.machines)))

    def as_json(self) -> dict[str, Any]:
        return {"machines": list(self.machines)}


@dataclass(frozen=True, kw_only=True)
class TinySettings:
    lists: int


def _lists(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{text!r} is not a number of Lists", hint="write --lists 3")
    return int(text)


class TinyLane:
    name: Final = "tiny"
    help: Final = "lists the fleet a few times"
    options: Final = (LaneOption(name="lists", metavar="N", default="3", help="The number of Lists.", parse=_lists),)
    excluded: Final = frozenset({"select"})
    in_all: Final[Mapping[str, object]] = {}
    needs_plan: Final = False

    def entries(self) -> tuple[Entry, ...]:
        return catalogue_file.entries(__name__)

    def plan(self, settings: TinySettings) -> Plan:
        return ()

    def configure(self, values: Mapping[str, Any]) -> TinySettings:
        return TinySettings(lists=_lists(values["lists"]))

    async def run(self, settings: TinySettings, run: LaneRun) -> Report:
        async with open_session(run.target, options=run.options, stop=run.stop) as session:
            client = session.client
            async with session.ledger(run.ledger_at) as ledger:
                builder = ReportBuilder(session, ledger, Meter(), run.emit)
                builder.start(self.entries(), machines=0)
                builder.note("tiny lane: no machine is touched")
                machines, duplicates = [], 0
                for number in range(settings.lists):
                    shown = [machine.id for machine in (await client.list()).response.machines]
                    machines.append(len(shown))
                    duplicates += len(shown) - len(set(shown))
                    builder.emit(events.Progressed(progress=TinyProgress(at=client.now(), lists=number + 1)))
                entry = self.entries()[0]
                result = Result(entry=entry, status=BROKEN[entry.level] if duplicates else Status.PASSED)
                builder.add(result)
                wall = client.now()
                return builder.finish(
                    [result],
                    home=Home(),
                    time=Time(wall=wall, critical_path=wall, sum=wall),
                    figures=TinyFigures(machines=tuple(machines)),
                )

    def read_figures(self, value: object, place: str) -> TinyFigures:
        match value:
            case {"machines": [*machines]} if all(isinstance(count, int) for count in machines):
                return TinyFigures(machines=tuple(machines))
            case _:
                raise Malformed(f"{place} is not what the tiny lane writes")


LANE: Final[Lane[TinySettings]] = TinyLane()
