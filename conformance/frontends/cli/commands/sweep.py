"""`conformance sweep`: cleans up the machines of a run that was killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conformance.core.errors import TargetError, UsageError
from conformance.core.signals import handling_signals
from conformance.frontends.cli.errors import reporting_errors
from conformance.frontends.cli.options import ENVIRONMENT, SectionedCommand, target_from, target_options

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from conformance.results.report import Home

SWEEP_HELP = """Clean up the machines that a run left running, for example after kill -9.

\b
Examples:
  conformance sweep out/ledger.ndjson --target 127.0.0.1:9000

A run notes every machine in its LEDGER before it starts it: ledger.ndjson in --report-dir, or a file in the user's
state directory, whose path the run prints. The sweep touches no other machine.

\b
Exit codes:
  0  all machines were cleaned up
  2  usage error: an invalid option, configuration or file
  3  the target is unreachable, or the sweep was interrupted; machines that
     may be left are listed
  4  not all machines could be cleaned up
"""


@click.command(
    "sweep",
    cls=SectionedCommand,
    help=SWEEP_HELP,
    short_help="Clean up the machines of a run that was killed.",
    context_settings=ENVIRONMENT,
)
@click.argument("ledger", type=click.Path(path_type=Path, dir_okay=False))
@target_options
@click.option("--any-target", is_flag=True, help="Allow a target whose address differs from the one in the ledger.")
@reporting_errors()
def sweep_command(ledger: Path, any_target: bool, **given: Any) -> None:
    """Cleans up the machines of a run that was killed."""
    import asyncio

    from conformance.core.text import printable, quantity
    from conformance.core.timeouts import parse_duration, parse_patience
    from conformance.fleet.ledger import read
    from conformance.fleet.sweep import sweep

    if not given["target"]:
        raise UsageError("no target", hint="add --target host:port, the target of the run")
    sweeping = sweep(
        ledger,
        target_from(**given),
        patience=parse_patience(given["patience"]),
        rpc_timeout=parse_duration(given["rpc_timeout"]),
        connect_timeout=parse_duration(given["connect_timeout"]),
        any_target=any_target,
        write_line=lambda line: click.echo(printable(line)),
    )
    try:
        home = asyncio.run(_interruptible(sweeping))
    except asyncio.CancelledError:
        left = [printable(entry.machine) for entry in read(ledger).entries]
        raise TargetError(
            f"interrupted; machines that may be left: {', '.join(left) or 'none'}",
            hint="run the same command again: the ledger is kept",
        ) from None
    click.echo(
        "all started machines were cleaned up"
        if home.clean
        else f"not cleaned up: {quantity(len(home.left), 'machine')}"
    )
    sys.exit(0 if home.clean else 4)


async def _interruptible(sweeping: Coroutine[Any, Any, Home]) -> Home:
    """Returns the result of `sweeping`, which a signal cancels."""
    import asyncio

    task = asyncio.current_task()
    assert task is not None
    with handling_signals(asyncio.get_running_loop(), task.cancel):
        return await sweeping
