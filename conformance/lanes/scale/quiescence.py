"""A gate that lets either many machines move, or one check read them while all are at rest."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Quiescence:
    """A gate between transitions and checks. Open at first."""

    def __init__(self) -> None:
        self._open, self._still = asyncio.Event(), asyncio.Event()
        self._open.set()
        self._still.set()
        self._moving = 0

    @asynccontextmanager
    async def moving(self) -> AsyncIterator[None]:
        """Waits until the gate is open. No check begins before the block ends."""
        while not self._open.is_set():  # another check may close the gate before this task wakes up
            await self._open.wait()
        self._moving += 1
        self._still.clear()
        try:
            yield
        finally:
            self._moving -= 1
            if not self._moving:
                self._still.set()

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Closes the gate and waits until every block in `moving` has ended."""
        self._open.clear()
        try:
            await self._still.wait()
            yield
        finally:
            self._open.set()
