"""The report directory: events.ndjson as it happens; report.json, junit.xml and report.html when the run is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance import events
from conformance.reporters import html, json, junit
from conformance.reporters.log import Log

if TYPE_CHECKING:
    from pathlib import Path


class Files:
    """Listens to a run and writes its files. Raises OSError where the disk will not have them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = Log(directory / "events.ndjson")

    def __call__(self, event: events.Event) -> None:
        """Write what the event is worth."""
        self._log(event)
        if isinstance(event, events.RunFinished):
            self._log.close()
            (self._directory / "report.json").write_text(json.render(event.report), encoding="utf-8")
            (self._directory / "junit.xml").write_text(junit.render(event.report), encoding="utf-8")
            (self._directory / "report.html").write_text(html.render(event.report), encoding="utf-8")
