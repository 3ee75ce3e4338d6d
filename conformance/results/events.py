"""Immutable events of a run, consumed by the progress view and the NDJSON log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from conformance.results.bill import Bill
from conformance.results.kit_coverage import KitCoverage
from conformance.results.replay_options import ReplayOptions

if TYPE_CHECKING:
    from conformance.core.catalogue import Entry
    from conformance.results.lane_figures import LaneProgress
    from conformance.results.report import Report
    from conformance.results.result import Result
    from conformance.results.target_info import TargetInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The target was reached; names the behaviours that will be judged."""

    run: str
    target: str
    at: str
    seed: int
    found: TargetInfo
    behaviours: tuple[Entry, ...]
    machines: int
    """The maximum number of machines that will be alive at the same time."""
    ledger: str
    version: str = ""
    strict: bool = False
    lacking: tuple[str, ...] = ()
    whole: bool = True
    asked: ReplayOptions = field(default_factory=ReplayOptions)
    coverage: KitCoverage = field(default_factory=KitCoverage)


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourStarted:
    """A behaviour has its machines and starts."""

    id: str
    at: float
    machines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourFinished:
    """A behaviour ended, with the cost of the run until then.

    At the end of a run, a behaviour may have a second result, or one without being planned: a breach that was seen
    outside the behaviours.
    """

    result: Result
    at: float = 0.0
    bill: Bill = field(default_factory=Bill)
    rpcs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A note for users that is not a behaviour's result."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """The progress of a lane, about once a second."""

    progress: LaneProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The last event, with the whole report."""

    report: Report


Event: TypeAlias = RunStarted | BehaviourStarted | BehaviourFinished | Noted | Progressed | RunFinished
