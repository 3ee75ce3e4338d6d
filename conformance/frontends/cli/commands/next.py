"""`conformance next`: names the one clause that a provider should implement next."""

from __future__ import annotations

from pathlib import Path

import click

from conformance.frontends.cli.errors import reporting_errors

HELP = """Name the one clause to implement next, for a provider under development.

\b
Examples:
  conformance-run --target 127.0.0.1:9000 --report-dir out
  conformance next out/report.json

RECORD is the report.json or the events.ndjson of a run. Clauses are ordered as a provider is best built: first the
clauses that others rest on, reads before transitions, optional features last. The command shows what the provider does
now, and the calls that prove it.
"""


@click.command("next", help=HELP, short_help="Name the one clause to implement next.")
@click.argument("record", type=click.Path(path_type=Path, dir_okay=False))
@reporting_errors()
def next_command(record: Path) -> None:
    """Names the one clause to implement next."""
    from conformance.lanes.records import read
    from conformance.reporters import next_step

    click.echo("\n".join(next_step.lines(read(record))))
