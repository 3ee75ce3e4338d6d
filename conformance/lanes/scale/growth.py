"""How the time of a List or a delta grows with the number of machines in it: measured at several sizes, and fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from conformance.core.quantile_sketch import QuantileSketch
from conformance.core.value_types import Count, Seconds

ENOUGH: Final = 5
"""The number of answers of about one size from which its cost is known."""
QUICK: Final = 25
"""The percentile that counts as the cost: slower answers were slowed down by other work."""
SIZES, RANGE = 3, 8.0
"""The number of sizes, and the ratio of largest to smallest, that a fit needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How a kind of answer grew: seconds (lower quartile) at the smallest and the largest number of machines.

    `exponent` belongs to the power that fits best: 0 for no growth, 1 for linear growth. It is None if the range is too
    small, and `why` says so.
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
        """Adds an answer with `size` machines. An empty one is ignored."""
        if size > 0:
            step = round(math.log2(size) * 8)
            self._size.setdefault(step, size)
            self._by.setdefault(step, QuantileSketch()).add(seconds)

    def growth(self) -> Growth | None:
        """Returns the growth; None if no size was seen often enough."""
        points = [(self._size[s], d.percentile(QUICK)) for s, d in sorted(self._by.items()) if d.count >= ENOUGH]
        if not points:
            return None
        (smallest, first), (largest, last) = points[0], points[-1]
        tells = len(points) >= SIZES and largest >= RANGE * smallest
        why = "" if tells else f"seen with {smallest} to {largest} machines: too small a range to tell"
        return Growth(
            what=self._what,
            smallest=smallest,
            largest=largest,
            at_smallest=round(first, 6),
            at_largest=round(last, 6),
            exponent=round(_slope(points), 2) if tells else None,
            why=why,
        )


def _slope(points: list[tuple[int, float]]) -> float:
    """Returns the slope by least squares through the logarithms of both."""
    logs = [(math.log(size), math.log(max(seconds, 1e-6))) for size, seconds in points]
    mean_x = sum(x for x, _ in logs) / len(logs)
    mean_y = sum(y for _, y in logs) / len(logs)
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)
