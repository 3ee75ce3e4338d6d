"""The rollout lane: stops the provider in an orderly way, starts it or a newer version, and compares (§13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from conformance.lanes.protocol import LaneOption

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from conformance.core.catalogue import Entry
    from conformance.lanes.protocol import Lane, LaneRun
    from conformance.lanes.rollout.settings import RolloutSettings
    from conformance.results.report import Report
    from conformance.testkit.behaviour import Plan


def _duration(text: str) -> float:
    from conformance.core.timeouts import parse_duration

    return parse_duration(text)


class RolloutLane:
    """Runs its behaviours in the engine, one at a time."""

    name: Final = "rollout"
    help: Final = "stops the provider or its replicas under load, and starts them again or a newer version"
    options: Final = (
        LaneOption(
            name="failover-within",
            metavar="D",
            help="The longest time for which the address may not serve after the serving replica was killed, such as "
            "60s (ROL-5). [default: it is measured only]",
            parse=_duration,
        ),
    )
    excluded: Final = frozenset({"examples", "fence-scope", "hold", "fault", "jobs"})
    """The connections end with the provider, and one behaviour runs at a time."""
    needs_plan: Final = False
    in_all: Final[Mapping[str, object]] = {}
    read_figures: None = None

    def entries(self) -> tuple[Entry, ...]:
        """Returns its entries, in the contract's order."""
        from conformance.lanes import catalogue_file

        return catalogue_file.entries(__name__)

    def plan(self, settings: RolloutSettings) -> Plan:
        """Returns its behaviours."""
        from conformance.lanes.rollout import plan

        return plan.whole()

    def configure(self, values: Mapping[str, Any]) -> RolloutSettings:
        """Returns the limit of a failover."""
        from conformance.lanes.rollout.settings import RolloutSettings

        within = values["failover_within"]
        return RolloutSettings(failover_within=_duration(within) if within else None)

    def run(self, settings: RolloutSettings, run: LaneRun) -> Coroutine[Any, Any, Report]:
        """Judges the target by the plan of the run."""
        return run.judge_plan(settings)


LANE: Final[Lane[RolloutSettings]] = RolloutLane()
