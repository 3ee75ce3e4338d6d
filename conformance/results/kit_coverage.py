"""The clauses that a release of the kit can judge, as a report records them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class KitCoverage:
    """The lane of a run, and the clauses that each lane of the kit judges. Empty if a record does not have them."""

    lane: str = ""
    lanes: dict[str, tuple[str, ...]] = field(default_factory=dict)
