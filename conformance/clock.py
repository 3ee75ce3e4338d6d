"""An event loop whose clock leaps over every wait: what takes an hour takes as long as its work.

Nothing is scaled. A wait ends when its time has come, in the order in which it would, so that whatever depends on
time (polls, windows, who comes first) goes as it would go; only nobody sits it out. Work takes no time unless it is
`spent`. What happens outside of the loop (a socket, a thread) knows nothing of this: while any of it is `foreign`,
the clock stands still until it answers, or goes at its common pace.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class LeapingLoop(asyncio.SelectorEventLoop):
    """The loop; its clock begins at 0."""

    def __init__(self) -> None:
        self._at = 0.0
        self._abroad = 0
        self._asking = False
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Seconds that have passed, by the leaping clock."""
        return self._at

    def spend(self, seconds: float) -> None:
        """Work took so long: it is later now, and nothing else happened meanwhile."""
        self._at += seconds

    @property
    def at_home(self) -> bool:
        """Whether all that anybody waits for happens in this loop."""
        return self._abroad == 0

    def leave(self) -> None:
        """Something that others wait for happens outside of the loop from now on."""
        self._abroad += 1

    def come_back(self, *_: object) -> None:
        """It is over."""
        self._abroad -= 1

    @contextmanager
    def foreign(self) -> Iterator[None]:
        """What is waited for inside happens outside of the loop."""
        self.leave()
        try:
            yield
        finally:
            self.come_back()

    # A thread is foreign while it works, and not while it waits for a coroutine that it gave to the loop.

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """As ever, and the clock waits for the thread."""
        self.leave()
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self.come_back)
        return future

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, **given: Any) -> asyncio.Handle:  # type: ignore[override]
        """As ever; where a thread gives the loop a coroutine, the clock waits for that now, and not for the thread."""
        if threading.get_ident() == self._thread_id:  # type: ignore[attr-defined]
            return super().call_soon_threadsafe(callback, *args, **given)

        def asked() -> None:
            self._asking = True
            try:
                callback(*args)
            finally:
                self._asking = False

        return super().call_soon_threadsafe(asked, **given)

    def create_task(self, coro: Any, **given: Any) -> asyncio.Task[Any]:
        """As ever."""
        task = super().create_task(coro, **given)
        if self._asking:
            self.come_back()
            task.add_done_callback(lambda _: self.leave())
        return task


class _Selector(selectors.DefaultSelector):
    """Waits for sockets as ever, but never for time where nothing else is waited for."""

    def __init__(self, loop: LeapingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(0 if self._loop.at_home else timeout)
        if not ready:
            self._loop.spend(timeout)
        return ready


def leaping(main: Any) -> Any:
    """Run a coroutine to its end on a leaping clock, in a loop of its own; what it returns."""
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        return runner.run(main)
