"""The kinds of long-lived state that a run holds until they are checked at its end, and how long it held them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MACHINES, OPERATIONS, METADATA, MARKS, CURSOR = "machines", "operations", "metadata", "marks", "cursor"
TITLES: Final = {
    MACHINES: "IDLE and CONFIGURED machine",
    OPERATIONS: "operation ids",
    METADATA: "metadata",
    MARKS: "marks",
    CURSOR: "first cursor",
}
"""The kinds as users read them."""


def held_text(held: Mapping[str, float], *, hold: float) -> str:
    """Returns how long each kind of state was held, in one line; empty if none was, and `--hold` was not given.

    With `hold`, in seconds, a kind that was not held is named too.
    """
    parts = [f"{TITLES.get(kind, kind)} {seconds:.1f} s" for kind, seconds in held.items()]
    missing = [title for kind, title in TITLES.items() if kind not in held] if hold else []
    return ", ".join(parts) + (f"{'; ' if parts else ''}not observed: {', '.join(missing)}" if missing else "")
