"""A request to end a run early."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from conformance.core.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

T = TypeVar("T")


class Stop:
    """Requests the early end of a run: no new behaviour starts, and the running ones are cancelled."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.reason: str | None = None

    def __call__(self, reason: str) -> None:
        """Ends the run because of `reason`; only the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self._event.set()

    @contextmanager
    def after(self, seconds: float | None, limit: str) -> Iterator[None]:
        """Ends the run if the body takes longer than `seconds`, unless None. `limit` is the name of the option."""
        timer = seconds and asyncio.get_running_loop().call_later(seconds, self, f"{limit} {seconds:g} s is over")
        try:
            yield
        finally:
            if timer:
                timer.cancel()

    async def wait(self) -> None:
        """Returns when the run must end."""
        await self._event.wait()

    async def run_unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """Returns the result of `work`, which starts no machine. Raises TargetError if the run must end first."""
        tasks = asyncio.create_task(self.wait()), asyncio.create_task(work)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self.reason is not None:
                raise TargetError(f"{self.reason} before any machine was started")
            return tasks[1].result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
