"""The sections of the contract that contain clauses, each with its area: the three letters of its clauses' ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A numbered section of the contract."""

    area: str
    number: int
    title: str

    def __str__(self) -> str:
        return f"§{self.number} {self.area}"


SECTIONS: Final = {
    area: Section(area=area, number=number, title=title)
    for number, area, title in (
        (1, "WIR", "The wire"),
        (2, "LIF", "The lifecycle"),
        (3, "OPS", "Operation ids"),
        (4, "COD", "Codes"),
        (5, "FEN", "Fencing"),
        (6, "MET", "Metadata"),
        (7, "LST", "List and revisions"),
        (8, "SHP", "Shape and cost"),
        (9, "FLT", "Failure"),
        (10, "DUR", "Durability"),
        (11, "SEC", "Transport security"),
        (13, "ROL", "Rollout and failover"),
        (14, "HST", "The backend's hosts"),
    )
}
"""The sections by area, in the contract's order. Section 12 describes the caller, and has no clauses."""


def names(areas: Iterable[str]) -> str:
    """Returns the sections of some areas as text: `§9 FLT, §10 DUR`."""
    return ", ".join(str(SECTIONS[area]) for area in areas)
