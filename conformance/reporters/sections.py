"""Writes the sections of a lane's figures as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.results.lane_figures import Section


def lines(sections: Iterable[Section], *, tables: bool = True) -> list[str]:
    """Returns the sections as lines, each after its title; `tables=False` omits the tables."""
    return [
        f"{section.title:10} {line}".rstrip()
        for section in sections
        for line in (*section.lines, *(table(section) if tables else ()))
    ]


def table(section: Section) -> list[str]:
    """Returns the table of a section in aligned lines: the first column to the left, numbers to the right."""
    rows = [row for row in (section.columns, *section.rows) if row]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]
