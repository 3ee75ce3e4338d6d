"""The durations of the calls of a churn, by kind, and the growth of Lists and deltas with their size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core.quantile_sketch import QuantileSketch
from conformance.lanes.scale.budget import KINDS
from conformance.lanes.scale.growth import Growth, Sizes
from conformance.rpc.call import CallLog

if TYPE_CHECKING:
    from conformance.core.latency import Latencies
    from conformance.rpc.call import Call

LAST_CALLS = 12
"""The number of calls about a machine that are kept as evidence."""


class Timings:
    """Collects durations in bounded memory. Ignores unanswered calls, whose duration is only the kit's deadline."""

    def __init__(self) -> None:
        self._by: dict[str, QuantileSketch] = {}
        self._live = Sizes("List by number of machines with a host")
        self._deltas = Sizes("delta by number of changes")

    def add(self, call: Call) -> None:
        """Adds a call."""
        kind, seconds = kind_of(call), max(0.0, call.ended - call.started)
        if kind not in KINDS or not call.answered:
            return
        self._by.setdefault(kind, QuantileSketch()).add(seconds)

    def add_size(self, call: Call) -> None:
        """Adds a List that was answered while all machines were at rest, so that no other work slowed it down."""
        sizes = self._deltas if call.request.since_revision else self._live
        sizes.add(len(call.response.machines), max(0.0, call.ended - call.started))

    def counts(self) -> dict[str, int]:
        """Returns the number of answered calls by kind."""
        return {kind: self._by[kind].count for kind in KINDS if kind in self._by}

    def p99(self) -> dict[str, float]:
        """Returns the 99th percentile in seconds by kind."""
        return {kind: self._by[kind].percentile(99) for kind in KINDS if kind in self._by}

    def latencies(self) -> dict[str, Latencies]:
        """Returns the latencies of the kinds that were answered."""
        return {kind: self._by[kind].summary() for kind in KINDS if kind in self._by}

    def growth(self) -> tuple[Growth, ...]:
        """Returns the growth of Lists and deltas, if enough were answered."""
        return tuple(grown for sizes in (self._live, self._deltas) if (grown := sizes.growth()) is not None)


def kind_of(call: Call) -> str:
    """Returns the kind of a call, one of KINDS, or the name of an RPC that is not in the contract."""
    if call.rpc != "List":
        return call.rpc
    request = call.request
    if request.states or request.max_results:
        return "Page"
    return "Delta" if request.since_revision else "List"


class RecentCalls(CallLog):
    """The last calls about one machine. Times every call."""

    def __init__(self, timings: Timings) -> None:
        super().__init__()
        self._timings = timings

    def add(self, call: Call) -> None:
        """Adds a call, times it and drops the oldest."""
        self._timings.add(call)
        self.calls.append(call)
        del self.calls[:-LAST_CALLS]
        del self.unanswered[:-LAST_CALLS]
