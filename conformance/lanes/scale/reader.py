"""Reads the figures of the scale lane from a record."""

from __future__ import annotations

from conformance.core.json_reader import decode
from conformance.lanes.scale.figures import ScaleFigures


def read(value: object, place: str) -> ScaleFigures:
    """Returns the figures in the JSON value at `place`. Raises Malformed."""
    return decode(value, ScaleFigures, place)
