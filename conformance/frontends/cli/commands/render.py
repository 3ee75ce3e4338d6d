"""`conformance render`: an old run again, in any of the formats."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conformance.core.errors import UsageError
from conformance.frontends.cli.errors import reporting_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.results.report import Report

RENDER_HELP = """Render an old run again, from the report.json or the events.ndjson that --report-dir wrote.

\b
  conformance render out/report.json --html report.html
  conformance render out/events.ndjson --md summary.md --junit junit.xml
  conformance render out/report.json --md - >> "$GITHUB_STEP_SUMMARY"

Without an option it is what the run printed at its end. The log of a run that died is rendered too: what it holds is
there, the rest was not judged, and that is said. PATH - is standard output.

\b
Exit codes:
  0  rendered, whatever the run's verdict was
  2  FILE is not a run record, or a PATH cannot be written
"""

FORMATS = {
    "html": ("report.html", "HTML for people, in one file"),
    "md": ("report.md", "Markdown for a pull request or a CI job's summary"),
    "junit": ("junit.xml", "JUnit XML"),
    "badge": ("badge.json", "shields.io's endpoint badge"),
    "json": ("report.json", "report.json"),
}
"""By option: the file of a report directory that is written, and what it is."""


def _format_options(command: Callable[..., None]) -> Callable[..., None]:
    for name, (_, what) in reversed(FORMATS.items()):
        path = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
        command = click.option(f"--{name}", type=path, metavar="PATH", help=f"Write {what} here.")(command)
    return command


@click.command("render", help=RENDER_HELP)
@click.argument("file", type=click.Path(path_type=Path))
@_format_options
@click.option("-v", "--verbose", is_flag=True, help="Every behaviour and every call, on the terminal.")
@click.option("--color/--no-color", default=None, help="Colours. [default: as the terminal is]")
@reporting_errors()
def render_command(file: Path, verbose: bool, color: bool | None, **paths: Path | None) -> None:
    """Render an old run again."""
    from conformance.lanes import records

    report = records.read(file)
    wanted = {name: path for name, path in paths.items() if path is not None}
    for name, path in wanted.items():
        _write(name, path, report, source=file)
    if not wanted:
        _show(report, verbose=verbose, color=color)


def _write(name: str, path: Path, report: Report, *, source: Path) -> None:
    from conformance.reporters import report_dir

    text = report_dir.FORMATS[FORMATS[name][0]](report)
    if str(path) == "-":
        sys.stdout.write(text)
        return
    try:
        if path.exists() and path.samefile(source):
            raise UsageError(f"--{name} {path} is the record itself", hint="give another path")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--{name} {path}: {error.strerror}", hint="give a path that can be written") from error


def _show(report: Report, *, verbose: bool, color: bool | None) -> None:
    """What the run showed when it was over; with `verbose` also what it showed on its way."""
    from rich.console import Console

    from conformance.reporters import terminal
    from conformance.reporters.progress import Live
    from conformance.results import events

    console = Console(
        force_terminal=color or None,
        no_color=True if color is False else None,
        highlight=False,
        emoji=False,
        markup=False,
    )
    for line in terminal.heading(report):
        click.echo(line)
    live = Live(console, verbose=verbose)
    if verbose:
        click.echo()
        for result in report.results:
            live(events.BehaviourFinished(result=result))
        for note in report.notes:
            live(events.Noted(at=0.0, text=note))
    live(events.RunFinished(report=report))
