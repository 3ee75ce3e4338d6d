"""The sections of a lane's figures as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.results.lane_figures import Section


def lines(sections: Iterable[Section], *, tables: bool = True) -> list[str]:
    """Returns the sections in lines, each after its title; without `tables` for a format that draws them itself."""
    return [
        f"{section.title:10} {line}".rstrip()
        for section in sections
        for line in (*section.lines, *(table(section) if tables else ()))
    ]


def table(section: Section) -> list[str]:
    """Returns the table of a section in aligned lines: the first column to the left, numbers to the right."""
    rows = [row for row in (section.columns, *section.rows) if row]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(width) if number else cell.ljust(width) for number, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, wide, strict=True)) for row in rows)
    ]
