"""The progress of a soak, and the time of its next check."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.lanes.scale.soak import Soak

CHECKS: Final = 10
"""The number of checks in a soak. Each waits until all machines are at rest, and compares them."""


class Schedule:
    """The schedule of one soak. The soak begins after the ramp, which is not part of it."""

    def __init__(self, soak: Soak, clock: Callable[[], float]) -> None:
        self.operations = 0
        """Transitions of the soak; before it begins, of the ramp."""
        self._soak, self._clock = soak, clock
        self._began: float | None = None
        self._parts = 0
        """The number of completed parts of the soak, of CHECKS."""
        self._due = asyncio.Event()

    @property
    def begun(self) -> bool:
        """True if the ramp is over."""
        return self._began is not None

    def begin(self) -> None:
        """Starts the soak."""
        self._began, self.operations = self._clock(), 0

    @property
    def share(self) -> float:
        """The completed share of the soak, from 0 to 1."""
        if self._began is None:
            return 0.0
        return self._soak.share(seconds=self._clock() - self._began, operations=self.operations)

    @property
    def _next_check(self) -> float:
        return min(1.0, (self._parts + 1) / CHECKS)

    def count(self) -> None:
        """Counts a transition."""
        self.operations += 1
        if self.share >= self._next_check:
            self._due.set()

    async def check_due(self) -> None:
        """Waits until the next check is due."""
        self._due.clear()
        seconds = self._soak.seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(
                None if seconds is None else max(0.0, seconds * (self._next_check - self.share))
            ):
                await self._due.wait()

    def checked(self) -> None:
        """Ends a part of the soak."""
        self._parts += 1
