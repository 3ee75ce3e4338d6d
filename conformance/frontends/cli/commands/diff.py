"""`conformance diff`: compares two runs, of one provider or of two."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from conformance.frontends.cli.errors import reporting_errors

DIFF_HELP = """Compare two runs, of one provider or of two: A, the earlier one or the reference, and B.

\b
Examples:
  conformance diff old/report.json out/report.json
  conformance diff ours/ theirs/ --format markdown

A and B are each a report.json, an events.ndjson, or a directory written by --report-dir. Values that change from run
to run are not compared: ids, times, seeds, generated names, and whether a short state was observed in time. So two
runs of the same provider do not differ.

\b
Exit codes:
  0  the runs do not differ
  1  the runs differ
  2  usage error
"""


@click.command("diff", help=DIFF_HELP, short_help="Compare two runs, of one provider or of two.")
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("b", metavar="B", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="Output format.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also show failures of both runs, traits observed in one run only, and calls that became slower.",
)
@reporting_errors()
def diff_command(a: Path, b: Path, form: str, everything: bool) -> None:
    """Compares two runs, of one provider or of two."""
    from conformance.lanes.records import read
    from conformance.reporters import comparison, json_report
    from conformance.results.compare import compare

    compared = compare(read(record_in(a)), read(record_in(b)), names=(str(a), str(b)))
    match form:
        case "json":
            click.echo(json_report.dumps(comparison.as_dict(compared), indent=1))
        case "markdown":
            click.echo(comparison.markdown(compared, everything=everything), nl=False)
        case _:
            click.echo(comparison.text(compared, everything=everything), nl=False)
    sys.exit(1 if compared.differs else 0)


def record_in(path: Path) -> Path:
    """Returns the record in a report directory: report.json, or events.ndjson if the run did not finish."""
    if not path.is_dir():
        return path
    report = path / "report.json"
    return report if report.is_file() and report.stat().st_size else path / "events.ndjson"
