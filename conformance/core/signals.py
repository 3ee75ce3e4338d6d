"""Handles the signals that ask a command to end."""

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
"""The handled signals, each with the reason that it gives for the end of the run."""


@contextmanager
def handling_signals(loop: asyncio.AbstractEventLoop, on_signal: Callable[[str], object]) -> Iterator[None]:
    """While the body runs, `loop` calls `on_signal` with the reason of each signal. Main thread only."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, reason in SIGNALS.items():
        loop.add_signal_handler(number, on_signal, reason)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
