"""Finds the behaviours that the end of a run waited for: each one started when the one before had ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.results.result import Result


def start_time(result: Result) -> float:
    """Returns when a behaviour got its machines, in seconds on the run's clock: before `started`, they are prepared."""
    return min((call.started for call in result.calls), default=result.started)


def end_time(result: Result) -> float:
    """Returns when a behaviour released its machines, in seconds on the run's clock."""
    return result.started + result.seconds


def has_run(result: Result) -> bool:
    """Returns whether a behaviour started. Those skipped for a missing capability did not."""
    return bool(result.calls) or result.seconds > 0


def critical_path(results: Sequence[Result]) -> tuple[Result, ...]:
    """Returns the chain of behaviours that ends with the last one of the run, in order of time.

    The predecessor of a behaviour is the last one that used any of its machines before. Without one, it is the last one
    that had ended anywhere, because a phase waits for the phase before it. This is derived from the results:
    in another order, the run might have waited for other behaviours.
    """
    remaining = [result for result in results if has_run(result)]
    chain: list[Result] = []
    while remaining:
        same = [result for result in remaining if chain and set(result.machines) & set(chain[-1].machines)]
        last = max(same or remaining, key=end_time)
        chain.append(last)
        start = start_time(last)
        remaining = [result for result in remaining if result is not last and end_time(result) <= start]
    return tuple(reversed(chain))
