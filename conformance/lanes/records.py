"""Reads records of earlier runs, whichever lane they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance import lanes
from conformance.results import reader

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.results.report import Report


def read(path: Path) -> Report:
    """Returns the run that the report.json or events.ndjson at `path` describes. Raises UsageError."""
    return reader.read(path, lanes.figures_readers())
