"""Returns freed memory to the system, which glibc keeps otherwise."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def release() -> None:
    """Returns memory that is free to the system. Does nothing where the C library has no such function."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc, or Windows
        return None
