"""The kill matrix: the behaviours that find each mutant, as causes or consequences, and the rules for it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from conformance.core import catalogue
from conformance.core.catalogue import Level, clause_of
from conformance.reporters.catalogue import escaped
from conformance.results.causes import causes
from conformance.results.result import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from conformance.results.report import Report
    from selftest.mutant import Mutant

MIN_RIGHT_FIRST = 0.96
"""The required share of mutants for which the first reported cause belongs to the clause that they break; 0 to 1."""
AREAS_WITHOUT_MUTANTS = {"SEC": "selftest/test_security.py", "HST": "selftest/test_hosts.py"}
"""The areas whose broken providers are not in `MUTANTS`, but relays, certificates and backends, with their tests."""

OPENING = """\
# The kill matrix

Would the kit notice if your provider did this? Each mutant is the bundled fake provider with one defect. The tables
below are ordered by the clause that a mutant breaks, and show what it does wrong and which behaviours must find it.
`make selftest` runs the whole suite against each mutant, checks that these behaviours find it, and writes
`kill-matrix.json`: the behaviours that fail because of the defect itself, and those that fail as a consequence.
Generated from `selftest/mutants/`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The result of the whole suite on one mutant: the causes in report order, each with its consequences."""

    mutant: str
    clause: str
    causes: tuple[tuple[str, tuple[str, ...]], ...]
    undecided: tuple[str, ...]

    @property
    def right_first(self) -> bool:
        """True if the first reported cause belongs to the broken clause."""
        return bool(self.causes) and clause_of(self.causes[0][0]) == self.clause


def row(mutant: Mutant, report: Report) -> Row:
    """Returns the mutant's row of the matrix."""
    return Row(
        mutant=mutant.name,
        clause=mutant.clause,
        causes=tuple((c.root.id, tuple(sorted(r.id for r in c.consequences))) for c in causes(report.results)),
        undecided=tuple(sorted(result.id for result in report.with_status(Status.ERROR))),
    )


def faults(mutant: Mutant, found: Row) -> list[str]:
    """Returns the differences between the declared and the actual findings."""
    finders = {name for root, others in found.causes for name in (root, *others)}
    problems = [f"{name} does not find it" for name in mutant.found_by if name not in finders]
    if not any(clause_of(name) == mutant.clause for name in mutant.found_by):
        problems.append(f"found_by has no behaviour of {mutant.clause}")
    problems += [
        f"{root} finds it as a cause, but is not declared; consequences: {len(others)}"
        for root, others in found.causes
        # Other behaviours of the same clause may find it too, but they do not draw the case in every run.
        # Those of another clause may find it on their own, if the machines meet so. If that explains nothing else,
        # it misleads no reader, and MIN_RIGHT_FIRST limits how often it comes first.
        if others and root not in (*mutant.found_by, *mutant.also) and clause_of(root) != mutant.clause
    ]
    return problems


def unproven(mutants: Iterable[Mutant]) -> list[str]:
    """Returns the behaviours, except MAY ones, that are not proven by any mutant."""
    proven = {name for mutant in mutants for name in mutant.found_by}
    return [
        entry.id
        for entry in catalogue.load().entries
        if entry.id not in proven and entry.level is not Level.MAY and entry.area not in AREAS_WITHOUT_MUTANTS
    ]


def share_right_first(rows: Sequence[Row]) -> float:
    """Returns the share of the mutants whose first cause belongs to the broken clause; 0 to 1."""
    return sum(found.right_first for found in rows) / max(1, len(rows))


def markdown(mutants: Mapping[str, Mutant]) -> str:
    """Returns the matrix in Markdown: by clause, the description of each mutant and the behaviours that find it."""
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
    """Returns the matrix in JSON, one mutant per line."""
    lines = [json.dumps(asdict(found), ensure_ascii=False) for found in sorted(rows, key=lambda r: r.mutant)]
    return '{"format": 1, "mutants": [\n' + ",\n".join(lines) + "\n]}\n"


def from_dict(data: Mapping[str, Any]) -> Row:
    """Returns a row that was read from JSON."""
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
