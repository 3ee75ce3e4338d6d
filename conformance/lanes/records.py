"""Reads records of earlier runs of any lane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance import lanes
from conformance.results import reader

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.results.report import Report


def read(path: Path) -> Report:
    """Returns the report of the run in the report.json or events.ndjson at `path`. Raises UsageError."""
    return reader.read(path, lanes.figures_readers())
