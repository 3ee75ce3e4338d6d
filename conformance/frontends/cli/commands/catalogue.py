"""`conformance list` and `conformance show`: the catalogue on the terminal."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from conformance import lanes
from conformance.core import catalogue
from conformance.frontends.cli import completion
from conformance.frontends.cli.errors import reporting_errors

if TYPE_CHECKING:
    from conformance.core.catalogue import Entry

LIST_HELP = """List the behaviours of the conformance suite, with id, level and title.

\b
Examples:
  conformance list
  conformance list --select 'FEN-*,LIF' --format json
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
    shell_complete=completion.patterns,
    metavar="WHAT",
    help="List only these behaviours: ids (FEN-3a), clauses (FEN-3), areas (FEN) or globs ('FEN-*'). Separated by "
    "commas, or repeated.",
)
@reporting_errors()
def list_command(form: str, select: tuple[str, ...]) -> None:
    """Lists the behaviours of the suite."""
    entries = catalogue.load().select(catalogue.patterns(select), ())
    match form:
        case "json":
            click.echo(json.dumps([_entry_dict(entry) for entry in entries], indent=1, ensure_ascii=False))
        case "markdown":
            click.echo("| id | level | behaviour |\n|---|---|---|")
            for entry in entries:
                click.echo(f"| {entry.id} | {entry.level} | {entry.title} |")
        case _:
            for entry in entries:
                click.echo(f"{entry.id:8} {entry.level:6} {entry.title}")


def _entry_dict(entry: Entry) -> dict[str, Any]:
    return {**asdict(entry), "clause": entry.clause.id, "needs": list(entry.needs), "rests_on": list(entry.rests_on)}


@click.command("show", help=SHOW_HELP, short_help="Explain one behaviour.")
@click.argument("behaviour", metavar="ID", shell_complete=completion.behaviours)
@reporting_errors()
def show_command(behaviour: str) -> None:
    """Explains one behaviour."""
    lane = lanes.lane_of(behaviour) or lanes.default()
    entry = replace(catalogue.load(), entries=lane.entries())[behaviour]
    click.echo(f"{entry.id}  {entry.title}\n")
    click.echo(click.wrap_text(f"{entry.clause.id} ({entry.level}): {entry.clause.text}", 90, "clause    ", " " * 10))
    click.echo(click.wrap_text(entry.observed, 90, "observed  ", " " * 10))
    if entry.needs:
        click.echo(f"needs     {', '.join(entry.needs)}; skipped if the provider lacks it")
    if entry.rests_on:
        click.echo(f"rests on  {', '.join(entry.rests_on)}; if one of these fails too, it is the cause")
    click.echo(f"since     {entry.since}")
    option = f"--select {entry.id}" if lane.needs_plan else f"--lane {lane.name}"
    click.echo(f"run it    conformance-run --target host:port {option}")
