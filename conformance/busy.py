"""Asking again: a provider that says it has no time now may have it in a moment.

How much it is asked at once is our doing, and what it does about that the contract leaves open: UNAVAILABLE and
RESOURCE_EXHAUSTED are no answer yet. Who has no other one after a few times, or for much, gives that for its answer.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from conformance.call import Call
    from conformance.token import Token

SOON: Final = (0.05, 0.1, 0.2)
"""Seconds between one time and the next, whatever is asked."""
PAUSES: Final = (*SOON, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)
"""And for who insists, as on the way home; after the last one the provider has no answer."""


FEW: Final = 8
SHARE: Final = 12
"""Calls that a provider may turn away in any case, and else one of so many, and is taken to shed load."""
STEPS: Final = (8, 2)
"""Calls at once that it is asked for next where it is more."""


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
        self._gate: asyncio.Semaphore | None = None

    def add(self, call: Call) -> None:
        """One call more."""
        self.asked += 1
        self.turned_away += call.busy
        if call.started < self._since:
            return
        self._asked += 1
        self._turned_away += call.busy
        if call.busy and not self.little:
            step = next(self._steps, None)
            self._gate = asyncio.Semaphore(step) if step else None
            if step:
                self._asked, self._turned_away, self._since = 0, 0, call.ended

    @property
    def little(self) -> bool:
        """Whether what it had no time for is asked again."""
        return self._turned_away <= max(FEW, self._asked // SHARE)

    def turn(self) -> AbstractAsyncContextManager[object]:
        """Where there is time for one call more."""
        return self._gate or nullcontext()

    @property
    def said(self) -> str:
        """What is to be said of it; nothing of a few."""
        if self.turned_away <= FEW:
            return ""
        told = "and were asked again" if self.little else "too many to be asked again"
        return (
            f"{self.turned_away} of {self.asked} calls were turned away with UNAVAILABLE or RESOURCE_EXHAUSTED, {told};"
            " --jobs 1 asks less at once"
        )


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
