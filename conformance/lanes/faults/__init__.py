"""The faults lane: makes transitions fail, and judges what the provider shows and does then (contract §9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from conformance.lanes.protocol import LaneOption

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from conformance.core.catalogue import Entry
    from conformance.lanes.faults.settings import FaultSettings
    from conformance.lanes.protocol import Lane, LaneRun
    from conformance.results.report import Report
    from conformance.testkit.behaviour import Plan


def _trigger(text: str) -> tuple[str, str]:
    from conformance.lanes.faults import triggers

    return triggers.parse(text)


def _duration(text: str) -> float:
    from conformance.core.timeouts import parse_duration

    return parse_duration(text)


class FaultsLane:
    """Runs its behaviours in the engine, on machines that end in FAILED."""

    name: Final = "faults"
    help: Final = "makes transitions fail, time out and succeed too late"
    options: Final = (
        LaneOption(
            name="fault-trigger",
            metavar="NAME=VALUE",
            multiple=True,
            help="The value with which the provider makes a transition fail: the cluster_id for error, timeout, "
            "slow-ok, readiness-block and drain-error, and the label of a slot, KEY=VALUE, for create-error, "
            "create-timeout and create-slow-ok. Without a VALUE, the provider has no such trigger. Repeatable. "
            "[default: those of the contract, such as error=fault-error]",
            parse=_trigger,
        ),
        LaneOption(
            name="fault-watch",
            metavar="D",
            help="How long to watch a FAILED machine for a success that comes too late, such as 30s. [default: one and "
            "a half times as long as its transition took, and at least 2s]",
            parse=_duration,
        ),
    )
    excluded: Final = frozenset({"examples", "fence-scope", "hold", "fault"})
    """The lane runs over a connection without injected faults: what it judges are failed transitions."""
    in_all: Final[Mapping[str, object]] = {}
    needs_plan: Final = False
    read_figures: None = None

    def entries(self) -> tuple[Entry, ...]:
        """Returns its entries, in the contract's order."""
        from conformance.lanes import catalogue_file

        return catalogue_file.entries(__name__)

    def plan(self, settings: FaultSettings) -> Plan:
        """Returns its behaviours."""
        from conformance.lanes.faults import plan

        return plan.of(settings)

    def configure(self, values: Mapping[str, Any]) -> FaultSettings:
        """Returns the triggers, and how long to watch."""
        from conformance.lanes.faults import triggers
        from conformance.lanes.faults.settings import FaultSettings

        watch = values["fault_watch"]
        return FaultSettings(
            triggers=triggers.parse_all(values["fault_trigger"]), watch=_duration(watch) if watch else None
        )

    def run(self, settings: FaultSettings, run: LaneRun) -> Coroutine[Any, Any, Report]:
        """Judges the target by the plan of the run."""
        return run.judge_plan(settings)


LANE: Final[Lane[FaultSettings]] = FaultsLane()
