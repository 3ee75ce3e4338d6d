"""Checks the catalogue's promise: a released behaviour keeps its id, level and meaning, or is marked as retired.

`python -m tools.released` freezes the catalogue at a release; `make baseline` freezes the proto too.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.core.catalogue import AREAS, clause_of

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = ROOT / "conformance/core/catalogue"
RELEASED = CATALOGUE / "released.txt"
REVISED: dict[str, str] = {"FEN-14a": "SHOULD", "WIR-6b": "SHOULD"}
"""The released behaviours whose level a later revision of the contract has changed, with their new levels."""
HEAD = "# The behaviours of the last release: id, level, first release. Written by `make baseline`.\n"


def texts() -> list[str]:
    """Returns the catalogue's TOML files."""
    return [(CATALOGUE / f"{area}.toml").read_text(encoding="utf-8") for area in AREAS]


def promises(catalogue: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Returns the level and the first release of each behaviour in a catalogue's TOML files, retired ones included."""
    kept = {}
    for raw in map(tomllib.loads, catalogue):
        levels = {name: clause["level"] for name, clause in raw["clause"].items()}
        for name, body in raw.get("behaviour", {}).items():
            kept[name] = (body.get("level", levels[clause_of(name)]), body["since"])
    return kept


def read(released: str) -> dict[str, tuple[str, str]]:
    """Returns the promises in the text of a frozen catalogue."""
    lines = (line.split() for line in released.splitlines() if line and not line.startswith("#"))
    return {name: (level, since) for name, level, since in lines}


def broken(released: dict[str, tuple[str, str]], now: dict[str, tuple[str, str]], *, version: str) -> list[str]:
    """Returns a line for each broken promise, and for each new behaviour with an older release in `since`."""
    lines = []
    for name, (level, since) in released.items():
        if name not in now:
            lines.append(f"{name} was removed: mark it as `retired` instead")
        elif now[name] != (REVISED.get(name, level), since):
            lines.append(f"{name} was {level} since {since}, and is {' since '.join(now[name])}: use a new id")
    for name in now.keys() - released.keys():
        if now[name][1] != version:
            lines.append(f"{name} is new in {version}, but has since = {now[name][1]}")
    return sorted(lines)


if __name__ == "__main__":
    frozen = promises(texts())
    RELEASED.write_text(HEAD + "".join(f"{n} {lv} {since}\n" for n, (lv, since) in frozen.items()), encoding="utf-8")
