"""What happens during a run, as it happens. Few, frozen and dumb; the progress and the log read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from conformance.asked import Asked
from conformance.bill import Bill

if TYPE_CHECKING:
    from conformance.catalogue import Entry
    from conformance.found import Found
    from conformance.report import Report
    from conformance.result import Result
    from conformance.scale.figures import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The target was found, and this is what will be judged there."""

    run: str
    target: str
    at: str
    seed: int
    found: Found
    behaviours: tuple[Entry, ...]
    machines: int
    """Most that will be alive at once."""
    ledger: str
    version: str = ""
    strict: bool = False
    lacking: tuple[str, ...] = ()
    whole: bool = True
    asked: Asked = field(default_factory=Asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourStarted:
    """A behaviour has its machines and begins."""

    id: str
    at: float
    machines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourFinished:
    """A behaviour ended, so or so; and what the run has cost by then."""

    result: Result
    at: float = 0.0
    bill: Bill = field(default_factory=Bill)
    rpcs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something that people should know, and that is no behaviour's result."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """How far the churn of the scale lane is, once a second."""

    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The last event: the whole report."""

    report: Report


Event: TypeAlias = RunStarted | BehaviourStarted | BehaviourFinished | Noted | Progressed | RunFinished
