"""Latencies of calls, for reports and for comparisons of two runs. All times in seconds."""

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
"""The bounds of a histogram are these times powers of ten, so that bins have similar widths on a logarithmic scale."""
MIN_DURATION_S = 1e-5
"""Shorter durations are counted as this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Latencies of the answered calls of one RPC, in seconds."""

    count: Count
    p50: Seconds
    p90: Seconds
    p99: Seconds
    max: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The number of calls that took at least `low` and less than `high` seconds."""

    low: float
    high: float
    count: int


def summary(taken: Sequence[float]) -> Latencies:
    """Returns the latencies of some calls from their sorted durations, of which there is at least one."""
    return Latencies(
        count=len(taken),
        p50=percentile(taken, 50),
        p90=percentile(taken, 90),
        p99=percentile(taken, 99),
        max=taken[-1],
    )


def percentile(taken: Sequence[float], percent: float) -> float:
    """Returns a percentile of sorted durations by the nearest rank, so that it is a measured one."""
    return taken[max(0, math.ceil(len(taken) * percent / 100) - 1)]


def histogram(taken: Sequence[float], shortest: float, longest: float) -> tuple[Bin, ...]:
    """Returns the histogram of `taken`, in bins from `shortest` to `longest`; longer durations are not counted."""
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
    """Returns rising bounds, from the last one that is not above `shortest` to the first one above `longest`."""
    powers = range(math.floor(math.log10(shortest)) - 1, math.ceil(math.log10(longest)) + 2)
    bounds = [float(f"{step}e{power}") for power in powers for step in BIN_BOUND_STEPS]
    return bounds[bisect_right(bounds, shortest) - 1 : bisect_right(bounds, longest) + 1]
