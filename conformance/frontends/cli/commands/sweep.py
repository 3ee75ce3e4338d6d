"""`conformance sweep`: brings home what a dead run left."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conformance.core.errors import TargetError, UsageError
from conformance.core.signals import handling_signals
from conformance.frontends.cli.errors import reporting_errors
from conformance.frontends.cli.options import ENVIRONMENT, target_from, target_options

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from conformance.results.report import Home

SWEEP_HELP = """Bring home what a dead run left, by its LEDGER.

\b
  conformance sweep out/ledger.ndjson --target 127.0.0.1:9000

\b
Exit codes:
  0  all is home
  2  usage or configuration
  3  the target cannot be reached, or interrupted: what may be left is named
  4  something is left
"""


@click.command("sweep", help=SWEEP_HELP, context_settings=ENVIRONMENT)
@click.argument("ledger", type=click.Path(path_type=Path, dir_okay=False))
@target_options
@click.option("--any-target", is_flag=True, help="Sweep although the ledger names another address.")
@reporting_errors()
def sweep_command(ledger: Path, any_target: bool, **given: Any) -> None:
    """Bring home what a dead run left, by its LEDGER."""
    import asyncio

    from conformance.core.text import printable
    from conformance.core.timeouts import parse_duration, parse_patience
    from conformance.fleet.ledger import read
    from conformance.fleet.sweep import sweep

    if not given["target"]:
        raise UsageError("no target", hint="give --target host:port, the one that the run had")
    course = sweep(
        ledger,
        target_from(**given),
        patience=parse_patience(given["patience"]),
        rpc_timeout=parse_duration(given["rpc_timeout"]),
        connect_timeout=parse_duration(given["connect_timeout"]),
        any_target=any_target,
        write_line=lambda line: click.echo(printable(line)),
    )
    try:
        home = asyncio.run(_interruptible(course))
    except asyncio.CancelledError:
        left = [printable(entry.machine) for entry in read(ledger).entries]
        raise TargetError(
            f"interrupted: {', '.join(left) or 'nothing'} may be left", hint="sweep once more: the ledger knows"
        ) from None
    click.echo("all is home" if home.clean else f"{len(home.left)} machines are left")
    sys.exit(0 if home.clean else 4)


async def _interruptible(course: Coroutine[Any, Any, Home]) -> Home:
    """What `course` returns. A signal cancels it."""
    import asyncio

    task = asyncio.current_task()
    assert task is not None
    with handling_signals(asyncio.get_running_loop(), task.cancel):
        return await course
