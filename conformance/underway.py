"""Work that goes on when nobody waits for it any more: a call that was sent, a line that is on its way to the disk.

`asyncio.shield` lets work go on too, but complains on stderr of an error that nobody was left to hear. Here whoever
still waits hears of it, and the rest is in what the work itself has left behind: the ledger, the machine.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def begin(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """`work`, begun: it ends in its own time, and its error is nobody's where nobody asks for the outcome."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


async def outcome(task: asyncio.Task[T]) -> T:
    """What the work returns or raises. Who is cancelled while waiting here leaves it going."""
    if not task.done():
        await asyncio.wait((task,))
    return task.result()


class BackgroundTasks:
    """Tasks that run to their end even if the callers that wait for them are cancelled."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` as a task, and returns or raises what it does."""
        task = begin(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await outcome(task)

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
