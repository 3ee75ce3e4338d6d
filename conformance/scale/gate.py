"""Lets many move, or one look while nothing does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Gate:
    """Open to begin with."""

    def __init__(self) -> None:
        self._open, self._still = asyncio.Event(), asyncio.Event()
        self._open.set()
        self._still.set()
        self._moving = 0

    @asynccontextmanager
    async def moving(self) -> AsyncIterator[None]:
        """Wait until the gate is open; it is not quiet before this has ended."""
        while not self._open.is_set():  # it may be closed again before this wakes up
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
        """Let nobody begin any more, and wait until all that move have ended."""
        self._open.clear()
        try:
            await self._still.wait()
            yield
        finally:
            self._open.set()
