"""`conformance waive`: entries for the failures of a run, to be filled in by those who answer for them."""

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

WAIVE_HELP = """Write waivers for what failed in a run: all of it, or only IDS (ids, clauses, areas or globs).

\b
  conformance waive --from out/report.json
  conformance waive --from out/report.json FEN-3a --expires 2031-03-31

A waiver tolerates one failure until a day. Its reason and its owner are left empty, and a run refuses it until they
are filled in: somebody answers for it. It fails the run when the behaviour passes, fails differently, or its day has
passed.
"""
MONTH = timedelta(days=30)
HEAD = "# Failures that are tolerated until they are mended. See `conformance waive --help`.\n"


@click.command("waive", help=WAIVE_HELP)
@click.argument("ids", nargs=-1, metavar="[IDS]...")
@click.option(
    "--from",
    "record",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A report.json or events.ndjson.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    default="conformance-waivers.toml",
    show_default=True,
    metavar="FILE",
    help="Where the entries are added; - for the standard output.",
)
@click.option("--expires", metavar="DAY", help="The last day on which they hold. [default: 30 days from now]")
@reporting_errors()
def waive_command(ids: tuple[str, ...], record: Path, output: Path, expires: str | None) -> None:
    """Write waivers for what failed in a run."""
    from conformance.lanes.records import read
    from conformance.results import waivers
    from conformance.results.waivers import new_waiver

    try:
        day = datetime.fromisoformat(expires).date() if expires else datetime.now(UTC).date() + MONTH
    except ValueError:
        raise UsageError(f"--expires {expires}: no day", hint="write it as 2031-12-31") from None
    failed = chosen(read(record), ids)
    if not failed:
        raise UsageError(f"nothing failed in {record}", hint="there is nothing to waive")
    aside = str(output) == "-"
    there = waivers.raw(output) if not aside and output.exists() else {}
    entries = []
    for each in (new_waiver(result, expires=day) for result in failed):
        known = there.get(each.id)
        if known is None:
            entries.append(each)
        elif known.get("fingerprint") != each.fingerprint:
            raise UsageError(f"{output}: {each.id} is waived for another failure", hint="take that entry out first")
    text = "\n".join(map(written, entries))
    if aside:
        click.echo(text, nl=False)
        return
    if entries:
        _append(output, text)
    left = len(failed) - len(entries)
    click.echo(f"{output}: {len(entries)} waivers added" + (f", {left} were there already" if left else ""))
    if entries:
        click.echo("fill in reason and owner: a run refuses them until then")


def chosen(report: Report, ids: tuple[str, ...]) -> tuple[Result, ...]:
    """The failures and warnings of a run, or those of them that `ids` name. Raises UsageError where none is named."""
    from conformance.core import catalogue
    from conformance.results.result import Status

    broken = report.with_status(Status.FAILED, Status.WARNED)
    if not ids:
        return broken
    ended = {result.id: result.status for result in report.results}
    wanted: set[str] = set()
    for pattern in catalogue.patterns(ids):
        named = catalogue.Catalogue(clauses=(), entries=tuple(result.entry for result in report.results)).match(
            [pattern]
        )
        failed = named & {result.id for result in broken}
        if not failed:
            how = ", ".join(
                sorted({"not judged" if ended[name] is Status.ERROR else str(ended[name]) for name in named})
            )
            raise UsageError(f"{pattern} did not fail in that run: {how}", hint="only what failed can be waived")
        wanted |= failed
    return tuple(result for result in broken if result.id in wanted)


def written(waiver: Waiver) -> str:
    """A waiver as TOML."""
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
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="give another --output") from error
