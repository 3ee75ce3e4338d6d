"""Controls one run of a lane: starts it, stops it after a signal, and keeps its report or its error."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from conformance.core.errors import ConformanceError, TargetError, UsageError
from conformance.core.open_files import TOO_MANY_FILES, explain_open_files
from conformance.core.signals import SIGNALS, handling_signals
from conformance.core.stop import Stop
from conformance.engine import report_builder
from conformance.frontends.dispatcher import Dispatcher
from conformance.frontends.provided import provided
from conformance.frontends.settings import check_report_dir
from conformance.frontends.tolerances import Tolerances
from conformance.lanes.protocol import LaneRun
from conformance.results import events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.frontends.dispatcher import Listener
    from conformance.frontends.provided import SharedProvider
    from conformance.frontends.settings import Settings
    from conformance.results.report import Report
    from conformance.results.result import Result
    from conformance.testkit.behaviour import Plan


class RunController:
    """One run. Afterwards there is a `report`, or an `error`; both if the target could not be judged at all."""

    def __init__(self, settings: Settings, *listeners: Listener, shared: SharedProvider | None = None) -> None:
        """Prepares the report directory, if there is one. Raises UsageError if it cannot be written.

        With `shared`, this is one of several runs against the same target.
        """
        self.settings = settings
        self._shared = shared
        self.error: ConformanceError | None = None
        self.tolerances = Tolerances(settings)
        self._dispatcher = Dispatcher(self.tolerances, *listeners)
        if settings.report_dir is not None:
            from conformance.reporters.report_dir import ReportDirectory  # a run without one needs no page templates

            check_report_dir(settings.report_dir)
            self._dispatcher.add(ReportDirectory(settings.report_dir))
        self._on_result: Callable[[Result], None] = lambda result: None
        self._stop: Stop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._interrupted: str | None = None

    @property
    def report(self) -> Report | None:
        """The report of the run, if there is one."""
        return self._dispatcher.report

    @property
    def listener_errors(self) -> list[str]:
        """The outputs that could not be shown or written, with their errors. A pipe that its reader closed is fine."""
        errors = self._dispatcher.errors
        return [each.text for each in errors if not isinstance(each.error, SystemExit | BrokenPipeError)]

    @property
    def interrupted(self) -> str | None:
        """The reason if a signal has ended the run."""
        return self._interrupted

    @property
    def exit_code(self) -> int:
        """The exit code of the report or of the error; 0 if nothing ran."""
        if self.report is not None:
            return self.report.exit_code
        match self.error:
            case None:
                return 0
            case UsageError():
                return 2
            case _:
                return 3

    def interrupt(self, reason: str) -> None:
        """Ends the run because of a signal: the first one starts the clean-up, the second one ends at once."""
        again = self._interrupted is not None
        self._interrupted = self._interrupted or reason
        self.stop(reason)
        if again and self._task is not None:
            self._task.cancel()

    def stop(self, reason: str) -> None:
        """Stops the run if it has started: no further behaviours, then the clean-up."""
        if self._stop is not None:
            self._stop(reason)

    def run(self, plan: Plan = (), *, on_result: Callable[[Result], None] = lambda result: None) -> None:
        """Runs the lane of the settings, with `plan` if it needs one. Afterwards there is a report, an error or both.

        `on_result` is called after each behaviour. Unlike a listener it is never dropped.
        """
        self._on_result = on_result
        try:
            (asyncio.run if self._shared is None else self._shared.run)(self._main(plan))
        except TargetError as error:
            self.error = error
            self._emit(events.RunFinished(report=self._not_judged(plan, error)))
        except ConformanceError as error:
            self.error = error
        except asyncio.CancelledError:
            # A second signal skips the clean-up.
            self.error = ConformanceError(f"interrupted twice: {self._how_to_sweep()}")
        except Exception as error:
            if self.settings.verbose:
                raise
            if isinstance(error, OSError) and error.errno in TOO_MANY_FILES:
                self.error = ConformanceError(explain_open_files())
                return
            problem = f"the kit itself failed: {type(error).__name__}: {error}"
            self.error = ConformanceError(problem, hint="this is a bug of the kit: --verbose shows the traceback")

    async def _main(self, plan: Plan) -> None:
        settings = self.settings
        self._stop, self._task = Stop(), asyncio.current_task()
        if self._interrupted is not None:
            self._stop(self._interrupted)
        async with AsyncExitStack() as stack:
            stack.enter_context(handling_signals(asyncio.get_running_loop(), self.interrupt))
            if self._shared is not None:
                given = await self._shared.get()
            else:
                given = await stack.enter_async_context(provided(settings, directory=settings.report_dir))
            control = given.control
            kept = control.keep_state
            control.keep_state = True  # also if the run fails
            if control.provider is not None:
                await self._stop.run_unless_stopped(control.provider.start())
            run = LaneRun(
                target=given.target,
                options=self.tolerances.options(),
                ledger_at=settings.ledger_at,
                emit=self._emit,
                stop=self._stop,
                provider=control.provider,
                backend=control.backend,
                repair=control.repair,
                plan=plan,
            )
            report = await settings.lane.run(settings.lane_settings, run)
            control.keep_state = kept or not report.home.clean

    def _emit(self, event: events.Event) -> None:
        self._dispatcher(event)
        if isinstance(event, events.BehaviourFinished):
            self._on_result(event.result)

    def _how_to_sweep(self) -> str:
        if self._dispatcher.ledger is None:
            return "no machines were started"
        target = self.settings.target
        option = f" --target {target.address}" if target else ""
        return f"machines may still be running; clean them up: conformance sweep {self._dispatcher.ledger}{option}"

    def _not_judged(self, plan: Plan, error: TargetError) -> Report:
        """Returns a report of a target that could not be judged at all, because a CI job expects one anyway."""
        settings = self.settings
        planned = tuple(behaviour.entry for behaviour in plan)
        return report_builder.not_judged(
            planned or settings.lane.entries(),
            error,
            settings.target,
            options=self.tolerances.options(),
        )


@contextmanager
def handling_signals_around(interrupt: Callable[[str], None]) -> Iterator[None]:
    """Calls `interrupt` for signals before, during and after a run: there is no partial report and no traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: object) -> None:
        interrupt(SIGNALS[signal.Signals(number)])

    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
