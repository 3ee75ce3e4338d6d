"""Asking again: a provider that says it has no time now may have it in a moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.call import Call

PAUSES: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)
"""Seconds between one time and the next; after the last one the provider has no answer."""


async def while_busy(ask: Callable[[], Awaitable[Call]], *, insists: bool) -> Call:
    """What `ask` comes to; who `insists` asks again where that is UNAVAILABLE or RESOURCE_EXHAUSTED."""
    for pause in PAUSES if insists else ():
        call = await ask()
        if not call.busy:
            return call
        await asyncio.sleep(pause)
    return await ask()
