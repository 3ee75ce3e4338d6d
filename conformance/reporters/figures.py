"""What the scale lane measured, in lines for people: once it is over, and while it runs. Pure text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.scale.figures import Progress, Scale
    from conformance.scale.growth import Growth

MIB = 2**20
GROWS = 0.1
"""What grows by a smaller power than this may as well be noise."""


def lines(scale: Scale) -> list[str]:
    """Budgets that do not hold, what was done, latencies, growth, memory."""
    rate = scale.operations / scale.seconds if scale.seconds else 0.0
    fleet = f"{scale.fleet.fewest:,}" + (f" to {scale.fleet.most:,}" if scale.fleet.most > scale.fleet.fewest else "")
    told = [*budgets(scale)]
    told.append(
        f"scale      {scale.machines} machines at once for {scale.soak}, {scale.operations:,} transitions"
        f" ({rate:.1f}/s), a fleet of {fleet}"
    )
    told.append(
        f"oracle     {scale.facts:,} facts, {scale.disagreements:,} disagreements, all at rest {scale.checks} times,"
        f" {scale.pushed_back} calls put off, {scale.disturbed} machines left to somebody else"
    )
    wide = max((len(kind) for kind in scale.latencies), default=0)
    for kind, took in scale.latencies.items():
        told.append(
            f"latency    {kind:{wide}} {took.count:>7,} calls, p50 {duration(took.p50)}, p90 {duration(took.p90)},"
            f" p99 {duration(took.p99)}, max {duration(took.max)}"
        )
    told += [f"growth     {growth(each)}" for each in scale.growth]
    told.append(
        f"memory     at most {scale.memory / MIB:.0f} MiB, {scale.memory_growth / MIB:.1f} MiB more at the end than"
        " half-way through"
    )
    return told


def budgets(scale: Scale) -> list[str]:
    """A line for each budget that is exceeded, or of which nothing can be said."""
    over = [
        f"OVER       budget {held.budget.name}: {duration(held.seconds or 0.0)}, and {duration(held.budget.seconds)}"
        " was promised"
        for held in scale.over
    ]
    unmeasured = [
        f"UNMEASURED budget {held.budget.name}: no such call was answered in this run" for held in scale.unmeasured
    ]
    kept = len(scale.budgets) - len(over) - len(unmeasured)
    return [*over, *unmeasured, *([f"budget     {kept} of {len(scale.budgets)} hold"] if scale.budgets else [])]


def growth(grown: Growth) -> str:
    """How a kind of answer grew, in a few words."""
    if grown.exponent is None:
        return f"{grown.what}: {grown.why}"
    how = f"as the power {grown.exponent:.2f} of their number" if grown.exponent >= GROWS else "no growth to be seen"
    return (
        f"{grown.what}: {duration(grown.at_smallest)} for {grown.smallest}, {duration(grown.at_largest)} for"
        f" {grown.largest}, {how}"
    )


def line(progress: Progress) -> str:
    """How the churn goes, in one line."""
    slowest = max(progress.p99, key=lambda kind: progress.p99[kind], default="")
    p99 = f", slowest p99 {slowest} {duration(progress.p99[slowest])}" if slowest else ""
    return (
        f"churn      {progress.share:4.0%} · {progress.operations:,} transitions · {progress.creates:,} creates ·"
        f" {progress.machines} machines up · {progress.disagreements:,} disagreements ·"
        f" {sum(progress.rates.values()):,.0f} RPCs/s{p99}"
    )


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    return f"{seconds * 1e3:,.3g} ms" if seconds < 0.9995 else f"{seconds:,.2f} s"
