"""`conformance selftest`: checks in less than a minute that the kit's own verdicts are right."""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Any

import click

from conformance.core.errors import UsageError
from conformance.frontends.cli.errors import reporting_errors

SELFTEST_HELP = """Test the kit itself, on this machine and without a target.

\b
Examples:
  conformance selftest
  conformance selftest --jobs 1 --seed 7

Runs the suite against the bundled reference provider and unusual but conformant variants of it, in which no behaviour
may fail; and against one broken provider for each clause that the suite judges, in which the behaviours of that clause
must fail.
docs/kill-matrix.md lists the broken providers and the behaviours that find them.

\b
Exit codes:
  0  every verdict is right
  1  at least one verdict is wrong
"""


@click.command("selftest", help=SELFTEST_HELP, short_help="Test the kit itself, without a target.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Number of processes. [default: two for each processor, because they mostly wait]",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of all random choices.")
@click.option("--no-color", is_flag=True, help="Disable colours.")
@reporting_errors()
def selftest_command(jobs: int | None, seed: int, no_color: bool) -> None:
    """Tests the kit itself."""
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
                line = printable(f"{outcome.check.kind} {outcome.check.name}: {outcome.wrong}")
                progress.print(f"WRONG    {line}", markup=False)
    for kind, success in (
        (quick.Kind.VARIANT, "no behaviour fails on a conformant provider"),
        (quick.Kind.MUTANT, "every broken clause is found by its behaviours"),
    ):
        count = sum(check.kind is kind for check in wanted)
        result = f"wrong in {wrong[kind]}" if wrong[kind] else success
        console.print(f"{count:3} {kind}s: {result}")
    console.print(f"{time.monotonic() - began:.1f} s")
    sys.exit(1 if any(wrong.values()) else 0)


def _quick() -> Any:
    # Imported by name: the self-test depends on the kit, so the kit must not depend on it (import-linter checks this).
    try:
        return importlib.import_module("selftest.quick")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "selftest":
            raise
        raise UsageError("the self-test is not installed", hint="reinstall capacity-provider-conformance") from error
