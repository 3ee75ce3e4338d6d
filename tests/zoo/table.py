"""`python -m tests.zoo.table [PATTERN…]`: runs the kit against every species and updates the table in the document."""

from __future__ import annotations

import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.zoo.encounter import CONCURRENT_RUNS, Encounter, run_against
from tests.zoo.species import ZOO

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- zoo -->\n", "<!-- end of the zoo -->\n"
HEAD = "| species | what it does | exit | what the kit says first | MB |\n|---|---|---:|---|---:|\n"
MAX_LINE_CHARACTERS = 330
"""The maximum length of a line of output in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The result of a run against one species."""

    key: str
    story: str
    code: int
    line: str
    megabytes: float

    def __str__(self) -> str:
        return f"| {self.key} | {self.story} | {self.code} | `{self.line}` | {self.megabytes:.0f} |"


def rows() -> list[Row]:
    """Returns the rows of the table in the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    lines = text[text.index(BEGIN) : text.index(END)].splitlines()
    cells = [re.fullmatch(r"\| (\S+) \| (.+) \| (\d) \| `(.+)` \| (\d+) \|", line) for line in lines]
    return [
        Row(key=found[1], story=found[2], code=int(found[3]), line=found[4], megabytes=float(found[5]))
        for found in cells
        if found
    ]


def row(encounter: Encounter) -> Row:
    """Returns the row of an encounter; its line is shortened and has no parts that differ from run to run."""
    line = re.sub(r"(?<=:)\d{5}\b", "PORT", encounter.headline).replace("|", "/").replace("`", "'")
    line = re.sub(r"unix:\S*/", "unix:/…/", line)
    line = re.sub(r" {2,}", " ", line)
    return Row(
        key=encounter.species.key,
        story=encounter.species.story,
        code=encounter.code,
        line=line if len(line) <= MAX_LINE_CHARACTERS else line[:MAX_LINE_CHARACTERS] + "…",
        megabytes=encounter.megabytes,
    )


def measure(key: str) -> Row:
    """Runs the kit against a species and returns its row."""
    with tempfile.TemporaryDirectory() as directory:
        return row(run_against(ZOO[key], Path(directory)))


def main(patterns: list[str]) -> None:
    """Runs the kit against the species that match a pattern; keeps the rows of the others."""
    known = {each.key: each for each in rows()}
    wanted = [key for key in ZOO if not patterns or any(re.search(pattern, key) for pattern in patterns)]
    with ThreadPoolExecutor(CONCURRENT_RUNS) as pool:
        for each in pool.map(measure, wanted):
            known[each.key] = each
            print(each, flush=True)
    text = DOCUMENT.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    table = HEAD + "".join(f"{known[key]}\n" for key in ZOO if key in known)
    DOCUMENT.write_text(before + BEGIN + table + END + after, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
