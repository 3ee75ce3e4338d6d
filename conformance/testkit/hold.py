"""The long-lived state of a run, which is held for a minimum time before a behaviour looks at it again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRESS_S: Final = 5.0
"""Seconds between two notes about the progress of a wait."""


class Hold:
    """The minimum time for which a run holds its long-lived state, and how long it has held each kind."""

    def __init__(
        self, seconds: float, *, clock: Callable[[], float], tell: Callable[[str], None] = lambda text: None
    ) -> None:
        """`seconds` is the minimum, on the `clock` of the run; `tell` shows the progress of a wait."""
        self.seconds = seconds
        self.held: dict[str, float] = {}
        """The seconds for which each kind of state was held until a behaviour looked at it."""
        self.waited = 0.0
        """The seconds for which the run has waited for that: no provider is slow because of them."""
        self._clock, self._tell = clock, tell

    async def wait(self, since: float) -> None:
        """Waits until state that exists `since` this time has been held long enough. Nothing is called meanwhile."""
        while (left := since + self.seconds - self._clock()) > 0:
            self._tell(f"--hold: the fleet rests for {left:.1f} s more before it is checked")
            pause = min(left, PROGRESS_S)
            await asyncio.sleep(pause)
            self.waited += pause

    def note(self, kind: str, since: float) -> None:
        """Notes that a behaviour has looked at a kind of state that exists `since` this time."""
        self.held[kind] = max(self.held.get(kind, 0.0), self._clock() - since)
