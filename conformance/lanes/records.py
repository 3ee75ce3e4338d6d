"""Reads records of earlier runs of any lane, and certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance import lanes
from conformance.core.errors import UsageError
from conformance.core.json_reader import Malformed, NotJson, parse
from conformance.core.text import cut
from conformance.results import certificate, reader

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.results.certificate import Certificate
    from conformance.results.report import Report


def read(path: Path) -> Report:
    """Returns the report of the run in the report.json or events.ndjson at `path`. Raises UsageError."""
    return reader.read(path, lanes.figures_readers())


def read_certificate(path: Path) -> Certificate | None:
    """Returns the certificate in the file at `path`; None if it is another file. Raises UsageError."""
    try:
        return certificate.from_json(parse(path.read_bytes()))
    except (OSError, ValueError) as error:
        if isinstance(error, Malformed) and not isinstance(error, NotJson):
            raise UsageError(
                f"{path} is not a certificate: {cut(str(error), 200)}", hint="give the certificate.json of --lane all"
            ) from error
        return None  # `read` says what is wrong with it, or reads it
