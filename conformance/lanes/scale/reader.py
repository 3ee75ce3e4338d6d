"""Reads the figures of the scale lane back from a record."""

from __future__ import annotations

from conformance.fields import Fields
from conformance.lanes.scale.budget import KINDS, MEASURES, Budget, BudgetResult
from conformance.lanes.scale.figures import Fleet, ScaleFigures
from conformance.lanes.scale.growth import Growth
from conformance.latency import Latencies

_COUNTS = (
    *("machines", "most_creates", "operations", "checks", "facts", "disagreements", "pushed_back", "disturbed"),
    *("memory", "memory_growth"),
)


def read(value: object, place: str) -> ScaleFigures:
    """Returns the figures in a JSON value, which stands at `place`. Raises Malformed."""
    kept = Fields(value, place)
    fleet = kept.object("fleet")
    return ScaleFigures(
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


def _held(one: Fields) -> BudgetResult:
    budget = one.object("budget")
    return BudgetResult(
        budget=Budget(
            kind=budget.named("kind", {kind: kind for kind in KINDS}.__getitem__, "a kind of call"),
            measure=budget.named("measure", {measure: measure for measure in MEASURES}.__getitem__, "a measure"),
            seconds=budget.seconds("seconds"),
        ),
        seconds=one.number_or_null("seconds"),
    )
