"""How long the calls of a churn took, by kind, and what Lists and deltas cost by their size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.call import CallLog
from conformance.scale.budget import KINDS
from conformance.scale.digest import Digest
from conformance.scale.growth import Growth, Sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.call import Call
    from conformance.latency import Latencies

LAST_CALLS = 12
"""So many calls about a machine are kept as evidence."""


class Timings:
    """Gathers in bounded room. An unanswered call took as long as we had patience, and says nothing."""

    def __init__(self) -> None:
        self._by: dict[str, Digest] = {}
        self._live = Sizes("List of the machines with a host")
        self._deltas = Sizes("delta of so many changes")

    def add(self, call: Call) -> None:
        """One more call."""
        kind, seconds = kind_of(call), max(0.0, call.ended - call.started)
        if kind not in KINDS or not call.answered:
            return
        self._by.setdefault(kind, Digest()).add(seconds)

    def sized(self, call: Call) -> None:
        """A List that was answered while all was at rest, so that its cost is its own."""
        sizes = self._deltas if call.request.since_revision else self._live
        sizes.add(len(call.response.machines), max(0.0, call.ended - call.started))

    def counts(self) -> dict[str, int]:
        """How many calls of each kind were answered."""
        return {kind: self._by[kind].count for kind in KINDS if kind in self._by}

    def p99(self) -> dict[str, float]:
        """Seconds by kind."""
        return {kind: self._by[kind].percentile(99) for kind in KINDS if kind in self._by}

    def latencies(self) -> Mapping[str, Latencies]:
        """By kind, those of which any was answered."""
        return {kind: self._by[kind].summary() for kind in KINDS if kind in self._by}

    def growth(self) -> tuple[Growth, ...]:
        """What was seen often enough."""
        return tuple(grown for sizes in (self._live, self._deltas) if (grown := sizes.growth()) is not None)


def kind_of(call: Call) -> str:
    """Which of KINDS a call is; what is none of the contract's RPCs is called by its own name."""
    if call.rpc != "List":
        return call.rpc
    request = call.request
    if request.states or request.max_results:
        return "Page"
    return "Delta" if request.since_revision else "List"


class Tape(CallLog):
    """The last calls about one machine, all of them timed."""

    def __init__(self, timings: Timings) -> None:
        super().__init__()
        self._timings = timings

    def add(self, call: Call) -> None:
        """Time one more, and forget the oldest."""
        self._timings.add(call)
        self.calls.append(call)
        del self.calls[:-LAST_CALLS]
