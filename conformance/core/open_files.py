"""The limit of open files of this process (`ulimit -n`). Each connection needs one."""

from __future__ import annotations

import errno
import os

try:
    import resource  # here, because a module cannot be imported once the limit is reached
except ImportError:  # not on Windows
    _limit = None
else:
    _limit = resource.RLIMIT_NOFILE

TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
"""The errors of the operating system if no more files can be opened."""


def open_files_problem() -> str:
    """Returns that this process cannot open more files, with the limit; empty if it can."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return explain_open_files() if error.errno in TOO_MANY_FILES else ""
    return ""


def explain(error: OSError) -> str:
    """Returns the operating system's text for an error, or how to raise the limit if no more files can be opened."""
    return explain_open_files() if error.errno in TOO_MANY_FILES else error.strerror or str(error)


def explain_open_files() -> str:
    """Returns the message for an error that is in TOO_MANY_FILES."""
    limit = f" (ulimit -n is {resource.getrlimit(_limit)[0]})" if _limit is not None else ""
    return f"the kit cannot open more files at once{limit}; raise the limit, for example with ulimit -n 1024"
