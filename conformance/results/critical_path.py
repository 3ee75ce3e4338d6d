"""What the end of a run waited for: a chain of behaviours, each of which began when the one before had ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.results.result import Result


def began(result: Result) -> float:
    """When a behaviour had its machines, in seconds on the run's clock: preparing them comes before `started`."""
    return min((call.started for call in result.calls), default=result.started)


def ended(result: Result) -> float:
    """When a behaviour let go of its machines, in seconds on the run's clock."""
    return result.started + result.seconds


def ran(result: Result) -> bool:
    """Whether a behaviour began at all: what was skipped for want of a capability did not."""
    return bool(result.calls) or result.seconds > 0


def critical_path(results: Sequence[Result]) -> tuple[Result, ...]:
    """From the behaviour that ended last back to the first, each the last on its successor's machines; in order.

    Where nothing was on those machines before, it is the last that had ended anywhere: a phase waits for the phase
    before it. Seen with hindsight: another order of the same behaviours might have waited for others.
    """
    left = [result for result in results if ran(result)]
    chain: list[Result] = []
    while left:
        same = [result for result in left if chain and set(result.machines) & set(chain[-1].machines)]
        last = max(same or left, key=ended)
        chain.append(last)
        begin = began(last)
        left = [result for result in left if result is not last and ended(result) <= begin]
    return tuple(reversed(chain))
