"""An event loop with a virtual clock that jumps over every wait: a run of an hour takes only the time of its work.

Times are not scaled. Waits end in their usual order and at their usual virtual times, so that all that depends on time
(polls, windows, races) behaves as on a real clock. Work takes no virtual time except what `spend` adds. Threads
take turns with the loop, so that runs are deterministic. Sockets do not follow the virtual clock: during an
`external_wait` the clock stands still until the answer arrives, or runs at real speed.
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
    """An event loop whose virtual clock starts at 0."""

    def __init__(self) -> None:
        self._now = 0.0
        self._external_waits = 0
        self._called_by_thread = False
        self._busy_threads = 0
        self._thread_numbers = itertools.count()
        self._inbox: queue.SimpleQueue[_ThreadMessage] = queue.SimpleQueue()
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Returns the virtual time in seconds."""
        return self._now

    def spend(self, seconds: float) -> None:
        """Advances the clock by the duration of some work, during which nothing else happens."""
        self._now += seconds

    @property
    def only_internal_waits(self) -> bool:
        """True if no external wait is active."""
        return self._external_waits == 0

    def begin_external_wait(self) -> None:
        """Starts an external wait: a task waits for something outside of the loop."""
        self._external_waits += 1

    def end_external_wait(self, *_: object) -> None:
        """Ends an external wait."""
        self._external_waits -= 1

    @contextmanager
    def external_wait(self) -> Iterator[None]:
        """Marks the waits in the body as external."""
        self.begin_external_wait()
        try:
            yield
        finally:
            self.end_external_wait()

    # The loop pauses while a thread works, and runs while the thread waits for a coroutine that it gave to the loop.
    # Messages of several threads at once are handled in the order in which the threads were started.

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Runs `func` in a new thread."""
        future, number = self.create_future(), next(self._thread_numbers)

        def work() -> None:
            _THREAD.number = number
            try:
                outcome, report = func(*args), future.set_result
            except BaseException as error:
                outcome, report = error, future.set_exception
            self._inbox.put(_ThreadMessage(number, lambda: None if future.done() else report(outcome)))

        self._busy_threads += 1
        threading.Thread(target=work, daemon=True).start()
        return future

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, **options: Any) -> asyncio.Handle:  # type: ignore[override]
        """Calls `callback` soon; for a thread that this loop started, at that thread's turn."""
        number = getattr(_THREAD, "number", None)
        if number is None or threading.get_ident() == self._thread_id:  # type: ignore[attr-defined]
            return super().call_soon_threadsafe(callback, *args, **options)

        def call() -> None:
            self._called_by_thread = True
            try:
                callback(*args)
            finally:
                self._called_by_thread = False

        self._inbox.put(_ThreadMessage(number, call))
        return asyncio.Handle(call, (), self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Creates a task; the thread that requested it continues when the task is done."""
        task = super().create_task(coro, **options)
        if self._called_by_thread:
            task.add_done_callback(self._resume_thread)
        return task

    def _resume_thread(self, _: object) -> None:
        self._busy_threads += 1

    def collect_thread_messages(self) -> bool:
        """Lets the threads work until each has sent a message; returns whether there were any."""
        messages = [self._inbox.get() for _ in range(self._busy_threads)]
        self._busy_threads = 0
        for message in sorted(messages, key=lambda message: message.number):
            self.call_soon(message.callback)
        return bool(messages)


@dataclass(frozen=True, slots=True)
class _ThreadMessage:
    """A message from a thread to the loop: its result, or a callback that it waits for."""

    number: int
    callback: Callable[[], Any]


_THREAD = threading.local()


class _Selector(selectors.DefaultSelector):
    """A selector that waits for sockets as usual, but waits in real time only during an external wait."""

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
    """Runs a coroutine in a new loop with a virtual clock, and returns its result."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(main)
