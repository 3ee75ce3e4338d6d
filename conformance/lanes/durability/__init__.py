"""The durability lane: kills the provider and starts it again, and compares with what it had acknowledged (§10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from conformance.core.catalogue import Entry
    from conformance.lanes.protocol import Lane, LaneOption, LaneRun
    from conformance.results.report import Report
    from conformance.testkit.behaviour import Plan


class DurabilityLane:
    """Runs its behaviours in the engine, one at a time. Has no options and no figures of its own."""

    name: Final = "durability"
    help: Final = "kills the provider, starts it again and compares"
    options: tuple[LaneOption, ...] = ()
    excluded: Final = frozenset({"examples", "fence-scope", "hold", "fault", "jobs"})
    """The lane cuts connections itself, and runs one behaviour at a time."""
    in_all: Final[Mapping[str, object]] = {}
    needs_plan: Final = False
    read_figures: None = None

    def entries(self) -> tuple[Entry, ...]:
        """Returns its entries, in the contract's order."""
        from conformance.lanes import catalogue_file

        return catalogue_file.entries(__name__)

    def plan(self, settings: None) -> Plan:
        """Returns its behaviours."""
        from conformance.lanes.durability import plan

        return plan.whole()

    def configure(self, values: Mapping[str, Any]) -> None:
        """Returns None: the lane has no settings."""

    def run(self, settings: None, run: LaneRun) -> Coroutine[Any, Any, Report]:
        """Judges the target by the plan of the run."""
        return run.judge_plan()


LANE: Final[Lane[None]] = DurabilityLane()
