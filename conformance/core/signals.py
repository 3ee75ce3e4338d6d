"""The signals that ask a command to end, and an event loop that hears them."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

SIGNALS: Final = {
    signal.SIGINT: "interrupted (SIGINT)",
    signal.SIGTERM: "interrupted (SIGTERM)",
    signal.SIGHUP: "interrupted (SIGHUP)",
}
"""Each with the reason that it gives."""


@contextmanager
def handling_signals(loop: asyncio.AbstractEventLoop, tell: Callable[[str], object]) -> Iterator[None]:
    """While the context lasts, `loop` calls `tell` with the reason of each signal. Main thread only."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, reason in SIGNALS.items():
        loop.add_signal_handler(number, tell, reason)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
