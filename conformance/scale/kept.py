"""The figures of the scale lane, read back from a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.latency import Latencies
from conformance.scale.budget import KINDS, MEASURES, Budget, Held
from conformance.scale.figures import Fleet, Scale
from conformance.scale.growth import Growth

if TYPE_CHECKING:
    from conformance.fields import Fields

_COUNTS = (
    *("machines", "most_creates", "operations", "checks", "facts", "disagreements", "pushed_back", "disturbed"),
    *("memory", "memory_growth"),
)


def scale_of(kept: Fields | None) -> Scale | None:
    """The figures as they were; None where another lane ran. Raises Malformed."""
    if kept is None:
        return None
    fleet = kept.object("fleet")
    return Scale(
        soak=kept.text("soak"),
        seconds=kept.seconds("seconds"),
        fleet=Fleet(fewest=fleet.count("fewest"), most=fleet.count("most")),
        latencies=kept.mapping("latencies", _latencies),
        growth=tuple(map(_growth, kept.objects("growth"))),
        budgets=tuple(map(_held, kept.objects("budgets"))),
        **{name: kept.count(name) for name in _COUNTS},
    )


def _latencies(kept: Fields, kind: str) -> Latencies:
    if kind not in KINDS:
        raise kept.wrong(kind, "a kind of call")
    one = kept.object(kind)
    return Latencies(
        count=one.count("count"),
        p50=one.seconds("p50"),
        p90=one.seconds("p90"),
        p99=one.seconds("p99"),
        max=one.seconds("max"),
    )


def _growth(one: Fields) -> Growth:
    return Growth(
        what=one.text("what"),
        smallest=one.count("smallest"),
        largest=one.count("largest"),
        at_smallest=one.seconds("at_smallest"),
        at_largest=one.seconds("at_largest"),
        exponent=one.number_or_null("exponent"),
        why=one.text("why"),
    )


def _held(one: Fields) -> Held:
    budget = one.object("budget")
    return Held(
        budget=Budget(
            kind=budget.named("kind", {kind: kind for kind in KINDS}.__getitem__, "a kind of call"),
            measure=budget.named("measure", {measure: measure for measure in MEASURES}.__getitem__, "a measure"),
            seconds=budget.seconds("seconds"),
        ),
        seconds=one.number_or_null("seconds"),
    )
