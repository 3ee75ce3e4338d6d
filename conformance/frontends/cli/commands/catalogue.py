"""`conformance list` and `conformance show`: the catalogue on the terminal."""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from conformance import lanes
from conformance.core import catalogue
from conformance.core.errors import UsageError
from conformance.frontends.cli import completion
from conformance.frontends.cli.errors import reporting_errors
from conformance.reporters.catalogue import escaped, unjudged

if TYPE_CHECKING:
    from conformance.core.catalogue import Clause, Entry

LIST_HELP = """List what the kit judges: the behaviours of the suite, with id, level and title.

At the end come the clauses of the contract that no behaviour judges yet. A verdict says nothing about them.

\b
Examples:
  conformance list
  conformance list --select 'FEN-*,LIF' --format json
  conformance list --select FLT
"""

SHOW_HELP = """Explain one behaviour: its clause, what the kit observes, what it needs, and how to run it.

\b
Examples:
  conformance show FEN-1a
"""


@click.command("list", help=LIST_HELP, short_help="List the behaviours of the conformance suite.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="Output format.",
)
@click.option(
    "--select",
    multiple=True,
    shell_complete=completion.listed_patterns,
    metavar="WHAT",
    help="List only these behaviours: ids (FEN-3a), clauses (FEN-3), areas (FEN) or globs ('FEN-*'). Separated by "
    "commas, or repeated.",
)
@reporting_errors()
def list_command(form: str, select: tuple[str, ...]) -> None:
    """Lists the behaviours of the suite, then the rest of the contract."""
    entries, open_clauses = _listed(catalogue.patterns(select))
    match form:
        case "json":
            listed = [*map(_entry_dict, entries), *map(_clause_dict, open_clauses)]
            click.echo(json.dumps(listed, indent=1, ensure_ascii=False))
        case "markdown":
            click.echo("| id | level | behaviour |\n|---|---|---|")
            for entry in entries:
                click.echo(f"| {entry.id} | {entry.level} | {entry.title}{_lane_note(entry)} |")
            for clause in open_clauses:
                click.echo(f"| {clause.id} | {clause.level} | *{unjudged(clause)}*: {escaped(clause.text)} |")
        case _:
            for entry in entries:
                click.echo(f"{entry.id:8} {entry.level:6} {entry.title}{_lane_note(entry)}")
            for clause in open_clauses:
                click.echo(f"{clause.id:8} {clause.level:6} {unjudged(clause)}: {clause.text}")


def _listed(patterns: tuple[str, ...]) -> tuple[tuple[Entry, ...], tuple[Clause, ...]]:
    """Returns the behaviours that match (all without a pattern), and the matching clauses that no behaviour judges."""
    known = lanes.whole_catalogue()
    open_clauses = known.unjudged()
    if not patterns:
        return known.entries, open_clauses
    entries: set[str] = set()
    clauses: set[str] = set()
    for pattern in patterns:
        found = {clause.id for clause in known.clauses_named(pattern)} & {clause.id for clause in open_clauses}
        clauses |= found
        with suppress(UsageError) if found else nullcontext():
            entries |= known.match([pattern])
    return (
        tuple(entry for entry in known.entries if entry.id in entries),
        tuple(clause for clause in open_clauses if clause.id in clauses),
    )


def _lane_note(entry: Entry) -> str:
    lane = lanes.lane_of(entry.id)
    return f" (lane {lane.name})" if lane is not None and lane is not lanes.default() else ""


def _entry_dict(entry: Entry) -> dict[str, Any]:
    lane = lanes.lane_of(entry.id) or lanes.default()
    return {
        **asdict(entry),
        "clause": entry.clause.id,
        "needs": list(entry.needs),
        "rests_on": list(entry.rests_on),
        "judged": True,
        "lane": lane.name,
    }


def _clause_dict(clause: Clause) -> dict[str, Any]:
    """Returns a clause that no behaviour judges, with the same keys as a behaviour."""
    return {
        "id": clause.id,
        "clause": clause.id,
        "level": clause.level,
        "title": clause.text,
        "observed": "",
        "since": "",
        "needs": [],
        "rests_on": [],
        "retired": None,
        "judged": False,
        "lane": clause.lane or None,
    }


@click.command("show", help=SHOW_HELP, short_help="Explain one behaviour.")
@click.argument("behaviour", metavar="ID", shell_complete=completion.behaviours)
@reporting_errors()
def show_command(behaviour: str) -> None:
    """Explains one behaviour."""
    lane = lanes.lane_of(behaviour) or lanes.default()
    entry = replace(catalogue.load(), entries=lane.entries())[behaviour]
    click.echo(f"{entry.id}  {entry.title}\n")
    click.echo(click.wrap_text(f"{entry.clause.id} ({entry.level}): {entry.clause.text}", 90, "clause    ", " " * 10))
    if entry.clause.throughout:
        click.echo(click.wrap_text(entry.clause.throughout, 90, "always    ", " " * 10))
    click.echo(click.wrap_text(entry.observed, 90, "observed  ", " " * 10))
    if entry.needs:
        click.echo(f"needs     {', '.join(entry.needs)}; skipped if the provider lacks it")
    if entry.rests_on:
        click.echo(f"rests on  {', '.join(entry.rests_on)}; if one of these fails too, it is the cause")
    click.echo(f"since     {entry.since}")
    words = [*([] if lane is lanes.default() else [f"--lane {lane.name}"])]
    words += [] if "select" in lane.excluded else [f"--select {entry.id}"]
    click.echo(f"run it    conformance-run --target host:port {' '.join(words)}")
