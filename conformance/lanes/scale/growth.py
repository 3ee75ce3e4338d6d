"""The growth of the time of a List or a delta with its number of machines: measured at several sizes, and fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from conformance.core.quantile_sketch import QuantileSketch
from conformance.core.value_types import Count, Seconds

MIN_ANSWERS: Final = 5
"""The minimum number of answers of about one size for a point of the fit."""
COST_PERCENTILE: Final = 25
"""The percentile that counts as the cost: other work slows down the slower answers."""
MIN_SIZES, MIN_RATIO = 3, 8.0
"""The minimum number of sizes, and the minimum ratio of the largest to the smallest, for a fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The growth of a kind of answer: seconds (lower quartile) at the smallest and the largest number of machines.

    `exponent` belongs to the best fitting power: 0 for no growth, 1 for linear growth; None if the range is too small
    for a fit. Then `why` has the reason.
    """

    what: str
    smallest: Count
    largest: Count
    at_smallest: Seconds
    at_largest: Seconds
    exponent: float | None
    why: str


class Sizes:
    """Collects durations by size, in steps of an eighth of a doubling."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._by: dict[int, QuantileSketch] = {}
        self._size: dict[int, int] = {}

    def add(self, size: int, seconds: float) -> None:
        """Adds an answer with `size` machines. An empty answer is ignored."""
        if size > 0:
            step = round(math.log2(size) * 8)
            self._size.setdefault(step, size)
            self._by.setdefault(step, QuantileSketch()).add(seconds)

    def growth(self) -> Growth | None:
        """Returns the growth; None if no size has enough answers."""
        points = [
            (self._size[s], d.percentile(COST_PERCENTILE))
            for s, d in sorted(self._by.items())
            if d.count >= MIN_ANSWERS
        ]
        if not points:
            return None
        (smallest, first), (largest, last) = points[0], points[-1]
        fits = len(points) >= MIN_SIZES and largest >= MIN_RATIO * smallest
        why = "" if fits else f"{smallest} to {largest} machines: the range is too small to measure growth"
        return Growth(
            what=self._what,
            smallest=smallest,
            largest=largest,
            at_smallest=round(first, 6),
            at_largest=round(last, 6),
            exponent=round(_slope(points), 2) if fits else None,
            why=why,
        )


def _slope(points: list[tuple[int, float]]) -> float:
    """Returns the slope of the least-squares line through the logarithms of both."""
    logs = [(math.log(size), math.log(max(seconds, 1e-6))) for size, seconds in points]
    mean_x = sum(x for x, _ in logs) / len(logs)
    mean_y = sum(y for _, y in logs) / len(logs)
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)
