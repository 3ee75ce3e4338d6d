"""`conformance render`: renders the record of an earlier run in any format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conformance.core.errors import UsageError
from conformance.frontends.cli.errors import reporting_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conformance.results.certificate import Certificate
    from conformance.results.report import Report

RENDER_HELP = """Render the record of an earlier run, the report.json or events.ndjson that --report-dir wrote, or the
certificate.json of --lane all.

\b
Examples:
  conformance render out/report.json
  conformance render out/report.json --html report.html
  conformance render out/events.ndjson --md summary.md --junit junit.xml
  conformance render out/report.json --md - >> "$GITHUB_STEP_SUMMARY"
  conformance render out/certificate.json --html certificate.html

Without an option, the command prints what the run printed at its end. The log of a run that was killed can be rendered
too; the report then says that it is incomplete, and the remaining behaviours are not judged. PATH may be -, for
standard output.

\b
Exit codes:
  0  rendered, for any verdict
  2  FILE is neither a run record nor a certificate, or a PATH cannot be
     written
"""

FORMATS = {
    "html": ("report.html", "a self-contained HTML page"),
    "md": ("report.md", "Markdown for a pull request or the summary of a CI job"),
    "junit": ("junit.xml", "JUnit XML"),
    "badge": ("badge.json", "an endpoint badge of shields.io"),
    "json": ("report.json", "report.json"),
}
"""The options: the file in a report directory, and its description."""


def _format_options(command: Callable[..., None]) -> Callable[..., None]:
    for name, (_, description) in reversed(FORMATS.items()):
        path = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
        help_text = f"Write {description} to this file."
        command = click.option(f"--{name}", type=path, metavar="PATH", help=help_text)(command)
    return command


@click.command("render", help=RENDER_HELP, short_help="Render an earlier run, or a certificate, in another format.")
@click.argument("file", type=click.Path(path_type=Path))
@_format_options
@click.option("-v", "--verbose", is_flag=True, help="Print every behaviour and every call on the terminal.")
@click.option("--color/--no-color", default=None, help="Force or disable colours. [default: depends on the terminal]")
@reporting_errors()
def render_command(file: Path, verbose: bool, color: bool | None, **paths: Path | None) -> None:
    """Renders the record of an earlier run."""
    from conformance.lanes import records
    from conformance.reporters import report_dir

    wanted = {name: path for name, path in paths.items() if path is not None}
    certificate = records.read_certificate(file)
    if certificate is not None:
        _render_certificate(certificate, wanted, source=file)
        return
    report = records.read(file)
    for name, path in wanted.items():
        _write(name, path, report_dir.FORMATS[FORMATS[name][0]](report), source=file)
    if not wanted:
        _show(report, verbose=verbose, color=color)


def _render_certificate(certificate: Certificate, wanted: Mapping[str, Path], *, source: Path) -> None:
    from conformance.reporters import certificate as reporter
    from conformance.reporters import certificate_files

    for name, path in wanted.items():
        render = certificate_files.FORMATS.get(FORMATS[name][0].replace("report.", "certificate."))
        if render is None:
            raise UsageError(f"--{name}: {source} is a certificate", hint="render the report.json of one of its lanes")
        _write(name, path, render(certificate), source=source)
    if not wanted:
        for line in reporter.lines(certificate):
            click.echo(line)


def _write(name: str, path: Path, text: str, *, source: Path) -> None:
    if str(path) == "-":
        sys.stdout.write(text)
        return
    try:
        if path.exists() and path.samefile(source):
            raise UsageError(f"--{name} {path} would overwrite the record", hint="choose another path")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--{name} {path}: {error.strerror}", hint="choose a writable path") from error


def _show(report: Report, *, verbose: bool, color: bool | None) -> None:
    """Prints what the run printed at its end; if `verbose`, also what it printed while it ran."""
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
