"""The catalogue as a document: every clause with the behaviours that judge it, and how each looks."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.catalogue import Catalogue, Clause, Entry

AREAS = {
    "WIR": "The wire",
    "LIF": "The lifecycle",
    "OPS": "Operation ids",
    "COD": "Codes",
    "FEN": "Fencing",
    "MET": "Metadata",
    "LST": "List and revisions",
    "SHP": "Shape and cost",
    "SEC": "Transport security",
}

OPENING = """\
# The catalogue

What the kit judges, clause by clause; `conformance show ID` says the same on the terminal. Generated from
`conformance/catalogue.toml` by `make generate`.

A broken MUST makes a provider non-conformant, a broken SHOULD is a warning, a MAY is reported and never judged. A
behaviour that needs what the provider legally lacks is skipped."""


def render(catalogue: Catalogue) -> str:
    """The catalogue as Markdown."""
    blocks = [OPENING, _contents(catalogue)]
    for area, clauses in groupby(catalogue.clauses, key=_area):
        blocks.append(f"## {area}: {AREAS[area]}")
        for clause in clauses:
            entries = [entry for entry in catalogue.entries if entry.clause.id == clause.id]
            blocks.append(f"### {clause.id} ({clause.level})\n\n{escaped(clause.text)}")
            if entries:
                blocks.append("\n".join(_bullet(entry) for entry in entries))
    return "\n\n".join(blocks) + "\n"


def _contents(catalogue: Catalogue) -> str:
    rows = ["| area | about | clauses | behaviours |", "|---|---|---:|---:|"]
    for area, clauses in groupby(catalogue.clauses, key=_area):
        behaviours = sum(entry.area == area for entry in catalogue.entries)
        rows.append(f"| {area} | {AREAS[area]} | {len(list(clauses))} | {behaviours} |")
    rows.append(f"| | | {len(catalogue.clauses)} | {len(catalogue.entries)} |")
    return "\n".join(rows)


def _area(clause: Clause) -> str:
    return clause.id.partition("-")[0]


def _bullet(entry: Entry) -> str:
    level = f" *{entry.level}*" if entry.level is not entry.clause.level else ""
    needs = f" Needs: {', '.join(entry.needs)}." if entry.needs else ""
    rests = f" Rests on {', '.join(_link(name) for name in entry.rests_on)}." if entry.rests_on else ""
    words = f"{escaped(entry.title)}. {escaped(entry.observed)}{needs}{rests}"
    return f'- <a id="{entry.id.lower()}"></a>**{entry.id}**{level} {words}'


def _link(behaviour_id: str) -> str:
    return f"[{behaviour_id}](#{behaviour_id.lower()})"


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is: a clause speaks of `shard_metadata` and of `*`."""
    return "".join(f"\\{c}" if c in "\\`*_<>|" else c for c in text)
