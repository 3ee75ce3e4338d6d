"""The conformance lane: judges each behaviour of the suite by itself, on its own machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from conformance.core.catalogue import Entry
    from conformance.lanes.protocol import Lane, LaneOption, LaneRun
    from conformance.results.report import Report
    from conformance.testkit.behaviour import Plan


class SuiteLane:
    """Runs the collected behaviours in the engine. Has no options and no figures of its own."""

    name: Final = "conformance"
    help: Final = "judges each behaviour by itself"
    options: tuple[LaneOption, ...] = ()
    excluded: frozenset[str] = frozenset()
    in_all: Final = {"max_machines": 6}
    """Fewer machines at once take a little longer and need a third fewer creates."""
    needs_plan: Final = True
    read_figures: None = None

    def entries(self) -> tuple[Entry, ...]:
        """Returns the kit's catalogue."""
        from conformance.core import catalogue

        return catalogue.load().entries

    def plan(self, settings: None) -> Plan:
        """Returns all behaviours of the suite."""
        import conformance.suite as suite
        from conformance.core import catalogue
        from conformance.testkit import plans

        return plans.plan(catalogue.load(), plans.functions(suite))

    def configure(self, values: Mapping[str, Any]) -> None:
        """Returns None: the lane has no settings."""

    def run(self, settings: None, run: LaneRun) -> Coroutine[Any, Any, Report]:
        """Judges the target by the plan of the run."""
        return run.judge_plan()


LANE: Final[Lane[None]] = SuiteLane()
