"""`python -m tests.zoo.table [PATTERN…]`: the kit meets every species, and the document's table is written anew."""

from __future__ import annotations

import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.zoo.encounter import AT_ONCE, Encounter, meet
from tests.zoo.species import ZOO

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- zoo -->\n", "<!-- end of the zoo -->\n"
HEAD = "| species | what it does | exit | what the kit says first | MB |\n|---|---|---:|---|---:|\n"
LONGEST = 330
"""Characters of a line in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured of one species."""

    key: str
    story: str
    code: int
    line: str
    megabytes: float

    def __str__(self) -> str:
        return f"| {self.key} | {self.story} | {self.code} | `{self.line}` | {self.megabytes:.0f} |"


def rows() -> list[Row]:
    """The table as it stands in the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    lines = text[text.index(BEGIN) : text.index(END)].splitlines()
    cells = [re.fullmatch(r"\| (\S+) \| (.+) \| (\d) \| `(.+)` \| (\d+) \|", line) for line in lines]
    return [
        Row(key=found[1], story=found[2], code=int(found[3]), line=found[4], megabytes=float(found[5]))
        for found in cells
        if found
    ]


def row(met: Encounter) -> Row:
    """An encounter as a row: its line without what is another at each run, and no longer than it has to be."""
    line = re.sub(r"(?<=:)\d{5}\b", "PORT", met.headline).replace("|", "/").replace("`", "'")
    line = re.sub(r"unix:\S*/", "unix:/…/", line)
    line = re.sub(r" {2,}", " ", line)
    return Row(
        key=met.species.key,
        story=met.species.story,
        code=met.code,
        line=line if len(line) <= LONGEST else line[:LONGEST] + "…",
        megabytes=met.megabytes,
    )


def measured(key: str) -> Row:
    """What a species yields now."""
    with tempfile.TemporaryDirectory() as directory:
        return row(meet(ZOO[key], Path(directory)))


def main(patterns: list[str]) -> None:
    """Meet what is wanted, and keep the other rows."""
    known = {each.key: each for each in rows()}
    wanted = [key for key in ZOO if not patterns or any(re.search(pattern, key) for pattern in patterns)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for each in pool.map(measured, wanted):
            known[each.key] = each
            print(each, flush=True)
    text = DOCUMENT.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    table = HEAD + "".join(f"{known[key]}\n" for key in ZOO if key in known)
    DOCUMENT.write_text(before + BEGIN + table + END + after, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
