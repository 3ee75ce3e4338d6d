"""What the scale lane measured: a part of the report, as a frozen value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from conformance.core.latency import Latencies
from conformance.core.value_types import Count, Seconds
from conformance.lanes.scale import text
from conformance.lanes.scale.budget import BudgetResult, Kind
from conformance.lanes.scale.growth import Growth
from conformance.results.lane_figures import Effect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.results.lane_figures import FailedCheck, Section


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnProgress:
    """How far the churn is. `rates` are answered calls per second, `p99` seconds, both by the kind of call."""

    at: float
    share: float
    operations: int
    creates: int
    machines: int
    checks: int
    facts: int
    disagreements: int
    rates: Mapping[str, float] = field(default_factory=dict)
    p99: Mapping[str, float] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The progress in one line."""
        return text.progress_line(self)

    @property
    def table(self) -> Section:
        """Each kind of call with its rate and p99."""
        return text.progress_table(self)

    def as_json(self) -> dict[str, Any]:
        """Returns the progress as JSON's own types."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The numbers of machines that whole Lists contained. Other clients' machines come and go."""

    fewest: Count = 0
    most: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleFigures:
    """The figures of one run. Times in seconds, memory in bytes. The fields are the keys in report.json."""

    soak: str
    """The requested length: `60s`, `3000ops`."""
    machines: Count
    """The most machines that were driven at once."""
    most_creates: Count
    """The limit on creates."""
    seconds: Seconds
    """How long the churn took, from its first machine to its last check."""
    operations: Count
    """Transitions that were seen to their end."""
    checks: Count
    """How often all machines were at rest and compared."""
    facts: Count
    """How often an answer was compared with what it should show."""
    disagreements: Count
    pushed_back: Count
    """Calls that the provider put off, with UNAVAILABLE or RESOURCE_EXHAUSTED."""
    disturbed: Count
    """Machines that another client took."""
    fleet: Fleet
    latencies: dict[Kind, Latencies]
    growth: tuple[Growth, ...]
    budgets: tuple[BudgetResult, ...]
    memory: Count
    """The most memory that the kit's process has ever used."""
    memory_growth: Count
    """How much more it used at the last check than half-way through."""

    lane: ClassVar[str] = "scale"
    about: ClassVar[str] = "many machines at once"

    @property
    def over(self) -> tuple[BudgetResult, ...]:
        """The exceeded budgets."""
        return tuple(result for result in self.budgets if result.over)

    @property
    def unmeasured(self) -> tuple[BudgetResult, ...]:
        """The budgets that could not be checked: no call of their kind was answered."""
        return tuple(result for result in self.budgets if result.seconds is None)

    @property
    def headline(self) -> str:
        """Whether a budget is exceeded."""
        return "over budget" if self.over else ""

    @property
    def effect(self) -> Effect:
        """An exceeded budget fails the run, and one that could not be checked leaves it inconclusive."""
        if self.over:
            return Effect.FAILED
        return Effect.INCONCLUSIVE if self.unmeasured else Effect.NONE

    @property
    def sections(self) -> tuple[Section, ...]:
        """Budgets, what was done, latencies, growth and memory."""
        return text.sections(self)

    @property
    def failed_checks(self) -> tuple[FailedCheck, ...]:
        """The exceeded budgets."""
        return text.failed_checks(self)

    @property
    def repeat_options(self) -> tuple[str, ...]:
        """The soak and the size of the churn."""
        size = ("--max-machines", str(self.machines), "--max-creates", str(self.most_creates))
        return ("--soak", self.soak, *size)

    def as_json(self) -> dict[str, Any]:
        """Returns the figures as JSON's own types."""
        return dataclasses.asdict(self)
