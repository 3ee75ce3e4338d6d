"""How a command ends that cannot go on: one line that says so, the mend, and the exit code of the cause."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from conformance.errors import ConformanceError, TargetError, UsageError
from conformance.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

USAGE = 2
TARGET = 3
READER_GONE = 128 + 13
"""What a shell reports of a program that SIGPIPE ended: not a verdict of ours."""


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn a UsageError into exit 2 and a TargetError into exit 3, each with its line on stderr.

    Serves as a decorator too. A reader that closed its end of the pipe, as `head` does, is not worth a word.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except UsageError as error:
        _report(error)
        raise SystemExit(USAGE) from None
    except TargetError as error:
        _report(error)
        raise SystemExit(TARGET) from None
    except BrokenPipeError:
        # The interpreter flushes once more on its way out, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(READER_GONE) from None


def _report(error: ConformanceError) -> None:
    print(f"error: {printable(error.message)}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {printable(error.hint)}", file=sys.stderr)
