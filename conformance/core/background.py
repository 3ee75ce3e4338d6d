"""Background tasks: work that continues after its caller was cancelled, such as a sent call or a write to the ledger.

`asyncio.shield` does that too, but prints an error to stderr if no caller is left to receive it. Here a caller that
still waits receives it; otherwise the ledger and the machine show what the work has done.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def start(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Starts `work` as a task. Its exception is silently dropped if no caller awaits the outcome."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


async def wait(task: asyncio.Task[T]) -> T:
    """Returns or raises what the task does. If the caller is cancelled while it waits, the task continues."""
    if not task.done():
        # Most mutating calls pass here, and `asyncio.wait` costs twice as much.
        ended = asyncio.Event()
        task.add_done_callback(lambda _: ended.set())
        await ended.wait()
    return task.result()


class BackgroundTasks:
    """Tasks that run to their end even if the callers that wait for them are cancelled."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` as a task, and returns or raises what it does."""
        task = start(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await wait(task)

    async def wait(self) -> None:
        """Returns when no task is left, including those that start meanwhile."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def cancel(self) -> None:
        """Cancels all tasks and waits until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
