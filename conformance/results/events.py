"""Immutable events of a run, consumed by the progress view and the NDJSON log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from conformance.results.bill import Bill
from conformance.results.replay_options import ReplayOptions

if TYPE_CHECKING:
    from conformance.core.catalogue import Entry
    from conformance.results.lane_figures import LaneProgress
    from conformance.results.report import Report
    from conformance.results.result import Result
    from conformance.results.target_info import TargetInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The target was reached, and this is what will be judged there."""

    run: str
    target: str
    at: str
    seed: int
    found: TargetInfo
    behaviours: tuple[Entry, ...]
    machines: int
    """The most machines that will be alive at once."""
    ledger: str
    version: str = ""
    strict: bool = False
    lacking: tuple[str, ...] = ()
    whole: bool = True
    asked: ReplayOptions = field(default_factory=ReplayOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourStarted:
    """A behaviour has its machines and begins."""

    id: str
    at: float
    machines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourFinished:
    """A behaviour ended. Also holds what the run has cost until then."""

    result: Result
    at: float = 0.0
    bill: Bill = field(default_factory=Bill)
    rpcs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A remark for people that is not a behaviour's result."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """How far the run of a lane is, about once a second."""

    progress: LaneProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The last event: the whole report."""

    report: Report


Event: TypeAlias = RunStarted | BehaviourStarted | BehaviourFinished | Noted | Progressed | RunFinished
