"""Reports fatal errors of a command: one line with the error, one with a hint, and the matching exit code."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from conformance.core.errors import TargetError, UsageError
from conformance.core.text import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

EXIT_USAGE = 2
EXIT_TARGET = 3
EXIT_BROKEN_PIPE = 128 + 13
"""The exit code that a shell shows for a program ended by SIGPIPE, so that it cannot be taken for a verdict."""
MAX_CHARACTERS = 1000
"""Maximum length of an error or of a hint."""


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turns a UsageError into exit code 2 and a TargetError into 3, each with its message on stderr.

    Can be used as a decorator. If the reader of a pipe has closed it, as `head` does, nothing is printed. If the output
    cannot be written for another reason, the exit code of the command takes precedence over 2.
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
        raise SystemExit(EXIT_USAGE) from None
    except TargetError as error:
        report(error.message, error.hint)
        raise SystemExit(EXIT_TARGET) from None
    except BrokenPipeError:
        _discard(sys.stdout)
        raise SystemExit(EXIT_BROKEN_PIPE) from None
    except OSError as error:
        if error.filename is not None:
            raise
        _discard(sys.stdout)
        report(f"the output cannot be written: {error.strerror}")
        raise SystemExit(code or EXIT_USAGE) from None


def print_error(*lines: str) -> None:
    """Prints lines on stderr; does nothing if stderr is closed."""
    try:
        for line in lines:
            print(line, file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def report(message: str, hint: str | None = None) -> None:
    """Prints an error and its hint on stderr, one line each, truncated and without control characters."""
    print_error(f"error: {cut(message, MAX_CHARACTERS)}", *([f"  hint: {cut(hint, MAX_CHARACTERS)}"] if hint else []))


def _discard(stream: TextIO) -> None:
    """Redirects a broken stream to /dev/null: the interpreter flushes it at exit and would print an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
