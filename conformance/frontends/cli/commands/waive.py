"""`conformance waive`: writes waivers for the failures of a run, one for each cause."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conformance.core.errors import UsageError
from conformance.frontends.cli.errors import reporting_errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from conformance.results.report import Report
    from conformance.results.result import Result
    from conformance.results.waivers import Waiver

WAIVE_HELP = """Write waivers for the failures of a run: for all, or only for IDS (ids, clauses, areas or globs).

\b
Examples:
  conformance waive --from out/report.json --reason PROV-12 --owner "fleet team"
  conformance waive --from out/report.json FEN-3a --expires 2031-03-31

A waiver tolerates one failure until a date, and with it the failures that follow from it and the behaviours that were
not judged because of it. Each cause gets one waiver. Without --reason or --owner they stay empty, and a run rejects the
file until you fill them in. A waiver fails the run once the behaviour passes, fails in another way, or the date has
passed.
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
@click.option("--reason", default="", metavar="TEXT", help="Why the failures are tolerated, such as a ticket.")
@click.option("--owner", default="", metavar="TEXT", help="The person or team that fixes the failures.")
@reporting_errors()
def waive_command(
    ids: tuple[str, ...], record: Path, output: Path, expires: str | None, reason: str, owner: str
) -> None:
    """Writes waivers for the failures of a run."""
    from conformance.core.text import quantity
    from conformance.lanes.records import read
    from conformance.results import waivers
    from conformance.results.fingerprint import identifies

    try:
        day = datetime.fromisoformat(expires).date() if expires else datetime.now(UTC).date() + DEFAULT_TERM
    except ValueError:
        raise UsageError(f"--expires {expires}: not a date", hint="write it as 2031-12-31") from None
    report = read(record)
    failed = failures_of(report, ids)
    if not failed:
        raise UsageError(f"{record} has no failures", hint="there is nothing to waive")
    to_stdout = str(output) == "-"
    existing = waivers.raw(output) if not to_stdout and output.exists() else {}
    needed = waivers_for(report, failed, expires=day, reason=" ".join(reason.split()), owner=" ".join(owner.split()))
    added = []
    for waiver, result in needed:
        known = existing.get(waiver.id)
        if known is None:
            added.append(waiver)
        elif not identifies(str(known.get("fingerprint")), result):
            raise UsageError(f"{output}: {waiver.id} is waived for another failure", hint="remove that entry first")
    text = "\n".join(map(as_toml, added))
    if to_stdout:
        click.echo(text, nl=False)
        return
    if added:
        _append(output, text)
    kept = len(needed) - len(added)
    covers = sum(len(waiver.covers) for waiver in added)
    click.echo(
        f"{output}: {quantity(len(added), 'waiver')} added"
        + (f", covering {quantity(covers, 'other behaviour')}" if covers else "")
        + (f", {kept} already there" if kept else "")
    )
    missing = " and ".join(name for name, given in (("reason", reason), ("owner", owner)) if not given.strip())
    if added and missing:
        click.echo(f"fill in {missing}: until then a run rejects the file")
    if not ids and (left := uncovered(report, [waiver for waiver, _ in needed])):
        click.echo(f"not judged for another reason, so not waived: {', '.join(left)}")


def waivers_for(
    report: Report, failed: tuple[Result, ...], *, expires: date, reason: str, owner: str
) -> list[tuple[Waiver, Result]]:
    """Returns a waiver for each failure that does not follow from another one of `failed`, with the failure."""
    from conformance.results import waivers

    covers = waivers.consequences(report.results)
    chosen = {result.id for result in failed}
    covered = {name for root, names in covers.items() if root in chosen for name in names}
    return [
        (
            waivers.new_waiver(result, expires=expires, covers=covers.get(result.id, ()), reason=reason, owner=owner),
            result,
        )
        for result in failed
        if result.id not in covered
    ]


def uncovered(report: Report, needed: Sequence[Waiver]) -> list[str]:
    """Returns the behaviours that were not judged, and that no waiver covers."""
    from conformance.results.result import Status

    covered = {name for waiver in needed for name in waiver.covers}
    return [result.id for result in report.with_status(Status.ERROR) if result.id not in covered]


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
        f"failure = {dumps(waiver.failure)}\n" + (f"covers = {dumps(list(waiver.covers))}\n" if waiver.covers else "")
    )


def _append(path: Path, text: str) -> None:
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else HEAD
        if not before.endswith("\n"):
            before += "\n"
        path.write_text(f"{before}\n{text}", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="choose another --output") from error
