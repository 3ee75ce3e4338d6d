"""Writes the report directory: events.ndjson during the run, the other files when it has finished."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from conformance.reporters import badge, json_report, junit, markdown
from conformance.reporters.html_report import render as html_render
from conformance.reporters.ndjson import NdjsonLog
from conformance.results import events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from conformance.results.report import Report

LOG: Final = "events.ndjson"
FORMATS: Final[Mapping[str, Callable[[Report], str]]] = {
    "report.json": json_report.render,
    "junit.xml": junit.render,
    "report.md": markdown.render,
    "report.html": html_render.render,
    "badge.json": badge.render,
}
"""The files of a finished run with their renderers. A new format needs one line here."""


class ReportDirectory:
    """Listens to a run and writes its files. Raises OSError after the last event if a file could not be written."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log: NdjsonLog | None = NdjsonLog(directory / LOG)
        empty(directory)
        self._error: OSError | None = None

    def __call__(self, event: events.Event) -> None:
        """Writes the event to the log and, after the last event, the other files."""
        if self._log is not None:
            try:
                self._log(event)
            except OSError as error:
                self._end_log(error)
        if isinstance(event, events.RunFinished):
            self._end_log()
            for name, render in FORMATS.items():
                self._write(self._directory / name, render(event.report))
            if self._error is not None:
                raise self._error

    def close(self) -> None:
        """Closes the log of a run that did not finish."""
        self._end_log()

    def _end_log(self, error: OSError | None = None) -> None:
        self._error = self._error or error
        if self._log is not None:
            self._log.close()
        self._log = None

    def _write(self, path: Path, text: str) -> None:
        try:
            write(path, text)
        except OSError as error:
            self._error = self._error or error


def empty(directory: Path) -> None:
    """Empties the reports in a directory: one of an earlier run could be mistaken for the next one's."""
    for name in FORMATS:
        (directory / name).write_bytes(b"")


def write(path: Path, text: str) -> None:
    """Writes a file. Raises OSError, and then leaves it empty: a partial one could be mistaken for a complete one."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:
        with suppress(OSError):
            os.truncate(path, 0)
        raise
