"""The third front door: a provider that somebody's own tests have started, judged in their process.

Neither pytest nor a signal handler of ours, no event loop of theirs, no file that they did not ask for.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from conformance import catalogue, lanes, plan
from conformance.allowance import Allowance
from conformance.errors import UsageError
from conformance.events import RunFinished
from conformance.options import configurable
from conformance.reporters import terminal
from conformance.reporters.files import Files
from conformance.run_command import parse_run
from conformance.settings import check_report_dir
from conformance.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conformance.events import Event
    from conformance.report import Report
    from conformance.settings import Settings

Value: TypeAlias = str | int | float | Path | Sequence[str] | None

_TERMINALS = frozenset({"target", "fake", "quiet", "verbose", "color"})
"""Options that mean nothing here: there is no terminal, and the target is an argument."""


def run(target: str, *, emit: Callable[[Event], None] | None = None, **options: Value) -> Report:
    """Judge the provider at `target` (host:port, [v6]:port, unix:/path) and bring home whatever that started.

    `options` are those of `conformance run`, with underscores: `select="FEN-*"`, `max_machines=4`, `use_idle=True`,
    `patience="create=20m"`, `report_dir="out"`. Durations are strings like there, or seconds. Neither a configuration
    file nor the environment has a say. `emit` hears of everything as it happens.

    A broken clause is no exception: see `report.verdict`, and `explain(report)`. Raises UsageError for options that
    cannot be used, and inside of a running event loop; TargetError where nobody answers at `target`; and after Ctrl-C
    KeyboardInterrupt, when all is home.
    """
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise UsageError(
            "conformance.run() was called inside a running event loop, which it would block",
            hint="there it is: report = await conformance.run_async(target, …)",
        )
    settings = _settings(target, options)
    # A loop of our own, which the thread's policy never hears of.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(_judge(settings, emit))


async def run_async(target: str, *, emit: Callable[[Event], None] | None = None, **options: Value) -> Report:
    """Like `run`, in the event loop that runs. Who cancels it waits until all is home; who does so twice does not."""
    return await _judge(_settings(target, options), emit)


def explain(report: Report) -> str:
    """What `conformance run` would have said at its end: what is broken, on what evidence, and the verdict."""
    return "\n".join((*terminal.findings(report), *terminal.closing(report)))


def _settings(target: str, options: Mapping[str, Value]) -> Settings:
    """By way of the command line, so that both take the same and refuse the same."""
    known = {str(option.name): f"--{name}" for name, option in configurable().items()}
    arguments = [f"--target={target}"]
    for name, value in options.items():
        if name not in known or name in _TERMINALS:
            near = difflib.get_close_matches(name, set(known) - _TERMINALS, n=1)
            raise TypeError(f"no option is called {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
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
    listeners = [emit] if emit is not None else []
    if settings.report_dir is None:
        return await _heard(settings, listeners)
    check_report_dir(settings.report_dir)
    with closing(Files(settings.report_dir)) as files:
        return await _heard(settings, [*listeners, files])


async def _heard(settings: Settings, listeners: list[Callable[[Event], None]]) -> Report:
    assert settings.target is not None
    broken: list[Exception] = []
    allowance = Allowance(settings)

    def tell(event: Event) -> None:
        if isinstance(event, RunFinished):
            event = RunFinished(report=allowance.applied(event.report))
        for listener in list(listeners):
            try:
                listener(event)
            except Exception as error:
                # Nobody's trouble with listening keeps a machine from going home; it is theirs to hear of afterwards.
                listeners.remove(listener)
                broken.append(error)

    known, stop = catalogue.load(), Stop()
    chosen = [entry.id for entry in known.select(settings.select, settings.exclude)]
    course = lanes.run(
        settings,
        plan.plan(known, plan.functions(), chosen),
        settings.target,
        options=allowance.options(),
        emit=tell,
        stop=stop,
    )
    report = allowance.applied(await _in_good_order(asyncio.ensure_future(course), stop))
    if settings.report_dir is None:
        _forget(report)
    if broken:
        raise broken[0]
    return report


def _forget(report: Report) -> None:
    """A ledger that nobody asked for lies about only as long as it is needed."""
    if report.home.clean:
        Path(report.ledger).unlink(missing_ok=True)


async def _in_good_order(course: asyncio.Future[Report], stop: Stop) -> Report:
    """What `course` returns; where its caller is cancelled it is ended, and heard out."""
    try:
        return await asyncio.shield(course)
    except asyncio.CancelledError:
        stop("cancelled")
        try:
            with suppress(Exception):
                await asyncio.shield(course)
        except asyncio.CancelledError:
            course.cancel()
            await asyncio.gather(course, return_exceptions=True)
        raise
