"""The process of a command: what a signal does to it before the command has begun, and after it has ended.

Half a second goes by until all is imported, and Python would answer a Ctrl-C in it with a traceback. So this module
imports nothing itself. A run hears signals in its own way for as long as it lasts: see `loop.hearing`.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

INTERRUPTED = 3
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """`conformance`."""
    _go("main")


def run_main() -> None:
    """`conformance-run`."""
    _go("run_main")


def _go(name: str) -> None:
    _hear(_interrupted)
    # Of what is registered the first comes last: from there on Python would end by the signal, whatever was found out.
    atexit.register(_hear, signal.SIG_IGN)
    try:
        from conformance.frontends.cli import main as cli_main

        command: Callable[[], None] = getattr(cli_main, name)
        command()
    except SystemExit as end:
        code = end.code
        _hear(lambda number, frame: os._exit(code if isinstance(code, int) else 0))  # at once, and as it would have
        raise


def _hear(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Nothing is under way that would have to be ended in order: end without a word of Python's."""
    line = f"error: interrupted ({signal.Signals(number).name})\n"
    try:
        os.write(sys.stderr.fileno(), line.encode())
    finally:
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
