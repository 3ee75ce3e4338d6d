"""Latencies of the calls in a report, by RPC. All times in seconds."""

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
    """Returns the sorted durations of answered calls, by RPC of the contract.

    Unanswered calls are excluded: their duration is the kit's own deadline.
    """
    durations: dict[str, list[float]] = {rpc: [] for rpc in ORDER}
    for result in report.results:
        for call in result.calls:
            if call.answered and call.rpc in durations:
                durations[call.rpc].append(max(0.0, call.ended - call.started))
    return {rpc: tuple(sorted(seconds)) for rpc, seconds in durations.items() if seconds}


def by_rpc(report: Report) -> Mapping[str, Latencies]:
    """Returns the latencies by RPC, in the contract's order, without RPCs that have no answered calls."""
    return {rpc: summary(durations) for rpc, durations in samples(report).items()}
