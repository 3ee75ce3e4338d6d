"""How long the calls of a report took, by RPC. All times in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core.latency import summary
from conformance.core.lifecycle import Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.core.latency import Latencies
    from conformance.results.report import Report

ORDER = (*(verb.value for verb in Verb), "Get", "List")
"""The contract's RPCs in the order in which they are shown."""


def samples(report: Report) -> Mapping[str, tuple[float, ...]]:
    """Returns, by RPC of the contract, how long each answered call took, the shortest first.

    Unanswered calls are left out: they took as long as the kit's deadline.
    """
    taken: dict[str, list[float]] = {rpc: [] for rpc in ORDER}
    for result in report.results:
        for call in result.calls:
            if call.answered and call.rpc in taken:
                taken[call.rpc].append(max(0.0, call.ended - call.started))
    return {rpc: tuple(sorted(seconds)) for rpc, seconds in taken.items() if seconds}


def by_rpc(report: Report) -> Mapping[str, Latencies]:
    """Returns the latencies by RPC, in the contract's order, without RPCs that were never answered."""
    return {rpc: summary(taken) for rpc, taken in samples(report).items()}
