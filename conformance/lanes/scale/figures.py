"""The figures of the scale lane: a frozen value for the report, and its text."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from conformance.core.latency import Latencies
from conformance.core.text import quantity
from conformance.core.value_types import Count, Seconds
from conformance.lanes.scale.budget import BudgetResult, Kind
from conformance.lanes.scale.growth import Growth
from conformance.results.lane_figures import Effect, FailedCheck, Section

if TYPE_CHECKING:
    from collections.abc import Mapping


MIB: Final = 2**20
MIN_EXPONENT: Final = 0.1
"""A smaller exponent may be noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnProgress:
    """The progress of a churn. `rates` are answered calls per second, `p99` seconds, both by the kind of call."""

    at: float
    share: float
    operations: int
    creates: int
    machines: int
    checks: int
    facts: int
    disagreements: int
    phase: str = "churn"
    """The phase of the run: `churn`, or `crowd` after the soak."""
    rates: Mapping[str, float] = field(default_factory=dict)
    p99: Mapping[str, float] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The progress in one line."""
        return _progress_line(self)

    @property
    def table(self) -> Section:
        """Each kind of call with its rate and p99."""
        return _progress_table(self)

    def as_json(self) -> dict[str, Any]:
        """Returns the progress as JSON's own types."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The smallest and the largest number of machines in a whole List. Other clients' machines appear and disappear."""

    fewest: Count = 0
    most: Count = 0


# More than 15 attributes: one for each key of the lane's object in report.json.
@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleFigures:
    """The figures of one run. Times in seconds, memory in bytes. The fields are the keys in report.json."""

    soak: str
    """The requested length: `60s`, `3000ops`."""
    machines: Count
    """The maximum number of machines that were driven at once."""
    most_creates: Count
    """The maximum number of creates."""
    seconds: Seconds
    """The duration of the churn, from its first machine to its last check."""
    operations: Count
    """Transitions that were followed to their end."""
    checks: Count
    """The number of times that all machines were at rest and compared."""
    facts: Count
    """The number of comparisons of an answer with an expected value."""
    disagreements: Count
    pushed_back: Count
    """Calls that the provider deferred, with UNAVAILABLE or RESOURCE_EXHAUSTED."""
    disturbed: Count
    """Machines that another client took."""
    fleet: Fleet
    latencies: dict[Kind, Latencies]
    growth: tuple[Growth, ...]
    budgets: tuple[BudgetResult, ...]
    memory: Count
    """The peak memory of the kit's process."""
    memory_growth: Count
    """The growth of its memory from the middle of the churn to the last check."""

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
        """`over budget` if a budget is exceeded, else empty."""
        return "over budget" if self.over else ""

    @property
    def effect(self) -> Effect:
        """An exceeded budget fails the run, and one that could not be checked leaves it inconclusive."""
        if self.over:
            return Effect.FAILED
        return Effect.INCONCLUSIVE if self.unmeasured else Effect.NONE

    @property
    def sections(self) -> tuple[Section, ...]:
        """Budgets, size, model, latencies, growth and memory."""
        return _sections(self)

    @property
    def failed_checks(self) -> tuple[FailedCheck, ...]:
        """The exceeded budgets."""
        return _failed_checks(self)

    @property
    def repeat_options(self) -> tuple[str, ...]:
        """The options for the same soak and size."""
        size = ("--max-machines", str(self.machines), "--max-creates", str(self.most_creates))
        return ("--soak", self.soak, *size)

    def as_json(self) -> dict[str, Any]:
        """Returns the figures as JSON's own types."""
        return dataclasses.asdict(self)


def _sections(figures: ScaleFigures) -> tuple[Section, ...]:
    """Returns the budgets, size, model, latencies, growth and memory."""
    wide = max((len(kind) for kind in figures.latencies), default=0)
    latencies = (
        f"{kind:{wide}} {latency.count:>7,} calls, p50 {_duration(latency.p50)}, p90 {_duration(latency.p90)},"
        f" p99 {_duration(latency.p99)}, max {_duration(latency.max)}"
        for kind, latency in figures.latencies.items()
    )
    memory = f"peak {figures.memory / MIB:.0f} MiB, growth {figures.memory_growth / MIB:.1f} MiB in the second half"
    found = (
        *_budgets(figures),
        Section(title="scale", lines=(_size(figures),)),
        Section(title="model", lines=(_facts(figures),)),
        Section(title="latency", lines=tuple(latencies)),
        Section(title="growth", lines=tuple(map(_growth, figures.growth))),
        Section(title="memory", lines=(memory,)),
    )
    return tuple(section for section in found if section.lines)


