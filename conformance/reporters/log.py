"""events.ndjson: a header, one line per event as it happens, a footer. Without its footer a log is truncated."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

from conformance import events
from conformance.reporters.json import as_dict, asked_dict, found_dict, result_dict

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1


class Log:
    """Writes every event to a file the moment that it happens."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("w", encoding="utf-8")

    def __call__(self, event: events.Event) -> None:
        """Write one line."""
        self._file.write(json.dumps(as_line(event), ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()


def as_line(event: events.Event) -> dict[str, Any]:
    """An event as JSON's own types."""
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
                "behaviours": list(event.behaviours),
                "machines": event.machines,
                "ledger": event.ledger,
                "strict": event.strict,
                "asked": asked_dict(event.asked),
            }
        case events.BehaviourStarted():
            return {
                "event": "behaviour-started",
                "id": event.id,
                "at": round(event.at, 6),
                "machines": list(event.machines),
            }
        case events.BehaviourFinished():
            return {"event": "behaviour-finished", **result_dict(event.result)}
        case events.Noted():
            return {"event": "noted", "at": round(event.at, 6), "text": event.text}
        case events.RunFinished():
            whole = as_dict(event.report)
            # The results stand above, a line each.
            del whole["behaviours"]
            return {"event": "run-finished", **whole}
