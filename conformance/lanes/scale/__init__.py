"""The scale lane: drives many machines at once, and compares every answer with a model of the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from conformance.lanes.protocol import LaneOption

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from conformance.core.catalogue import Entry
    from conformance.lanes.protocol import Lane, LaneRun
    from conformance.lanes.scale.budget import Budget
    from conformance.lanes.scale.run import ScaleSettings
    from conformance.lanes.scale.soak import Soak
    from conformance.results.lane_figures import LaneFigures
    from conformance.results.report import Report
    from conformance.testkit.behaviour import Plan


def _soak(text: str) -> Soak:
    from conformance.lanes.scale import soak

    return soak.parse(text)


def _budget(text: str) -> Budget:
    from conformance.lanes.scale import budget

    return budget.parse(text)


class ScaleLane:
    """Judges all its behaviours in one churn."""

    name: Final = "scale"
    help: Final = "drives many machines at once and compares every answer with a model of the fleet"
    options: Final = (
        LaneOption(
            name="soak",
            metavar="D",
            default="1m",
            help="The length of the churn: a duration (5m), or a number of transitions (3000ops). With --lane all, the "
            "default is 16ops.",
            parse=_soak,
        ),
        LaneOption(
            name="budget",
            metavar="B",
            multiple=True,
            help="A latency budget, for example list.p99=500ms. If it is exceeded, the exit code is 1. Repeatable.",
            parse=_budget,
        ),
    )
    excluded: Final = frozenset({"select", "exclude", "jobs", "examples", "fence-scope", "hold", "fault"})
    """The lane judges all its behaviours at once, over a connection without injected faults."""
    in_all: Final = {"soak": "16ops"}
    needs_plan: Final = False

    def entries(self) -> tuple[Entry, ...]:
        """Returns its entries, in the contract's order."""
        from conformance.lanes import catalogue_file

        return catalogue_file.entries(__name__)

    def plan(self, settings: ScaleSettings) -> Plan:
        """Returns no behaviour: all are judged at once."""
        return ()

    def configure(self, values: Mapping[str, Any]) -> ScaleSettings:
        """Returns the soak and the budgets."""
        from conformance.lanes.scale import budget
        from conformance.lanes.scale.run import ScaleSettings

        return ScaleSettings(soak=_soak(values["soak"]), budgets=budget.parse_all(values["budget"]))

    def run(self, settings: ScaleSettings, run: LaneRun) -> Coroutine[Any, Any, Report]:
        """Runs one churn."""
        from conformance.lanes.scale import run as scale_run

        return scale_run.run(
            settings, run.target, options=run.options, ledger_at=run.ledger_at, emit=run.emit, stop=run.stop
        )

    def read_figures(self, value: object, place: str) -> LaneFigures:
        """Returns the figures in a record."""
        from conformance.lanes.scale import reader

        return reader.read(value, place)


LANE: Final[Lane[ScaleSettings]] = ScaleLane()
