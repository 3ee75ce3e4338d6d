"""`conformance selftest`: whether the kit itself can be believed, on this machine, in under a minute."""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Any

import click

from conformance.core.errors import UsageError
from conformance.frontends.cli.errors import reporting_errors

SELFTEST_HELP = """Judge the kit itself: can its verdict be believed?

\b
  conformance selftest
  conformance selftest --jobs 1 --seed 7

Runs the suite against the bundled reference and against odd but conformant variants of it, in which nothing may be
found, and against a broken one for each clause, which must be found for just that. Nothing but this machine is used;
no target is touched. What is broken how, and who finds it, is in docs/kill-matrix.md.

\b
Exit codes:
  0  the suite says what it should of each
  1  it does not
"""


@click.command("selftest", help=SELFTEST_HELP)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    help="Processes at once. [default: two for each processor, as they mostly wait]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="What random choices are made from.")
@click.option("--no-color", is_flag=True, help="Plain text.")
@reporting_errors()
def selftest_command(jobs: int | None, seed: int, no_color: bool) -> None:
    """Judge the kit itself, and whether its verdict can be believed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from conformance.core.text import printable

    quick = _quick()
    console = Console(no_color=no_color, highlight=False, soft_wrap=True)
    wanted, began = quick.checks(), time.monotonic()
    wrong: dict[str, int] = dict.fromkeys(quick.Kind, 0)
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("", total=len(wanted))
        for outcome in quick.run(wanted, jobs=jobs or 2 * (os.cpu_count() or 1), seed=seed):
            progress.update(task, advance=1, description=f"{outcome.check.kind} {outcome.check.name}")
            if outcome.wrong:
                wrong[outcome.check.kind] += 1
                said = printable(f"{outcome.check.kind} {outcome.check.name}: {outcome.wrong}")
                progress.print(f"WRONG    {said}", markup=False)
    for kind, right in (
        (quick.Kind.VARIANT, "nothing is found in a conformant provider"),
        (quick.Kind.MUTANT, "a broken clause is found by those that judge it"),
    ):
        count = sum(check.kind is kind for check in wanted)
        result = f"wrong in {wrong[kind]}" if wrong[kind] else right
        console.print(f"{count:3} {kind}s: {result}")
    console.print(f"{time.monotonic() - began:.1f} s")
    sys.exit(1 if any(wrong.values()) else 0)


def _quick() -> Any:
    # The self-test stands above the kit, and knows it; the kit only knows its name.
    try:
        return importlib.import_module("selftest.quick")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "selftest":
            raise
        raise UsageError("the self-test is not installed", hint="install capacity-provider-conformance anew") from error
