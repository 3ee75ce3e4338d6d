"""How long calls took, by RPC: what a report shows, and what two runs are compared by. All times in seconds."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from conformance.core.value_types import Count, Seconds

if TYPE_CHECKING:
    from collections.abc import Sequence


BIN_BOUND_STEPS = (1, 2, 5)
"""A histogram's bounds: these, times powers of ten, so that a bin is as wide to the eye at 1 ms as at 1 s."""
MIN_DURATION_S = 1e-5
"""What took less is in the first bin with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """How long the answered calls of one RPC took."""

    count: Count
    p50: Seconds
    p90: Seconds
    p99: Seconds
    max: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """So many calls took from `low` up to `high`, which is not in it any more."""

    low: float
    high: float
    count: int


def summary(taken: Sequence[float]) -> Latencies:
    """The latencies of some calls, sorted; there is at least one."""
    return Latencies(
        count=len(taken),
        p50=percentile(taken, 50),
        p90=percentile(taken, 90),
        p99=percentile(taken, 99),
        max=taken[-1],
    )


def percentile(taken: Sequence[float], percent: float) -> float:
    """The smallest of `taken`, which is sorted, that is not below `percent` of them: one that was measured."""
    return taken[max(0, math.ceil(len(taken) * percent / 100) - 1)]


def histogram(taken: Sequence[float], shortest: float, longest: float) -> tuple[Bin, ...]:
    """How many of `taken` fall where, in bins that span `shortest` to `longest`; what lies beyond is in none."""
    bounds = _bounds(max(shortest, MIN_DURATION_S), max(longest, MIN_DURATION_S))
    counts = [0] * (len(bounds) - 1)
    for seconds in taken:
        place = bisect_right(bounds, max(seconds, bounds[0])) - 1
        if place < len(counts):
            counts[place] += 1
    return tuple(
        Bin(low=low, high=high, count=count) for (low, high), count in zip(pairwise(bounds), counts, strict=True)
    )


def _bounds(shortest: float, longest: float) -> list[float]:
    """Rising bounds, of which the first is the last that is not above `shortest`, and only the last above `longest`."""
    powers = range(math.floor(math.log10(shortest)) - 1, math.ceil(math.log10(longest)) + 2)
    bounds = [float(f"{step}e{power}") for power in powers for step in BIN_BOUND_STEPS]
    return bounds[bisect_right(bounds, shortest) - 1 : bisect_right(bounds, longest) + 1]
