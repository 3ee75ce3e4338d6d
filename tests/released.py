"""The catalogue's promise: what a release has judged keeps its id, its level and its meaning, or is retired by name.

`python -m tests.released` freezes the catalogue as the one of a release; `make baseline` does so with the proto.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from conformance.catalogue import clause_of

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = ROOT / "conformance/catalogue.toml"
RELEASED = ROOT / "conformance/catalogue.released.txt"
HEAD = "# What the last release judges: id, level, the release that had it first. Written by `make baseline`.\n"


def promises(catalogue: str) -> dict[str, tuple[str, str]]:
    """Of each behaviour in a catalogue's TOML, retired or not: its level, and the release that had it first."""
    raw = tomllib.loads(catalogue)
    levels = {name: clause["level"] for name, clause in raw["clause"].items()}
    return {
        name: (body.get("level", levels[clause_of(name)]), body["since"]) for name, body in raw["behaviour"].items()
    }


def read(released: str) -> dict[str, tuple[str, str]]:
    """The promises in the text of a frozen catalogue."""
    lines = (line.split() for line in released.splitlines() if line and not line.startswith("#"))
    return {name: (level, since) for name, level, since in lines}


def broken(released: dict[str, tuple[str, str]], now: dict[str, tuple[str, str]], *, version: str) -> list[str]:
    """What was promised and is not kept, and what is new and says otherwise; a line each."""
    lines = []
    for name, (level, since) in released.items():
        if name not in now:
            lines.append(f"{name} is gone: give it `retired` instead")
        elif now[name] != (level, since):
            lines.append(f"{name} was {level} since {since}, and is {' since '.join(now[name])}: give a new id")
    for name in now.keys() - released.keys():
        if now[name][1] != version:
            lines.append(f"{name} is new in {version}, and says since {now[name][1]}")
    return sorted(lines)


if __name__ == "__main__":
    frozen = promises(CATALOGUE.read_text(encoding="utf-8"))
    RELEASED.write_text(HEAD + "".join(f"{n} {lv} {since}\n" for n, (lv, since) in frozen.items()), encoding="utf-8")
