"""`conformance diff`: two runs side by side, of one provider or of two."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from conformance.frontends.cli.errors import reporting_errors

DIFF_HELP = """Compare two runs, of one provider or of two: A, the earlier one or the reference, and B.

\b
  conformance diff old/report.json out/report.json
  conformance diff ours/ theirs/ --format markdown

A and B are a report.json, an events.ndjson or the directory that --report-dir wrote. Two runs of one provider show
nothing: ids, times, seeds and drawn names are no difference, nor is it whether something quick was seen in time.

\b
Exit codes:
  0  nothing differs
  1  something does
  2  usage
"""


@click.command("diff", help=DIFF_HELP)
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("b", metavar="B", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
@click.option(
    "--all", "everything", is_flag=True, help="Also what fails in both or was seen in one only, and what got slower."
)
@reporting_errors()
def diff_command(a: Path, b: Path, form: str, everything: bool) -> None:
    """Compare two runs, of one provider or of two."""
    from conformance.lanes.records import read
    from conformance.reporters import comparison, json_report
    from conformance.results.compare import compare

    found = compare(read(recorded(a)), read(recorded(b)), names=(str(a), str(b)))
    match form:
        case "json":
            click.echo(json_report.dumps(comparison.as_dict(found), indent=1))
        case "markdown":
            click.echo(comparison.markdown(found, everything=everything), nl=False)
        case _:
            click.echo(comparison.text(found, everything=everything), nl=False)
    sys.exit(1 if found.differs else 0)


def recorded(path: Path) -> Path:
    """The record in a report directory: its report.json, or where the run never came to that, its events.ndjson."""
    if not path.is_dir():
        return path
    report = path / "report.json"
    return report if report.is_file() and report.stat().st_size else path / "events.ndjson"
