"""An event loop whose clock leaps over every wait: what takes an hour takes as long as its work.

Nothing is scaled. A wait ends when its time has come, in the order in which it would, so that whatever depends on
time (polls, windows, who comes first) goes as it would go; only nobody sits it out. Work takes no time unless it is
`spent`. Threads take turns with the loop, so that the same run goes the same way each time. What comes by a socket
knows nothing of this: while any of it is `foreign`, the clock stands still until it answers, or goes at its common
pace.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import selectors
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """The loop; its clock begins at 0."""

    def __init__(self) -> None:
        self._at = 0.0
        self._abroad = 0
        self._asking = False
        self._at_work = 0
        self._threads = itertools.count()
        self._inbox: queue.SimpleQueue[_Letter] = queue.SimpleQueue()
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Seconds that have passed, by the leaping clock."""
        return self._at

    def spend(self, seconds: float) -> None:
        """Work took so long: it is later now, and nothing else happened meanwhile."""
        self._at += seconds

    @property
    def only_internal_waits(self) -> bool:
        """Whether all that anybody waits for happens in this loop."""
        return self._abroad == 0

    def begin_external_wait(self) -> None:
        """Something that others wait for happens outside of the loop from now on."""
        self._abroad += 1

    def end_external_wait(self, *_: object) -> None:
        """It is over."""
        self._abroad -= 1

    @contextmanager
    def external_wait(self) -> Iterator[None]:
        """What is waited for inside happens outside of the loop."""
        self.begin_external_wait()
        try:
            yield
        finally:
            self.end_external_wait()

    # Threads: while one works, the loop does nothing; while one waits for a coroutine that it gave to the loop, the
    # loop goes on. What several threads say at once is heard in the order in which they were started.

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """As ever, in a thread of its own."""
        future, number = self.create_future(), next(self._threads)

        def work() -> None:
            _THREAD.number = number
            try:
                answer, tell = func(*args), future.set_result
            except BaseException as error:
                answer, tell = error, future.set_exception
            self._inbox.put(_Letter(number, lambda: None if future.done() else tell(answer)))

        self._at_work += 1
        threading.Thread(target=work, daemon=True).start()
        return future

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, **given: Any) -> asyncio.Handle:  # type: ignore[override]
        """As ever; a thread of ours is heard at its turn."""
        number = getattr(_THREAD, "number", None)
        if number is None or threading.get_ident() == self._thread_id:  # type: ignore[attr-defined]
            return super().call_soon_threadsafe(callback, *args, **given)

        def asked() -> None:
            self._asking = True
            try:
                callback(*args)
            finally:
                self._asking = False

        self._inbox.put(_Letter(number, asked))
        return asyncio.Handle(asked, (), self)

    def create_task(self, coro: Any, **given: Any) -> asyncio.Task[Any]:
        """As ever; the thread that asked for it goes on when it is done."""
        task = super().create_task(coro, **given)
        if self._asking:
            task.add_done_callback(self._goes_on)
        return task

    def _goes_on(self, _: object) -> None:
        self._at_work += 1

    def collect_thread_messages(self) -> bool:
        """Let the threads work until each has said something; whether there were any."""
        letters = [self._inbox.get() for _ in range(self._at_work)]
        self._at_work = 0
        for letter in sorted(letters, key=lambda letter: letter.number):
            self.call_soon(letter.act)
        return bool(letters)


@dataclass(frozen=True, slots=True)
class _Letter:
    """What a thread has to say to the loop: that it is done, or what it wants done and waits for."""

    number: int
    act: Callable[[], Any]


_THREAD = threading.local()


class _Selector(selectors.DefaultSelector):
    """Waits for sockets as ever, but never for time where nothing else is waited for."""

    def __init__(self, loop: VirtualClockLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._loop.collect_thread_messages():
            timeout = 0
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(0 if self._loop.only_internal_waits else timeout)
        if not ready:
            self._loop.spend(timeout)
        return ready


def virtual_clock(main: Any) -> Any:
    """Run a coroutine to its end on a leaping clock, in a loop of its own; what it returns."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(main)
