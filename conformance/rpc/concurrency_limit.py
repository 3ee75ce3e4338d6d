"""Limits the number of concurrent calls."""

from __future__ import annotations

import asyncio
import sys
from collections import deque


class ConcurrencyLimiter:
    """An async context manager that at most `limit` callers enter concurrently; without a limit, any number.

    The limit can change at any time. Callers that are inside when it becomes lower count against the new limit.
    """

    def __init__(self) -> None:
        self._limit = sys.maxsize
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int | None:
        """The maximum number of callers inside; None for any number."""
        return self._limit if self._limit < sys.maxsize else None

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._limit = limit or sys.maxsize
        self._admit()

    async def __aenter__(self) -> None:
        while self._inside >= self._limit:
            admitted = asyncio.get_running_loop().create_future()
            self._waiting.append(admitted)
            try:
                await admitted
            except asyncio.CancelledError:
                # This caller may have been admitted already: pass the place on to the next one.
                self._admit()
                raise
        self._inside += 1

    async def __aexit__(self, *_: object) -> None:
        self._inside -= 1
        self._admit()

    def _admit(self) -> None:
        free = self._limit - self._inside
        while self._waiting and free > 0:
            admitted = self._waiting.popleft()
            if not admitted.done():
                admitted.set_result(None)
                free -= 1
