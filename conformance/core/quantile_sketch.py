"""Quantiles of millions of durations in little memory: counted in bins of 1 % width, the longest exactly."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

from conformance.core.latency import MIN_DURATION_S, Latencies

BIN_RATIO: Final = 1.01
"""The ratio of a bin's upper bound to its lower one: a percentile is wrong by at most 0.5 %."""
_STEP: Final = math.log(BIN_RATIO)


class QuantileSketch:
    """Counts durations, in seconds. Holds at most about 1,500 numbers, however many durations are added."""

    def __init__(self) -> None:
        self.count = 0
        self._bins: Counter[int] = Counter()
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """Adds a duration."""
        self.count += 1
        self._bins[math.floor(math.log(max(seconds, MIN_DURATION_S)) / _STEP)] += 1
        self._longest = max(self._longest, seconds)

    def percentile(self, share: float) -> float:
        """Returns a percentile in seconds (nearest rank, the middle of its bin); `share` in per cent. 0 if empty."""
        rank, seen = max(1, math.ceil(self.count * share / 100)), 0
        for place in sorted(self._bins):
            seen += self._bins[place]
            if seen >= rank:
                return min(math.exp((place + 0.5) * _STEP), self._longest)
        return 0.0

    def summary(self) -> Latencies:
        """Returns the percentiles for the report."""
        p50, p90, p99 = (round(self.percentile(share), 6) for share in (50, 90, 99))
        return Latencies(count=self.count, p50=p50, p90=p90, p99=p99, max=round(self._longest, 6))
