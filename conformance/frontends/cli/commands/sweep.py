"""`conformance sweep`: cleans up the machines of a run that was killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conformance.core.errors import TargetError, UsageError
from conformance.core.signals import handling_signals
from conformance.frontends.cli.errors import reporting_errors
from conformance.frontends.cli.one_run import one_target
from conformance.frontends.cli.options import (
    ENVIRONMENT,
    SectionedCommand,
    provider_options,
    target_from,
    target_options,
)
from conformance.frontends.cli.provider_options import control_from

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from conformance.fleet.control import ControlOptions
    from conformance.results.report import Home
    from conformance.rpc.target import Target

SWEEP_HELP = """Clean up the machines that a run left running, for example after kill -9.

\b
Examples:
  conformance sweep out/ledger.ndjson --target 127.0.0.1:9000
  conformance sweep out/ledger.ndjson --provider-cmd 'my-provider --port {port} --state {dir}'

A run notes every machine in its LEDGER before it starts it: ledger.ndjson in --report-dir, or a file in the user's
state directory, whose path the run prints. The sweep touches no other machine.

If the run had started its provider with --provider-cmd, give the same command again, instead of --target. The sweep
starts the provider at the same address on the state that the run has left ({dir}: provider-state beside the ledger, or
--provider-state), and stops it at the end.

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
@provider_options
@click.option(
    "--provider-state",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="The state with which the provider starts, for --provider-cmd. [default: provider-state of the run]",
)
@click.option("--any-target", is_flag=True, help="Allow a target whose address differs from the one in the ledger.")
@reporting_errors()
def sweep_command(ledger: Path, any_target: bool, provider_state: Path | None, **given: Any) -> None:
    """Cleans up the machines of a run that was killed."""
    import asyncio

    from conformance.core.text import printable, quantity
    from conformance.core.timeouts import parse_duration, parse_patience
    from conformance.fleet.ledger import read
    from conformance.fleet.sweep import sweep

    if not (given["target"] or given["provider_cmd"]):
        raise UsageError("no target", hint="add --target host:port, the target of the run, or its --provider-cmd")
    target, control = _target(ledger, provider_state, given)
    sweeping = sweep(
        ledger,
        target,
        patience=parse_patience(given["patience"]),
        rpc_timeout=parse_duration(given["rpc_timeout"]),
        connect_timeout=parse_duration(given["connect_timeout"]),
        any_target=any_target,
        write_line=lambda line: click.echo(printable(line)),
    )
    try:
        home = asyncio.run(_interruptible(_started(control, target, sweeping)))
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


def _target(ledger: Path, state: Path | None, given: dict[str, Any]) -> tuple[Target, ControlOptions]:
    """Returns the target, and how to start its provider: at the address of the run, with the state that it has left."""
    from conformance.fleet.control import ControlOptions, state_beside
    from conformance.fleet.ledger import read

    given = one_target(click.get_current_context(), {**given, "fake": False})
    if given["provider_cmd"]:
        given["target"] = given["target"] or (read(ledger).target if _has_header(ledger) else None)
        state = state or state_beside(ledger)
        if state is None and "{dir}" in given["provider_cmd"]:
            raise UsageError(
                f"no provider-state beside {ledger}", hint="--provider-state names the state that the run has left"
            )
    given["target"], control = control_from(given)
    return target_from(**given), ControlOptions(
        provider=control.provider, state=state, port=control.port, timeouts=control.timeouts
    )


def _has_header(ledger: Path) -> bool:
    """Returns whether the run has begun its ledger. `read` says what is wrong with a file that is not there."""
    return not ledger.is_file() or ledger.stat().st_size > 0


async def _started(control: ControlOptions, target: Target, sweeping: Coroutine[Any, Any, Home]) -> Home:
    """Returns the result of `sweeping`, during which the provider runs, if the command can start it."""
    from conformance.fleet.control import controlled

    try:
        async with controlled(control, target, report_dir=None) as controls:
            if controls.provider is not None:
                await controls.provider.start()
            return await sweeping
    finally:
        sweeping.close()  # if it was never started


async def _interruptible(sweeping: Coroutine[Any, Any, Home]) -> Home:
    """Returns the result of `sweeping`, which a signal cancels."""
    import asyncio

    task = asyncio.current_task()
    assert task is not None
    with handling_signals(asyncio.get_running_loop(), task.cancel):
        return await sweeping
