"""Sets when Python looks for reference cycles in the process of a command."""

from __future__ import annotations

import gc

STARTUP_THRESHOLD = 1_000_000
"""Objects that a command may create before the first look: imports make 400,000, and nearly all of them stay."""
THRESHOLDS = (50_000, 20, 100)
"""A run makes few reference cycles and keeps most objects, so it looks for cycles less often than Python's default."""


def start() -> None:
    """Does not look for cycles while modules are imported."""
    gc.set_threshold(STARTUP_THRESHOLD)


def end_startup() -> None:
    """Looks for cycles from now on, but never among the objects that exist already."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
