"""How long the calls of a report took, by RPC. All times in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.latency import summary
from conformance.lifecycle import Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.latency import Latencies
    from conformance.report import Report

ORDER = (*(verb.value for verb in Verb), "Get", "List")
"""The contract's RPCs, as people read them."""


def samples(report: Report) -> Mapping[str, tuple[float, ...]]:
    """Per RPC of the contract how long each answered call took, the shortest first.

    A call that was never answered took as long as we had patience, which says nothing of the provider.
    """
    taken: dict[str, list[float]] = {rpc: [] for rpc in ORDER}
    for result in report.results:
        for call in result.calls:
            if call.answered and call.rpc in taken:
                taken[call.rpc].append(max(0.0, call.ended - call.started))
    return {rpc: tuple(sorted(seconds)) for rpc, seconds in taken.items() if seconds}


def by_rpc(report: Report) -> Mapping[str, Latencies]:
    """The latencies per RPC, in the contract's order; an RPC that was never answered is not in it."""
    return {rpc: summary(taken) for rpc, taken in samples(report).items()}
