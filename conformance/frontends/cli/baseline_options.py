"""The options for known failures: an earlier run to compare with, and waivers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conformance.core.errors import UsageError

if TYPE_CHECKING:
    from conformance.frontends.settings import KnownFailures

BASELINE_OPTIONS = (
    click.option(
        "--baseline",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Compare with an earlier run, given by its report.json or events.ndjson, and report what is new. With "
        "--select failed, judge only the behaviours that failed in it.",
    ),
    click.option(
        "--fail-on",
        type=click.Choice(["any", "new"]),
        default="any",
        show_default=True,
        help="Which failures change the exit code: any, or only those that are new since --baseline.",
    ),
    click.option(
        "--waivers",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Read waivers, which tolerate a failure until a date, from this file. [default: conformance-waivers.toml, "
        "if it exists]",
    ),
    click.option("--no-waivers", is_flag=True, help="Tolerate no failure: ignore conformance-waivers.toml."),
)


def load_known_failures(
    *, baseline: Path | None, fail_on: str, waivers: Path | None, no_waivers: bool, **_: Any
) -> KnownFailures:
    """Reads the files that these options name. Raises UsageError."""
    from conformance.frontends.settings import KnownFailures
    from conformance.results import waivers as waivers_module

    if fail_on == "new" and baseline is None:
        raise UsageError("--fail-on new requires --baseline", hint="add --baseline report.json")
    if no_waivers and waivers is not None:
        raise UsageError("--waivers and --no-waivers exclude each other", hint="remove one of them")
    if waivers is None and not no_waivers and Path(waivers_module.DEFAULT).is_file():
        waivers = Path(waivers_module.DEFAULT)
    return KnownFailures(
        baseline=_read_report(baseline) if baseline is not None else None,
        baseline_name=str(baseline or ""),
        only_new=fail_on == "new",
        waivers=waivers_module.load(waivers) if waivers is not None else (),
        waivers_file=str(waivers or ""),
    )


def _read_report(path: Path) -> Any:
    from conformance.lanes.records import read  # most runs have no baseline

    return read(path)
