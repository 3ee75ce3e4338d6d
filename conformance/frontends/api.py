"""The Python API: judges a provider that the caller's tests have started, in their process.

It uses neither pytest nor signal handlers, and writes no file that was not requested.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from conformance.core.errors import UsageError
from conformance.core.stop import Stop
from conformance.fleet.control import controlled
from conformance.frontends import collection
from conformance.frontends.cli.commands.run import parse_run
from conformance.frontends.cli.options import configurable
from conformance.frontends.dispatcher import Dispatcher
from conformance.frontends.settings import check_report_dir
from conformance.frontends.tolerances import Tolerances
from conformance.lanes.protocol import LaneRun
from conformance.reporters import terminal
from conformance.reporters.report_dir import ReportDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conformance.frontends.dispatcher import Listener
    from conformance.frontends.settings import Settings
    from conformance.results.events import Event
    from conformance.results.report import Report

Value: TypeAlias = str | int | float | Path | Sequence[str] | None

_INAPPLICABLE = frozenset({"target", "fake", "quiet", "verbose", "color"})
"""Options that do not apply here: there is no terminal, and the target is an argument."""


def run(target: str, *, emit: Callable[[Event], None] | None = None, **options: Value) -> Report:
    """Judges the provider at `target` (host:port, [v6]:port, unix:/path), and cleans up all machines that it started.

    `options` are those of `conformance run`, with underscores: `select="FEN-*"`, `max_machines=4`, `use_idle=True`,
    `patience="create=20m"`, `report_dir="out"`. Durations are strings as on the command line, or seconds. Neither a
    configuration file nor the environment is read. `emit` is called with every event as it happens.

    A broken clause is not an exception: see `report.verdict`, and `explain(report)`. Raises UsageError for invalid
    options, and inside a running event loop; TargetError if `target` cannot be reached; and KeyboardInterrupt after
    Ctrl-C, once all machines are cleaned up.
    """
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise UsageError(
            "conformance.run() was called inside a running event loop, which it would block",
            hint="use: report = await conformance.run_async(target, …)",
        )
    settings = _settings(target, options)
    # An event loop of its own, independent of the thread's policy.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(_judge(settings, emit))


async def run_async(target: str, *, emit: Callable[[Event], None] | None = None, **options: Value) -> Report:
    """Like `run`, in the running event loop. A first cancellation cleans up all machines, a second one ends at once."""
    return await _judge(_settings(target, options), emit)


def explain(report: Report) -> str:
    """Returns what `conformance run` prints at its end: the failures with their evidence, and the verdict."""
    return "\n".join((*terminal.findings(report), *terminal.closing(report)))


def _settings(target: str, options: Mapping[str, Value]) -> Settings:
    """Parses the options with the command line's parser, so that both accept and reject the same values."""
    known = {str(option.name): f"--{name}" for name, option in configurable().items()}
    arguments = [f"--target={target}"]
    for name, value in options.items():
        if name not in known or name in _INAPPLICABLE:
            near = difflib.get_close_matches(name, set(known) - _INAPPLICABLE, n=1)
            raise TypeError(f"unknown option {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
        match value:
            case None | False:
                pass
            case True:
                arguments.append(known[name])
            case str() | int() | float() | Path():
                arguments.append(f"{known[name]}={value}")
            case _:
                arguments += [f"{known[name]}={item}" for item in value]
    return parse_run(arguments, alone=True)


async def _judge(settings: Settings, emit: Callable[[Event], None] | None) -> Report:
    listeners: list[Listener] = [emit] if emit is not None else []
    if settings.report_dir is None:
        return await _run(settings, listeners)
    check_report_dir(settings.report_dir)
    with closing(ReportDirectory(settings.report_dir)) as files:
        return await _run(settings, [*listeners, files])


async def _run(settings: Settings, listeners: list[Listener]) -> Report:
    assert settings.target is not None
    tolerances, stop = Tolerances(settings), Stop()
    dispatcher = Dispatcher(tolerances, *listeners)
    async with controlled(settings.control, settings.target, report_dir=settings.report_dir) as control:
        if control.provider is not None:
            await control.provider.start()
        run = LaneRun(
            target=settings.target,
            options=tolerances.options(),
            ledger_at=settings.ledger_at,
            emit=dispatcher,
            stop=stop,
            provider=control.provider,
            backend=control.backend,
            repair=control.repair,
            plan=collection.chosen(settings),
        )
        work = asyncio.ensure_future(settings.lane.run(settings.lane_settings, run))
        judged = await _stopping_if_cancelled(work, stop)
        control.keep_state = not judged.home.clean
    report = dispatcher.report
    assert report is not None
    if settings.report_dir is None:
        _delete_unneeded_ledger(report)
    if dispatcher.errors:
        # Only raised here: an error of a listener must not prevent the clean-up of machines.
        raise dispatcher.errors[0].error
    return report


def _delete_unneeded_ledger(report: Report) -> None:
    if report.home.clean and report.ledger:
        Path(report.ledger).unlink(missing_ok=True)


async def _stopping_if_cancelled(run: asyncio.Future[Report], stop: Stop) -> Report:
    """Returns the result of `run`. If the caller is cancelled, the run is stopped and awaited first."""
    try:
        return await asyncio.shield(run)
    except asyncio.CancelledError:
        stop("cancelled")
        try:
            with suppress(Exception):
                await asyncio.shield(run)
        except asyncio.CancelledError:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
        raise
