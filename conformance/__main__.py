"""The process of a command: handles signals before the command has started and after it has ended.

Imports take half a second, in which Python would answer Ctrl-C with a traceback. So this module imports nothing of the
kit itself. A run installs its own handlers while it lasts: see `frontends.runner.handling_signals_around`.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

EXIT_INTERRUPTED = 3
GC_THRESHOLDS = (50_000, 20, 100)
"""A run makes few reference cycles and keeps most objects, so it looks for cycles less often than Python's default."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Runs `conformance`."""
    _run("main")


def run_main() -> None:
    """Runs `conformance-run`."""
    _run("run_main")


def _run(name: str) -> None:
    _set_handlers(_exit_interrupted)
    gc.set_threshold(*GC_THRESHOLDS)
    # The first function registered is called last. After it a signal would replace the exit code of the verdict.
    atexit.register(_set_handlers, signal.SIG_IGN)
    try:
        from conformance.frontends.cli import main as cli_main

        command: Callable[[], None] = getattr(cli_main, name)
        command()
    except SystemExit as end:
        code = end.code
        # A signal from here on ends the process at once, with the exit code that it would have had.
        _set_handlers(lambda number, frame: os._exit(code if isinstance(code, int) else 0))
        raise


def _set_handlers(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def _exit_interrupted(number: int, frame: FrameType | None) -> None:
    """Prints one line and exits at once: there is nothing to clean up, and Python would print a traceback."""
    line = f"error: interrupted ({signal.Signals(number).name})\n"
    try:
        os.write(sys.stderr.fileno(), line.encode())
    finally:
        os._exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
