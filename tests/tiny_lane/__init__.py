"""A lane as small as it can be: it lists the fleet a few times. It shows that a lane is one package and one line."""

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

MOST = 5
"""More looks than this exceed the promise that a test breaks on purpose."""


@dataclass(frozen=True, kw_only=True)
class TinyProgress:
    at: float
    looks: int

    @property
    def line(self) -> str:
        return f"tiny       {self.looks} looks"

    @property
    def table(self) -> Section:
        return Section(title="looks", columns=("what", "count"), rows=(("looks", str(self.looks)),))

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class TinyFigures:
    machines: tuple[int, ...]

    lane: ClassVar[str] = "tiny"
    about: ClassVar[str] = "a few looks"

    @property
    def headline(self) -> str:
        return "too many looks" if self.failed_checks else ""

    @property
    def effect(self) -> Effect:
        return Effect.FAILED if self.failed_checks else Effect.NONE

    @property
    def sections(self) -> tuple[Section, ...]:
        rows = tuple((f"look {number}", str(machines)) for number, machines in enumerate(self.machines, 1))
        return (
            Section(title="tiny", lines=(f"{len(self.machines)} looks",)),
            Section(title="looks", columns=("look", "machines"), rows=rows),
        )

    @property
    def failed_checks(self) -> tuple[FailedCheck, ...]:
        looks = len(self.machines)
        return (FailedCheck(kind="looks", name="most", message=f"{looks} and {MOST} were promised"),) * (looks > MOST)

    @property
    def repeat_options(self) -> tuple[str, ...]:
        return ("--looks", str(len(self.machines)))

    def as_json(self) -> dict[str, Any]:
        return {"machines": list(self.machines)}


@dataclass(frozen=True, kw_only=True)
class TinySettings:
    looks: int


def _looks(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{text!r} is not a number of looks", hint="write --looks 3")
    return int(text)


class TinyLane:
    name: Final = "tiny"
    help: Final = "a few looks at the fleet"
    options: Final = (LaneOption(name="looks", metavar="N", default="3", help="The number of looks.", parse=_looks),)
    excluded: Final = frozenset({"select"})
    needs_plan: Final = False

    def entries(self) -> tuple[Entry, ...]:
        return catalogue_file.entries(__name__)

    def configure(self, values: Mapping[str, Any]) -> TinySettings:
        return TinySettings(looks=_looks(values["looks"]))

    async def run(self, settings: TinySettings, run: LaneRun) -> Report:
        async with open_session(run.target, options=run.options, stop=run.stop) as opening:
            client = opening.client
            async with opening.ledger(run.ledger_at) as ledger:
                says = ReportBuilder(opening, ledger, Meter(), run.emit)
                says.start(self.entries(), machines=0)
                says.note("tiny lane: nothing is touched")
                machines, twice = [], 0
                for number in range(settings.looks):
                    shown = [machine.id for machine in (await client.list()).response.machines]
                    machines.append(len(shown))
                    twice += len(shown) - len(set(shown))
                    says.emit(events.Progressed(progress=TinyProgress(at=client.now(), looks=number + 1)))
                entry = self.entries()[0]
                result = Result(entry=entry, status=BROKEN[entry.level] if twice else Status.PASSED)
                says.add(result)
                wall = client.now()
                return says.finish(
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
