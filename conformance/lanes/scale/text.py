"""The figures and the progress of the scale lane in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.results.lane_figures import FailedCheck, Section

if TYPE_CHECKING:
    from conformance.lanes.scale.figures import ChurnProgress, ScaleFigures
    from conformance.lanes.scale.growth import Growth

MIB: Final = 2**20
LEAST_EXPONENT: Final = 0.1
"""Growth by a smaller power than this may be noise."""


def sections(figures: ScaleFigures) -> tuple[Section, ...]:
    """Returns the budgets, and then what was done, latencies, growth and memory."""
    wide = max((len(kind) for kind in figures.latencies), default=0)
    latencies = (
        f"{kind:{wide}} {took.count:>7,} calls, p50 {duration(took.p50)}, p90 {duration(took.p90)},"
        f" p99 {duration(took.p99)}, max {duration(took.max)}"
        for kind, took in figures.latencies.items()
    )
    memory = (
        f"at most {figures.memory / MIB:.0f} MiB, {figures.memory_growth / MIB:.1f} MiB more at the end than half-way"
        " through"
    )
    found = (
        *budgets(figures),
        Section(title="scale", lines=(_size(figures),)),
        Section(title="oracle", lines=(_oracle(figures),)),
        Section(title="latency", lines=tuple(latencies)),
        Section(title="growth", lines=tuple(map(growth, figures.growth))),
        Section(title="memory", lines=(memory,)),
    )
    return tuple(section for section in found if section.lines)


def _size(figures: ScaleFigures) -> str:
    rate = figures.operations / figures.seconds if figures.seconds else 0.0
    fleet = f"{figures.fleet.fewest:,}"
    if figures.fleet.most > figures.fleet.fewest:
        fleet += f" to {figures.fleet.most:,}"
    return (
        f"{figures.machines} machines at once for {figures.soak}, {figures.operations:,} transitions ({rate:.1f}/s),"
        f" a fleet of {fleet}"
    )


def _oracle(figures: ScaleFigures) -> str:
    return (
        f"{figures.facts:,} facts, {figures.disagreements:,} disagreements, all at rest {figures.checks} times,"
        f" {figures.pushed_back} calls put off, {figures.disturbed} machines left to another client"
    )


def budgets(figures: ScaleFigures) -> tuple[Section, ...]:
    """Returns the exceeded budgets, those that could not be checked, and how many hold."""
    over = tuple(
        f"budget {each.budget.name}: {duration(each.seconds or 0.0)}, and {duration(each.budget.seconds)} was promised"
        for each in figures.over
    )
    unmeasured = tuple(
        f"budget {each.budget.name}: no such call was answered in this run" for each in figures.unmeasured
    )
    held = len(figures.budgets) - len(over) - len(unmeasured)
    found = (
        Section(title="OVER", lines=over),
        Section(title="UNMEASURED", lines=unmeasured),
        Section(title="budget", lines=(f"{held} of {len(figures.budgets)} hold",) if figures.budgets else ()),
    )
    return tuple(section for section in found if section.lines)


def failed_checks(figures: ScaleFigures) -> tuple[FailedCheck, ...]:
    """Returns the exceeded budgets."""
    return tuple(
        FailedCheck(
            kind="budget",
            name=each.budget.name,
            message=f"{each.seconds or 0.0:.3f} s, and {each.budget.seconds:g} s was promised",
        )
        for each in figures.over
    )


def growth(grown: Growth) -> str:
    """Returns how a kind of answer grew, in a few words."""
    if grown.exponent is None:
        return f"{grown.what}: {grown.why}"
    how = "no visible growth"
    if grown.exponent >= LEAST_EXPONENT:
        how = f"as the power {grown.exponent:.2f} of their number"
    return (
        f"{grown.what}: {duration(grown.at_smallest)} for {grown.smallest}, {duration(grown.at_largest)} for"
        f" {grown.largest}, {how}"
    )


def progress_line(progress: ChurnProgress) -> str:
    """Returns the progress of a churn in one line."""
    slowest = max(progress.p99, key=lambda kind: progress.p99[kind], default="")
    p99 = f", slowest p99 {slowest} {duration(progress.p99[slowest])}" if slowest else ""
    return (
        f"churn      {progress.share:4.0%} · {progress.operations:,} transitions · {progress.creates:,} creates ·"
        f" {progress.machines} machines up · {progress.disagreements:,} disagreements ·"
        f" {sum(progress.rates.values()):,.0f} RPCs/s{p99}"
    )


def progress_table(progress: ChurnProgress) -> Section:
    """Returns each kind of call with its rate and p99."""
    return Section(
        title="calls",
        columns=("call", "per second", "p99"),
        rows=tuple(
            (kind, f"{rate:,.1f}", duration(progress.p99.get(kind, 0.0))) for kind, rate in progress.rates.items()
        ),
    )


def duration(seconds: float) -> str:
    """Returns seconds for people: `8.11 ms`, `2.50 s`."""
    return f"{seconds * 1e3:,.3g} ms" if seconds < 0.9995 else f"{seconds:,.2f} s"
