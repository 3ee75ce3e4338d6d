"""What a List or a delta costs by how many machines are in it: seen at several sizes, fitted where that will do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from conformance.scale.digest import Digest

ENOUGH: Final = 5
"""So many answers of about one size, and a cost can be told."""
QUICK: Final = 25
"""The percentile that is taken for it: what else a machine was busy with made the others slower."""
SIZES, RANGE = 3, 8.0
"""So many sizes, the largest so many times the smallest: with less there is nothing to fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How a kind of answer grew: seconds at the smallest and the largest number of machines; a quarter took less.

    `exponent` is that of the power that fits best: 0 for none, 1 for as the machines do; None where the range is too
    small to tell, and `why` says so.
    """

    what: str
    smallest: int
    largest: int
    at_smallest: float
    at_largest: float
    exponent: float | None
    why: str


class Sizes:
    """Gathers durations by size, in steps of an eighth of a doubling."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._by: dict[int, Digest] = {}
        self._size: dict[int, int] = {}

    def add(self, size: int, seconds: float) -> None:
        """An answer with `size` machines took so long. One with none says nothing of size."""
        if size > 0:
            step = round(math.log2(size) * 8)
            self._size.setdefault(step, size)
            self._by.setdefault(step, Digest()).add(seconds)

    def growth(self) -> Growth | None:
        """What was seen; None where nothing was seen often enough."""
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
    """Least squares through the logarithms of both."""
    logs = [(math.log(size), math.log(max(seconds, 1e-6))) for size, seconds in points]
    mean_x = sum(x for x, _ in logs) / len(logs)
    mean_y = sum(y for _, y in logs) / len(logs)
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)
