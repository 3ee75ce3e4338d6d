"""Locks a file for the lifetime of the process, so that two runs do not write to it."""

from __future__ import annotations

import fcntl
from typing import IO, Any

from conformance.core.errors import UsageError


def lock(file: IO[Any] | int, what: str) -> None:
    """Locks `file` for this process; `what` names it. Raises UsageError if an active run holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"{what} belongs to a run that is still active",
            hint="wait for it, or stop it: it then cleans up its machines",
        ) from error
