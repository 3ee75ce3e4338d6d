"""Parses and formats sizes in bytes: `64MiB`, `200MB`, `1048576`."""

from __future__ import annotations

import re
from typing import Final

from conformance.core.errors import UsageError

_UNITS: Final = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
MAX_SIZE_BYTES: Final = 2**31 - 1
"""The largest size: gRPC stores a message's length in 31 bits."""


def parse_size(text: str) -> int:
    """`64MiB`, `1.5GB` or a number of bytes -> bytes. Raises UsageError for anything else, for 0, and from 2 GiB on."""
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([kmg]i?b|b)?", text.strip().lower())
    size = int(float(match[1]) * _UNITS[match[2] or "b"]) if match else 0
    if not 0 < size <= MAX_SIZE_BYTES:
        raise UsageError(f"{text!r} is not a size", hint="write 64MiB, 200MB or a number of bytes, less than 2GiB")
    return size


def show_size(size: int) -> str:
    """Returns a size in the largest unit in which it is a whole number: `64 MiB`."""
    units = {"GiB": 2**30, "GB": 10**9, "MiB": 2**20, "MB": 10**6, "KiB": 2**10, "KB": 10**3}
    return next((f"{size // unit} {name}" for name, unit in units.items() if size % unit == 0), f"{size} bytes")
