"""The report directory: events.ndjson as it happens, the other files when the run has finished."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance import events
from conformance.reporters import badge, html, json, junit, markdown
from conformance.reporters.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from conformance.report import Report

LOG: Final = "events.ndjson"
FORMATS: Final[Mapping[str, Callable[[Report], str]]] = {
    "report.json": json.render,
    "junit.xml": junit.render,
    "report.md": markdown.render,
    "report.html": html.render,
    "badge.json": badge.render,
}
"""The files of a finished run, each with what renders it: any other is one line here."""


class Files:
    """Listens to a run and writes its files. Raises OSError where the disk will not have them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = Log(directory / LOG)

    def __call__(self, event: events.Event) -> None:
        """Write what the event is worth."""
        self._log(event)
        if isinstance(event, events.RunFinished):
            self._log.close()
            for name, render in FORMATS.items():
                (self._directory / name).write_text(render(event.report), encoding="utf-8")
