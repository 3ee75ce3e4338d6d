"""The kill matrix: which behaviours find which mutants, as causes or as consequences, and what must be true of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from conformance.core import catalogue
from conformance.core.catalogue import Level, clause_of
from conformance.reporters.catalogue import escaped
from conformance.results.result import Status, causes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from conformance.results.report import Report
    from selftest.mutant import Mutant

RIGHT_FIRST = 0.95
"""For so many of the mutants, at least, the first cause that is named belongs to the clause that they break."""
ELSEWHERE = ("SEC",)
"""Areas whose broken providers are relays and certificates, not mutants of the fake: test_security.py has them."""

OPENING = """\
# The kill matrix

Would the kit notice if your provider did this? Each mutant is the bundled fake provider with one defect. The tables
below are ordered by the clause that a mutant breaks, and show what it does wrong and which behaviours must find it.
`make selftest` runs the whole suite against each mutant, checks that these behaviours find it, and writes
`kill-matrix.json`: the behaviours that fail because of the defect itself, and those that fail as a consequence.
Generated from `selftest/mutants/`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the whole suite found in one mutant: the causes in the order of the report, each with its consequences."""

    mutant: str
    clause: str
    causes: tuple[tuple[str, tuple[str, ...]], ...]
    undecided: tuple[str, ...]

    @property
    def right_first(self) -> bool:
        """Whether the first cause that is named is of the clause that is broken."""
        return bool(self.causes) and clause_of(self.causes[0][0]) == self.clause


def row(mutant: Mutant, report: Report) -> Row:
    """The mutant's row of the matrix."""
    return Row(
        mutant=mutant.name,
        clause=mutant.clause,
        causes=tuple((c.root.id, tuple(sorted(r.id for r in c.consequences))) for c in causes(report.results)),
        undecided=tuple(sorted(result.id for result in report.with_status(Status.ERROR))),
    )


def faults(mutant: Mutant, found: Row) -> list[str]:
    """What is wrong with how the mutant was found; nothing where all is well."""
    seen = {name for root, others in found.causes for name in (root, *others)}
    said = [f"{name} does not find it" for name in mutant.found_by if name not in seen]
    if not any(clause_of(name) == mutant.clause for name in mutant.found_by):
        said.append(f"nobody who judges {mutant.clause} is said to find it")
    said += [
        f"{root} finds it by itself, and is not said to; {len(others)} follow from that"
        for root, others in found.causes
        # Another behaviour of the very clause is right, and need not always draw the case.
        if root not in (*mutant.found_by, *mutant.also) and clause_of(root) != mutant.clause
    ]
    return said


def unproven(mutants: Iterable[Mutant]) -> list[str]:
    """The behaviours that decide or warn, and of which no mutant shows that they bite."""
    bites = {name for mutant in mutants for name in mutant.found_by}
    return [
        entry.id
        for entry in catalogue.load().entries
        if entry.id not in bites and entry.level is not Level.MAY and entry.area not in ELSEWHERE
    ]


def share_right_first(rows: Sequence[Row]) -> float:
    """The share of the mutants whose first cause belongs to the broken clause; 0 to 1."""
    return sum(found.right_first for found in rows) / max(1, len(rows))


def markdown(mutants: Mapping[str, Mutant]) -> str:
    """The matrix for people: by clause, each mutant in words, and who finds it."""
    blocks = [OPENING, f"{len(mutants)} mutants, {len(catalogue.load().entries)} behaviours."]
    for clause in catalogue.load().clauses:
        broken = sorted((m for m in mutants.values() if m.clause == clause.id), key=lambda m: m.name)
        if broken:
            head = f"## {clause.id}\n\n{escaped(clause.text)}"
            table = ["| what the provider does wrong | behaviours that find it |", "|---|---|"]
            table += [f"| {_story(mutant)} | {', '.join(map(_link, mutant.found_by))} |" for mutant in broken]
            blocks += [head, "\n".join(table)]
    return "\n\n".join(blocks) + "\n"


def as_json(rows: Iterable[Row]) -> str:
    """The matrix for programs, a mutant a line."""
    lines = [json.dumps(asdict(found), ensure_ascii=False) for found in sorted(rows, key=lambda r: r.mutant)]
    return '{"format": 1, "mutants": [\n' + ",\n".join(lines) + "\n]}\n"


def from_dict(data: Mapping[str, Any]) -> Row:
    """A row as JSON held it."""
    return Row(
        mutant=data["mutant"],
        clause=data["clause"],
        causes=tuple((root, tuple(others)) for root, others in data["causes"]),
        undecided=tuple(data["undecided"]),
    )


def _story(mutant: Mutant) -> str:
    return f"{escaped(' '.join(mutant.story.split()))} <br>`{mutant.name}`"


def _link(behaviour_id: str) -> str:
    return f"[{behaviour_id}](catalogue.md#{behaviour_id.lower()})"
