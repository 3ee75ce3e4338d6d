"""Owns pytest's loop: items -> plan -> engine, and each result forwarded through the ordinary hook as it comes."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from conformance import catalogue, events, lanes, plan
from conformance.allowance import Allowance
from conformance.asked import Asked
from conformance.bill import Bill
from conformance.errors import ConformanceError, TargetError, UsageError
from conformance.interrupts import SIGNALS, heard
from conformance.report import Home, Report, Time
from conformance.reporters.files import Files
from conformance.result import Result, Status
from conformance.scale import behaviours
from conformance.settings import FAKE, check_report_dir, version
from conformance.stop import Stop
from conformance.target import Target
from conformance.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conformance.behaviour import Plan
    from conformance.catalogue import Entry
    from conformance.settings import Settings


class Loop:
    """The registered plugin of one run. Afterwards `report` is its report, `error` what kept it from having one."""

    def __init__(self, settings: Settings, *listeners: Callable[[events.Event], None]) -> None:
        """Make ready to write the report where one is wanted. Raises UsageError where that cannot be done."""
        self.settings = settings
        self.report: Report | None = None
        self.error: ConformanceError | None = None
        self.muted: list[str] = []
        """What could not be shown or written, and why. No listener's trouble keeps a machine from going home."""
        self._listeners = list(listeners)
        if settings.report_dir is not None:
            check_report_dir(settings.report_dir)
            self._listeners.append(Files(settings.report_dir))
        self._items: dict[str, pytest.Item] = {}
        self._session: pytest.Session | None = None
        self._stop: Stop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._interrupted: str | None = None
        self._ledger: str | None = None
        self._allowance = Allowance(settings)

    def interrupt(self, reason: str) -> None:
        """End the run because of a signal: the first time in good order, the second time at once."""
        again = self._interrupted is not None
        self._interrupted = self._interrupted or reason
        if self._stop is not None:
            self._stop(reason)
        if again and self._task is not None:
            self._task.cancel()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the selected behaviours, in the catalogue's order. Raises pytest.UsageError for a bad selection."""
        known = catalogue.load()
        wanted = {e.id for e in known.select(self.settings.select, self.settings.exclude)}
        behaviours = {b.id: b for b in plan.plan(known, [getattr(item, "obj", None) for item in items])}
        by_body = {id(b.body): b for b in behaviours.values()}
        chosen, dropped, foreign = {}, [], []
        for item in items:
            behaviour = by_body.get(id(getattr(item, "obj", None)))
            if behaviour is None:
                foreign.append(item)
            elif behaviour.id in wanted:
                chosen[behaviour.id] = item
            else:
                dropped.append(item)
        self._items = {b: chosen[b] for b in behaviours if b in chosen}
        items[:] = [*self._items.values(), *foreign]
        if dropped:
            config.hook.pytest_deselected(items=dropped)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run all behaviours in one loop of our own; leave other items to pytest."""
        if session.config.option.collectonly or not self._items:
            return None
        self._session = session
        bodies = [getattr(item, "obj", None) for item in self._items.values()]
        self.conduct(plan.plan(catalogue.load(), bodies))
        if self.report is not None and self.report.stopped and "interrupted" in self.report.stopped:
            session.shouldstop = self.report.stopped
        for item in [item for item in session.items if item not in self._items.values()]:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return True

    def conduct(self, chosen: Plan = ()) -> None:
        """Run what the settings ask for: `chosen`, or a lane that needs no plan. Leaves a report, an error or both."""
        try:
            asyncio.run(self._main(chosen))
        except TargetError as error:
            self.error = error
            entries = behaviours.load() if self.settings.scale is not None else tuple(b.entry for b in chosen)
            self._forward(events.RunFinished(report=self._not_judged(entries, error)))
        except ConformanceError as error:
            self.error = error
        except asyncio.CancelledError:
            # A second signal: nobody waits for anything any more.
            self.error = ConformanceError(f"interrupted twice: {self._what_is_left()}")
        except Exception as error:
            if self.settings.verbose:
                raise
            what = f"the kit itself failed: {type(error).__name__}: {error}"
            self.error = ConformanceError(what, hint="this is a bug of the kit: --verbose shows where")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """What is not conformant does not end with 0: pytest counts failed items, and there is more to a verdict."""
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = self._exit_code

    @property
    def _exit_code(self) -> int:
        if self.report is not None:
            return self.report.exit_code
        match self.error:
            case None:
                return 0
            case UsageError():
                return 2
            case _:
                return 3

    async def _main(self, chosen: Plan) -> None:
        self._stop = stop = Stop()
        self._task = asyncio.current_task()
        if self._interrupted is not None:
            stop(self._interrupted)
        async with AsyncExitStack() as stack:
            stack.enter_context(heard(asyncio.get_running_loop(), self.interrupt))
            target = self.settings.target
            if target is None:
                target = Target(address=await stack.enter_async_context(embedded()))
            options = self._allowance.options()
            await lanes.run(self.settings, chosen, target, options=options, emit=self._forward, stop=stop)

    def _what_is_left(self) -> str:
        if self._ledger is None:
            return "nothing was started"
        target = self.settings.target
        where = f" --target {target.address}" if target else ""
        return f"machines may be left; bring them home: conformance sweep {self._ledger}{where}"

    def _forward(self, event: events.Event) -> None:
        match event:
            case events.RunStarted():
                self._ledger = event.ledger
            case events.RunFinished():
                self.report = self._allowance.applied(event.report)
                event = events.RunFinished(report=self.report)
        for listener in list(self._listeners):
            try:
                listener(event)
            except (Exception, SystemExit) as error:  # rich exits where its reader has hung up
                self._listeners.remove(listener)
                if not isinstance(error, SystemExit | BrokenPipeError):
                    self.muted.append(f"{type(listener).__name__.lower()}: {error}")
        if isinstance(event, events.BehaviourFinished) and event.result.id in self._items:
            self._tell_pytest(event.result)

    def _tell_pytest(self, result: Result) -> None:
        session, item = self._session, self._items[result.id]
        assert session is not None
        hook = item.config.hook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        hook.pytest_runtest_logreport(report=as_test_report(item, result, self._allowance.expected(result)))
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if self._stop is not None and (session.shouldfail or session.shouldstop):
            self._stop(str(session.shouldfail or session.shouldstop))

    def _not_judged(self, entries: Sequence[Entry], error: TargetError) -> Report:
        """A report for a target that could not be judged at all: CI wants one all the same."""
        settings = self.settings
        reason = f"not judged: {error.message}"
        return Report(
            run="",
            version=version(),
            target=settings.target.address if settings.target else FAKE,
            started="",
            seed=settings.options.seed,
            found=None,
            results=tuple(Result(entry=entry, status=Status.ERROR, reason=reason) for entry in entries),
            quarantined=(),
            notes=(),
            bill=Bill(),
            time=Time(wall=0.0, critical_path=0.0, sum=0.0),
            home=Home(),
            rpcs=0,
            ledger="",
            stopped=error.message,
            whole=settings.options.whole,
            asked=Asked(fake=settings.options.fake),
        )


def as_test_report(item: pytest.Item, result: Result, expected: str = "") -> pytest.TestReport:
    """A result in pytest's words: what could not be judged is an error, a broken SHOULD passes.

    A failure that is `expected`, which says why, is an xfail.
    """
    outcome: Any = "passed"
    longrepr: Any = None
    when: Any = "call"
    match result.status:
        case Status.FAILED:
            outcome, longrepr = "failed", _evidence(result)
        case Status.ERROR:
            outcome, longrepr, when = "failed", printable(result.reason), "setup"
        case Status.SKIPPED:
            outcome, longrepr = (
                "skipped",
                (str(item.path), item.location[1] or 0, f"Skipped: {printable(result.reason)}"),
            )
        case Status.WARNED | Status.PASSED:
            pass
    known = expected if result.status is Status.FAILED else ""
    report = pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="skipped" if known else outcome,
        longrepr=longrepr,
        when=when,
        duration=result.seconds,
        user_properties=[
            ("id", result.id),
            ("clause", result.entry.clause.id),
            ("status", result.status.value),
        ],
    )
    if known:
        report.wasxfail = known
    return report


def _evidence(result: Result) -> str:
    from conformance.reporters import terminal

    return "\n".join(terminal.evidence(result))


@contextmanager
def hearing(loop: Loop) -> Iterator[None]:
    """Hear signals also before the engine does and after it: nobody wants half of a report, or a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hear(number: int, frame: object) -> None:
        loop.interrupt(SIGNALS[signal.Signals(number)])

    before = {number: signal.signal(number, hear) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


EMBEDDED = 0.02
"""Seconds that a transition of the embedded fake takes."""


def embedded() -> Any:
    """The embedded fake, served while the context lasts; gives its address."""
    from fake_provider.core import Core
    from fake_provider.fleet import fleet
    from fake_provider.latency import Latency
    from fake_provider.server import serving

    return serving(Core(fleet(64), latency=Latency.every(EMBEDDED)))


def run(loop: Loop) -> None:
    """Run pytest in this process on the suite alone: no foreign ini, conftest, plugin or environment.

    Afterwards the loop has its report, or the error that kept it from having one.
    """
    import os
    from pathlib import Path

    import conformance.suite

    if loop.settings.scale is not None:
        loop.conduct()
        return
    suite = Path(conformance.suite.__file__).parent
    arguments = [
        *("--pyargs", "conformance.suite"),
        f"--rootdir={suite}",
        f"--config-file={suite / 'pytest.ini'}",
        "--noconftest",
        "--assert=plain",
        "--capture=no",
        *("-p", "no:terminal"),
        *("-p", "no:cacheprovider"),
        *("-p", "no:logging"),
        *("-p", "no:warnings"),
        *("-p", "no:faulthandler"),
        *("-p", "no:unraisableexception"),
        *("-p", "no:threadexception"),
    ]
    hermetic = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    removed = {name: os.environ.pop(name) for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS") if name in os.environ}
    os.environ.update(hermetic)
    try:
        with suppress(SystemExit):
            code = pytest.main(arguments, plugins=[loop])
    finally:
        for name in hermetic:
            os.environ.pop(name, None)
        os.environ.update(removed)
    if loop.report is None and loop.error is None:
        loop.error = ConformanceError(f"pytest ended with {code!s} and no report")
