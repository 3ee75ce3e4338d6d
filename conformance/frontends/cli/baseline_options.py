"""What a run is held against: an earlier run, and the failures that are tolerated. The options, and what they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from conformance.core.errors import UsageError

BASELINE_OPTIONS = (
    click.option(
        "--baseline",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="An earlier report.json or events.ndjson: say what is new since; or what to run, with --select failed.",
    ),
    click.option(
        "--fail-on",
        type=click.Choice(["any", "new"]),
        default="any",
        show_default=True,
        help="With --baseline: which failures the exit code counts.",
    ),
    click.option(
        "--waivers",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Failures that are tolerated for a while. [default: conformance-waivers.toml, where there is one]",
    ),
    click.option("--no-waivers", is_flag=True, help="Tolerate nothing, whatever file lies here."),
)


def load_baseline(
    *, baseline: Path | None, fail_on: str, waivers: Path | None, no_waivers: bool, **_: Any
) -> dict[str, Any]:
    """What these options name, as fields of Settings, read before anything is dialled. Raises UsageError."""
    from conformance.lanes.records import read
    from conformance.results import waivers as waivers_module

    if fail_on == "new" and baseline is None:
        raise UsageError("--fail-on new needs to know since when", hint="add --baseline report.json")
    if no_waivers and waivers is not None:
        raise UsageError("both --waivers and --no-waivers", hint="give one of them")
    if waivers is None and not no_waivers and Path(waivers_module.DEFAULT).is_file():
        waivers = Path(waivers_module.DEFAULT)
    return {
        "baseline": read(baseline) if baseline is not None else None,
        "baseline_name": str(baseline or ""),
        "only_new": fail_on == "new",
        "waivers": waivers_module.load(waivers) if waivers is not None else (),
        "waivers_file": str(waivers or ""),
    }
