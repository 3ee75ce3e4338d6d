"""Asking again: a provider that says it has no time now may have it in a moment.

How much it is asked at once is our doing, and what it does about that the contract leaves open: UNAVAILABLE and
RESOURCE_EXHAUSTED are no answer yet. Who has no other one after a few times, or for much, gives that for its answer.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from conformance.call import Call
    from conformance.token import Token

SOON: Final = (0.05, 0.1, 0.2)
"""Seconds between one time and the next, whatever is asked."""
PAUSES: Final = (*SOON, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)
"""And for who insists, as on the way home; after the last one the provider has no answer."""


FEW: Final = 8
SHARE: Final = 12
"""Calls that a provider may turn away in any case, and else one of so many, and is taken to shed load."""
TOO_MUCH: Final = 5
"""Where more than one call of so many was turned away in all, nothing that was seen can be relied on."""
STEPS: Final = (8, 2)
"""Calls at once that it is asked for next where it is more."""


class Gate:
    """Lets so many in at once, or all; who is inside when it becomes narrower counts."""

    def __init__(self) -> None:
        self._limit = sys.maxsize
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int | None:
        """How many; None for all."""
        return self._limit if self._limit < sys.maxsize else None

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._limit = limit or sys.maxsize
        self._call()

    async def __aenter__(self) -> None:
        while self._inside >= self._limit:
            called = asyncio.get_running_loop().create_future()
            self._waiting.append(called)
            try:
                await called
            except asyncio.CancelledError:
                self._call()  # the place is somebody else's
                raise
        self._inside += 1

    async def __aexit__(self, *_: object) -> None:
        self._inside -= 1
        self._call()

    def _call(self) -> None:
        free = self._limit - self._inside
        while self._waiting and free > 0:
            called = self._waiting.popleft()
            if not called.done():
                called.set_result(None)
                free -= 1


class Shed:
    """How much of what it was asked the provider had no time for, over all connections of a run.

    Where that is much, it may be that it takes so many calls at once and no more: then less is asked at once, in steps.
    Where it is still much, that is its answer.
    """

    def __init__(self) -> None:
        self.asked = self.turned_away = 0
        self._asked = self._turned_away = 0
        self._since = 0.0
        """When the last step was taken, on the run's clock: what was under way then is no matter of it."""
        self._steps = iter(STEPS)
        self.gate = Gate()
        """What every call goes through that cannot be waited for by another one."""

    def add(self, call: Call) -> None:
        """One call more."""
        self.asked += 1
        self.turned_away += call.busy
        if call.started < self._since:
            return
        self._asked += 1
        self._turned_away += call.busy
        if call.busy and not self.little:
            self.gate.limit = next(self._steps, None)
            if self.gate.limit:
                self._asked, self._turned_away, self._since = 0, 0, call.ended

    @property
    def little(self) -> bool:
        """Whether what it had no time for is asked again."""
        return self._turned_away <= max(FEW, self._asked // SHARE)

    @property
    def said(self) -> str:
        """What is to be said of it; nothing of a few."""
        if self.turned_away <= FEW:
            return ""
        told = "and were asked again" if self.little else "too many to be asked again"
        return f"{self._count}, {told}; --jobs 1 asks less at once"

    @property
    def too_much(self) -> str:
        """Why no verdict can rest on what was seen; empty where it can."""
        much = self.turned_away > FEW and self.turned_away * TOO_MUCH > self.asked
        return f"{self._count}: too many to rely on the others" if much else ""

    @property
    def _count(self) -> str:
        return f"{self.turned_away} of {self.asked} calls were turned away with UNAVAILABLE or RESOURCE_EXHAUSTED"


async def while_busy(ask: Callable[[], Awaitable[Call]], *, insists: bool, pauses: Sequence[float] = PAUSES) -> Call:
    """What `ask` comes to; who `insists` asks again where that is UNAVAILABLE or RESOURCE_EXHAUSTED."""
    for pause in pauses if insists else ():
        call = await ask()
        if not call.busy:
            return call
        await asyncio.sleep(pause)
    return await ask()


async def put_through(
    send: Callable[[Token], Awaitable[Call]], token: Token, *, again: Callable[[], Awaitable[Token | None]]
) -> Call:
    """What a mutating call comes to. `again` gives the token to ask with once more; None where that is too late.

    Fenced with the token that it had, it was stale from the start, or had passed before somebody turned it away: for
    a reason of his own, maybe, as those who refuse a call may take any code (COD-2).
    """
    first = call = await send(token)
    for pause in SOON:
        if not call.busy:
            break
        await asyncio.sleep(pause)
        renewed = await again()
        if renewed is None:
            break
        call = replace(await send(renewed), put_off=True)
        if call.fenced and renewed == token:
            return replace(first, spent=True)
    return call
