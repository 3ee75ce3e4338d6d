"""The word that ends a run early."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from conformance.core.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

T = TypeVar("T")


class Stop:
    """Says that a run shall end before its plan does: no new behaviour starts, those that run are cancelled."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.reason: str | None = None

    def __call__(self, reason: str) -> None:
        """End the run because of `reason`; the first one counts."""
        if self.reason is None:
            self.reason = reason
            self._event.set()

    @contextmanager
    def after(self, seconds: float | None, limit: str) -> Iterator[None]:
        """End the run when so many seconds are over, where there is a `limit` by that name and it still goes on."""
        timer = seconds and asyncio.get_running_loop().call_later(seconds, self, f"{limit} {seconds:g} s is over")
        try:
            yield
        finally:
            if timer:
                timer.cancel()

    async def wait(self) -> None:
        """Return when the run shall end."""
        await self._event.wait()

    async def run_unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns, it having started no machine. Raises TargetError where the run shall end before."""
        tasks = asyncio.create_task(self.wait()), asyncio.create_task(work)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self.reason is not None:
                raise TargetError(f"{self.reason} before anything was started")
            return tasks[1].result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
