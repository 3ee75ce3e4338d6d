"""`conformance next`: for whoever writes a provider: the one clause to do next."""

from __future__ import annotations

from pathlib import Path

import click

from conformance.frontends.cli.errors import reporting_errors

HELP = """Name the one clause to do next, for a provider that is being written.

\b
  conformance-run --target 127.0.0.1:9000 --report-dir out
  conformance next out/report.json

RECORD is the report.json or the events.ndjson of a run. Clauses come in the order in which a provider is best built:
what others rest on first, what can be read before what is driven, the optional last. What is seen of it now is shown,
and the calls that show it.
"""


@click.command("next", help=HELP)
@click.argument("record", type=click.Path(path_type=Path, dir_okay=False))
@reporting_errors()
def next_command(record: Path) -> None:
    """Name the one clause to do next."""
    from conformance.lanes.records import read
    from conformance.reporters import next_step

    click.echo("\n".join(next_step.lines(read(record))))
