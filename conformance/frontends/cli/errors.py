"""How a command ends that cannot go on: one line that says so, the mend, and the exit code of the cause."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from conformance.core.errors import TargetError, UsageError
from conformance.core.text import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

USAGE = 2
TARGET = 3
LONGEST = 1000
"""Characters of an error or of a hint."""
READER_GONE = 128 + 13
"""What a shell reports of a program that SIGPIPE ended: not a verdict of ours."""


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn a UsageError into exit 2 and a TargetError into exit 3, each with its line on stderr.

    Serves as a decorator too. A reader that closed its end of the pipe, as `head` does, is not worth a word. Where the
    output cannot be written for another reason, what the command found out goes before that in the exit code.
    """
    code: object = None
    try:
        try:
            yield
        except SystemExit as end:
            code = end.code
            raise
        finally:
            sys.stdout.flush()
    except UsageError as error:
        report(error.message, error.hint)
        raise SystemExit(USAGE) from None
    except TargetError as error:
        report(error.message, error.hint)
        raise SystemExit(TARGET) from None
    except BrokenPipeError:
        _leave(sys.stdout)
        raise SystemExit(READER_GONE) from None
    except OSError as error:
        if error.filename is not None:
            raise
        _leave(sys.stdout)
        report(f"the output cannot be written: {error.strerror}")
        raise SystemExit(code or USAGE) from None


def print_error(*lines: str) -> None:
    """Lines on stderr, where there still is somebody to read them."""
    try:
        for line in lines:
            print(line, file=sys.stderr, flush=True)
    except OSError:
        _leave(sys.stderr)


def report(message: str, hint: str | None = None) -> None:
    """What is wrong and what mends it: a line each on stderr, which steers nothing and has an end."""
    print_error(f"error: {cut(message, LONGEST)}", *([f"  hint: {cut(hint, LONGEST)}"] if hint else []))


def _leave(stream: TextIO) -> None:
    """The interpreter flushes once more on its way out, and would complain then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