def _size(figures: ScaleFigures) -> str:
    rate = figures.operations / figures.seconds if figures.seconds else 0.0
    fleet = f"{figures.fleet.fewest:,}"
    if figures.fleet.most > figures.fleet.fewest:
        fleet += f" to {figures.fleet.most:,}"
    return (
        f"{quantity(figures.machines, 'machine')} at once for {figures.soak},"
        f" {quantity(figures.operations, 'transition')} ({rate:.1f}/s), a fleet of {fleet}"
    )


def _facts(figures: ScaleFigures) -> str:
    return (
        f"{quantity(figures.facts, 'fact')}, {quantity(figures.disagreements, 'disagreement')},"
        f" {quantity(figures.checks, 'check')} of all machines at rest,"
        f" {quantity(figures.pushed_back, 'deferred call')},"
        f" {quantity(figures.disturbed, 'machine')} left to another client"
    )


def _budgets(figures: ScaleFigures) -> tuple[Section, ...]:
    """Returns the exceeded budgets, the unmeasured ones, and the number of kept ones."""
    over = tuple(
        f"budget {each.budget.name}: {_duration(each.seconds or 0.0)}, limit {_duration(each.budget.seconds)}"
        for each in figures.over
    )
    unmeasured = tuple(
        f"budget {each.budget.name}: no such call was answered in this run" for each in figures.unmeasured
    )
    kept = len(figures.budgets) - len(over) - len(unmeasured)
    found = (
        Section(title="OVER", lines=over),
        Section(title="UNMEASURED", lines=unmeasured),
        Section(title="budget", lines=(f"{kept} of {len(figures.budgets)} kept",) if figures.budgets else ()),
    )
    return tuple(section for section in found if section.lines)


def _failed_checks(figures: ScaleFigures) -> tuple[FailedCheck, ...]:
    """Returns the exceeded budgets."""
    return tuple(
        FailedCheck(
            kind="budget",
            name=each.budget.name,
            message=f"{each.seconds or 0.0:.3f} s, limit {each.budget.seconds:g} s",
        )
        for each in figures.over
    )


def _growth(grown: Growth) -> str:
    """Returns the growth of a kind of answer, in words."""
    if grown.exponent is None:
        return f"{grown.what}: {grown.why}"
    how = "no visible growth"
    if grown.exponent >= MIN_EXPONENT:
        how = f"proportional to their number to the power of {grown.exponent:.2f}"
    return (
        f"{grown.what}: {_duration(grown.at_smallest)} for {grown.smallest}, {_duration(grown.at_largest)} for"
        f" {grown.largest}, {how}"
    )


def _progress_line(progress: ChurnProgress) -> str:
    """Returns the progress of a churn in one line."""
    slowest = max(progress.p99, key=lambda kind: progress.p99[kind], default="")
    p99 = f", slowest p99 {slowest} {_duration(progress.p99[slowest])}" if slowest else ""
    return (
        f"{progress.phase:10} {progress.share:4.0%} · {quantity(progress.operations, 'transition')} ·"
        f" {quantity(progress.creates, 'create')} · {quantity(progress.machines, 'live machine')} ·"
        f" {quantity(progress.disagreements, 'disagreement')} ·"
        f" {sum(progress.rates.values()):,.0f} RPCs/s{p99}"
    )


def _progress_table(progress: ChurnProgress) -> Section:
    """Returns each kind of call with its rate and p99."""
    return Section(
        title="calls",
        columns=("call", "per second", "p99"),
        rows=tuple(
            (kind, f"{rate:,.1f}", _duration(progress.p99.get(kind, 0.0))) for kind, rate in progress.rates.items()
        ),
    )


def _duration(seconds: float) -> str:
    """Formats seconds: `8.11 ms`, `2.50 s`."""
    return f"{seconds * 1e3:,.3g} ms" if seconds < 0.9995 else f"{seconds:,.2f} s"
