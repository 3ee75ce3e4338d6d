"""Writes events.ndjson: a header, one line per event, a footer. A log without a footer is truncated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.core.errors import UsageError
from conformance.core.file_lock import lock
from conformance.reporters.json_report import (
    as_dict,
    asked_dict,
    bill_dict,
    coverage_dict,
    dumps,
    entry_dict,
    found_dict,
    result_dict,
)
from conformance.results import events
from conformance.results.report import FORMAT
from conformance.rpc.call import CLOCK_DECIMALS

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path


class NdjsonLog:
    """Writes every event to a file as soon as it happens."""

    def __init__(self, path: Path) -> None:
        """Truncates the file. Raises UsageError if a running process writes to it."""
        # Unbuffered: a buffer would retry failed writes when it is closed.
        self._file: FileIO = path.open("ab", buffering=0)
        try:
            lock(self._file, f"the log {path}")
        except UsageError:
            self._file.close()
            raise
        self._file.truncate(0)

    def __call__(self, event: events.Event) -> None:
        """Writes one line. Raises OSError."""
        line = dumps(as_line(event)).encode() + b"\n"
        while line:
            line = line[self._file.write(line) :]

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def as_line(event: events.Event) -> dict[str, Any]:
    """Returns an event as JSON types."""
    match event:
        case events.RunStarted():
            return {
                "event": "run-started",
                "format": FORMAT,
                "run": event.run,
                "target": event.target,
                "at": event.at,
                "seed": event.seed,
                "found": found_dict(event.found),
                "strict": event.strict,
                "lacking": list(event.lacking),
                "whole": event.whole,
                "behaviours": [entry_dict(entry) for entry in event.behaviours],
                "machines": event.machines,
                "ledger": event.ledger,
                "asked": asked_dict(event.asked),
                "kit": event.version,
                "coverage": coverage_dict(event.coverage),
            }
        case events.BehaviourStarted():
            return {
                "event": "behaviour-started",
                "id": event.id,
                "at": round(event.at, CLOCK_DECIMALS),
                "machines": list(event.machines),
            }
        case events.BehaviourFinished():
            return {
                "event": "behaviour-finished",
                **result_dict(event.result),
                "at": round(event.at, CLOCK_DECIMALS),
                "bill": bill_dict(event.bill),
                "rpcs": event.rpcs,
            }
        case events.Noted():
            return {"event": "noted", "at": round(event.at, CLOCK_DECIMALS), "text": event.text}
        case events.Progressed():
            return {"event": "progressed", **event.progress.as_json()}
        case events.RunFinished():
            whole = as_dict(event.report)
            if event.report.run:
                # The results are in the lines above, unless the run never started.
                del whole["behaviours"]
            return {"event": "run-finished", **whole}
