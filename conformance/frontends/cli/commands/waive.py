"""`conformance waive`: writes waivers for the failures of a run, without reason and owner."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conformance.core.errors import UsageError
from conformance.frontends.cli.errors import reporting_errors

if TYPE_CHECKING:
    from conformance.results.report import Report
    from conformance.results.result import Result
    from conformance.results.waivers import Waiver

WAIVE_HELP = """Write waivers for the failures of a run: for all, or only for IDS (ids, clauses, areas or globs).

\b
Examples:
  conformance waive --from out/report.json
  conformance waive --from out/report.json FEN-3a --expires 2031-03-31

A waiver tolerates one failure until a date. The command leaves its reason and its owner empty, and a run rejects it
until you fill them in. A waiver fails the run once the behaviour passes, fails in another way, or the date has passed.
"""
DEFAULT_TERM = timedelta(days=30)
HEAD = "# Failures that are tolerated until they are fixed. See `conformance waive --help`.\n"


@click.command("waive", help=WAIVE_HELP, short_help="Write waivers, which tolerate the failures of a run.")
@click.argument("ids", nargs=-1, metavar="[IDS]...")
@click.option(
    "--from",
    "record",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the failures from this report.json or events.ndjson.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    default="conformance-waivers.toml",
    show_default=True,
    metavar="FILE",
    help="Append the waivers to this file; - prints them.",
)
@click.option(
    "--expires",
    metavar="DATE",
    help="Last day on which the waivers apply, as 2031-12-31. [default: 30 days from now]",
)
@reporting_errors()
def waive_command(ids: tuple[str, ...], record: Path, output: Path, expires: str | None) -> None:
    """Writes waivers for the failures of a run."""
    from conformance.core.text import quantity
    from conformance.lanes.records import read
    from conformance.results import waivers
    from conformance.results.waivers import new_waiver

    try:
        day = datetime.fromisoformat(expires).date() if expires else datetime.now(UTC).date() + DEFAULT_TERM
    except ValueError:
        raise UsageError(f"--expires {expires}: not a date", hint="write it as 2031-12-31") from None
    failed = failures_of(read(record), ids)
    if not failed:
        raise UsageError(f"{record} has no failures", hint="there is nothing to waive")
    to_stdout = str(output) == "-"
    existing = waivers.raw(output) if not to_stdout and output.exists() else {}
    added = []
    for waiver in (new_waiver(result, expires=day) for result in failed):
        known = existing.get(waiver.id)
        if known is None:
            added.append(waiver)
        elif known.get("fingerprint") != waiver.fingerprint:
            raise UsageError(f"{output}: {waiver.id} is waived for another failure", hint="remove that entry first")
    text = "\n".join(map(as_toml, added))
    if to_stdout:
        click.echo(text, nl=False)
        return
    if added:
        _append(output, text)
    kept = len(failed) - len(added)
    click.echo(f"{output}: {quantity(len(added), 'waiver')} added" + (f", {kept} already there" if kept else ""))
    if added:
        click.echo("fill in reason and owner: until then a run rejects the file")


def failures_of(report: Report, ids: tuple[str, ...]) -> tuple[Result, ...]:
    """Returns the failures and warnings of a run, or those that `ids` match. Raises UsageError if one matches none."""
    from conformance.core import catalogue
    from conformance.results.result import Status

    broken = report.with_status(Status.FAILED, Status.WARNED)
    if not ids:
        return broken
    judged = catalogue.Catalogue(clauses=(), entries=tuple(result.entry for result in report.results))
    status_of = {result.id: result.status for result in report.results}
    selected: set[str] = set()
    for pattern in catalogue.patterns(ids):
        matching = judged.match([pattern])
        failed = matching & {result.id for result in broken}
        if not failed:
            statuses = {"not judged" if status_of[id_] is Status.ERROR else str(status_of[id_]) for id_ in matching}
            raise UsageError(
                f"{pattern} did not fail in that run: {', '.join(sorted(statuses))}",
                hint="only failures can be waived",
            )
        selected |= failed
    return tuple(result for result in broken if result.id in selected)


def as_toml(waiver: Waiver) -> str:
    """Returns a waiver as TOML."""
    from conformance.reporters.json_report import dumps

    return (
        f"[waiver.{waiver.id}]\n"
        f"reason = {dumps(waiver.reason)}\n"
        f"owner = {dumps(waiver.owner)}\n"
        f"expires = {waiver.expires}\n"
        f"fingerprint = {dumps(waiver.fingerprint)}\n"
        f"failure = {dumps(waiver.failure)}\n"
    )


def _append(path: Path, text: str) -> None:
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else HEAD
        if not before.endswith("\n"):
            before += "\n"
        path.write_text(f"{before}\n{text}", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="choose another --output") from error
