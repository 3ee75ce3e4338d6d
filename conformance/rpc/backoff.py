"""Backoff: calls that the provider rejects with UNAVAILABLE or RESOURCE_EXHAUSTED are retried after a pause.

The contract does not define how a provider treats more calls than it can handle, and the kit decides how many it sends
concurrently. So these two codes do not count as an answer at first. If the provider still returns them after
several attempts, or for a large share of all calls, they count as its answer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from conformance.rpc.concurrency_limit import ConcurrencyLimiter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from conformance.core.fencing import Token
    from conformance.rpc.call import Call

RETRY_DELAYS: Final = (0.05, 0.1, 0.2)
"""Seconds between the attempts of any call."""
INSISTENT_RETRY_DELAYS: Final = (*RETRY_DELAYS, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)
"""Seconds between the attempts of a caller that insists, such as the clean-up; then the rejection is the answer."""

TOLERABLE_REJECTIONS: Final = 8
TOLERABLE_SHARE: Final = 12
"""Rejections count as load shedding while they are at most TOLERABLE_REJECTIONS calls, or 1 in TOLERABLE_SHARE."""
UNRELIABLE_SHARE: Final = 5
"""If more than 1 of this many calls of the run were rejected, no verdict can rest on the others."""
CONCURRENCY_STEPS: Final = (8, 2)
"""Limits of concurrent calls that the kit applies in turn while more than the tolerable calls are rejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionCount:
    """The number of calls, and of the calls that were rejected for load."""

    calls: int = 0
    rejected: int = 0

    def plus(self, call: Call) -> RejectionCount:
        """Returns the count with one more call."""
        return RejectionCount(calls=self.calls + 1, rejected=self.rejected + call.answered_busy)

    @property
    def tolerable(self) -> bool:
        """True if so few calls were rejected that this may be load shedding."""
        return self.rejected <= max(TOLERABLE_REJECTIONS, self.calls // TOLERABLE_SHARE)


class OverloadTracker:
    """Counts rejected calls over all connections of a run, and limits concurrency while there are too many.

    The provider may limit concurrent calls: then the kit sends fewer concurrently, in steps. If too many are still
    rejected after the last step, rejection is the provider's answer.
    """

    def __init__(self) -> None:
        self.total = RejectionCount()
        self._without_edge = 0
        """The number of rejected calls that had no edge: that may be the provider's answer to them (COD-2)."""
        self._recent = RejectionCount()
        """The calls since the concurrency limit was last lowered."""
        self._lowered_at = 0.0
        """The time of that, on the run's clock: calls under way then are not evidence about the new limit."""
        self._steps = iter(CONCURRENCY_STEPS)
        self.limiter = ConcurrencyLimiter()
        """Wraps every call, except those that another call may be waiting for."""

    def add(self, call: Call) -> None:
        """Counts one more call."""
        self.total = self.total.plus(call)
        if call.started < self._lowered_at:
            return
        self._recent = self._recent.plus(call)
        if call.answered_busy and not self.tolerable:
            self.limiter.limit = next(self._steps, None)
            if self.limiter.limit:
                self._recent, self._lowered_at = RejectionCount(), call.ended

    def note_without_edge(self) -> None:
        """Notes that a rejected call had no edge from the machine's state, so that it says little about the load."""
        self._without_edge += 1

    @property
    def rejected(self) -> int:
        """The number of rejected calls of the run."""
        return self.total.rejected

    @property
    def tolerable(self) -> bool:
        """True while rejected calls are retried."""
        return self._recent.tolerable

    @property
    def summary(self) -> str:
        """Summary line for the report; empty if only a few calls were rejected."""
        if self.rejected <= TOLERABLE_REJECTIONS:
            return ""
        retried = "and were retried" if self.tolerable else "too many to retry"
        return f"{self._counted}, {retried}; --jobs 1 makes fewer concurrent calls"

    @property
    def why_unreliable(self) -> str:
        """The reason why no verdict can rest on the calls that were not rejected; empty if it can."""
        for_load, others = self.rejected - self._without_edge, self.total.calls - self._without_edge
        unreliable = for_load > TOLERABLE_REJECTIONS and for_load * UNRELIABLE_SHARE > others
        return f"{self._counted}: too many to rely on the others" if unreliable else ""

    @property
    def _counted(self) -> str:
        return f"{self.rejected} of {self.total.calls} calls were rejected with UNAVAILABLE or RESOURCE_EXHAUSTED"


async def retry_while_overloaded(
    send: Callable[[], Awaitable[Call]], *, insists: bool, delays: Sequence[float] = INSISTENT_RETRY_DELAYS
) -> Call:
    """Returns the call that `send` makes; if `insists`, repeats it until one is not rejected for load."""
    for delay in delays if insists else ():
        call = await send()
        if not call.answered_busy:
            return call
        await asyncio.sleep(delay)
    return await send()


async def send_until_accepted(
    send: Callable[[Token], Awaitable[Call]], token: Token, *, next_token: Callable[[], Awaitable[Token | None]]
) -> Call:
    """Sends a mutating call, and sends it again while the provider rejects it for load.

    `next_token` returns the token of the next attempt, or None if it is too late for one. If the token is the same and
    the second attempt is fenced, then the token was stale from the start, or was accepted before the first attempt was
    rejected. A provider may refuse a call with any code (COD-2), so the first answer is returned, with `token_spent`.
    """
    first = call = await send(token)
    for delay in RETRY_DELAYS:
        if not call.answered_busy:
            break
        await asyncio.sleep(delay)
        renewed = await next_token()
        if renewed is None:
            break
        call = replace(await send(renewed), retried=True)
        if renewed == token and call.answered and call.fenced:
            return replace(first, token_spent=True)
    return call
