"""Runs the suite through pytest.

pytest collects the behaviours, the run controller runs them in one event loop, and each result is reported through
pytest's ordinary hooks as soon as it is available.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from conformance.core import catalogue
from conformance.core.errors import ConformanceError
from conformance.core.text import printable
from conformance.frontends import collection
from conformance.results.result import Status

if TYPE_CHECKING:
    from conformance.frontends.runner import RunController
    from conformance.results.result import Result


class PytestLoop:
    """The registered pytest plugin of one run."""

    def __init__(self, controller: RunController) -> None:
        self.controller = controller
        self._items: dict[str, pytest.Item] = {}
        self._reported: set[str] = set()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keeps the selected behaviours, in the catalogue's order. Raises pytest.UsageError for a bad selection."""
        known, settings = catalogue.load(), self.controller.settings
        wanted = {e.id for e in known.select(settings.select, settings.exclude)}
        behaviours = {b.id: b for b in collection.plan(known, [getattr(item, "obj", None) for item in items])}
        by_body = {id(b.body): b for b in behaviours.values()}
        selected, deselected, other_tests = {}, [], []
        for item in items:
            behaviour = by_body.get(id(getattr(item, "obj", None)))
            if behaviour is None:
                other_tests.append(item)
            elif behaviour.id in wanted:
                selected[behaviour.id] = item
            else:
                deselected.append(item)
        self._items = {b: selected[b] for b in behaviours if b in selected}
        items[:] = [*self._items.values(), *other_tests]
        if deselected:
            config.hook.pytest_deselected(items=deselected)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Runs all behaviours in one event loop, and then other tests in pytest's way."""
        if session.config.option.collectonly or not self._items:
            return None
        bodies = [getattr(item, "obj", None) for item in self._items.values()]
        self.controller.run(
            collection.plan(catalogue.load(), bodies), on_result=lambda result: self._report_to_pytest(session, result)
        )
        report = self.controller.report
        if report is not None and report.stopped and "interrupted" in report.stopped:
            session.shouldstop = report.stopped
        for item in [item for item in session.items if item not in self._items.values()]:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return True

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Sets the run's exit code if pytest would exit with 0: pytest only counts failed items."""
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = self.controller.exit_code

    def _report_to_pytest(self, session: pytest.Session, result: Result) -> None:
        item = self._items.get(result.id)
        if item is None:
            return
        hook = item.config.hook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        tolerated = self.controller.tolerances.reason_tolerated(result)
        report = as_test_report(item, result, tolerated)
        if result.id in self._reported:
            report.when = "teardown"  # a breach that was seen outside the behaviours: pytest counts an item once
        self._reported.add(result.id)
        hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if session.shouldfail or session.shouldstop:
            self.controller.stop(str(session.shouldfail or session.shouldstop))


def as_test_report(item: pytest.Item, result: Result, tolerated: str = "") -> pytest.TestReport:
    """Returns a result as a pytest report: a behaviour that was not judged is an error, a broken SHOULD passes.

    A failure is an xfail, and an error is skipped, if `tolerated`, the reason for tolerating it, is not empty.
    """
    outcome: Any = "passed"
    longrepr: Any = None
    when: Any = "call"
    match result.status:
        case Status.FAILED:
            outcome, longrepr = "failed", _evidence(result)
        case Status.ERROR if tolerated:
            reason = f"Skipped: not judged, {printable(tolerated)}: {printable(result.reason)}"
            outcome, longrepr = "skipped", (str(item.path), item.location[1] or 0, reason)
        case Status.ERROR:
            outcome, longrepr, when = "failed", printable(result.reason), "setup"
        case Status.SKIPPED:
            outcome, longrepr = (
                "skipped",
                (str(item.path), item.location[1] or 0, f"Skipped: {printable(result.reason)}"),
            )
        case Status.WARNED | Status.PASSED:
            pass
    xfail_reason = tolerated if result.status is Status.FAILED else ""
    report = pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="skipped" if xfail_reason else outcome,
        longrepr=longrepr,
        when=when,
        duration=result.seconds,
        user_properties=[
            ("id", result.id),
            ("clause", result.entry.clause.id),
            ("status", result.status.value),
        ],
    )
    if xfail_reason:
        report.wasxfail = xfail_reason
    return report


def _evidence(result: Result) -> str:
    from conformance.reporters import terminal

    return "\n".join(terminal.evidence(result))


def run(controller: RunController) -> None:
    """Runs pytest in this process on the suite alone: without other ini files, conftests, plugins or pytest variables.

    Afterwards the controller has a report or an error.
    """
    import os
    from pathlib import Path

    import conformance.suite

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
            code = pytest.main(arguments, plugins=[PytestLoop(controller)])
    finally:
        for name in hermetic:
            os.environ.pop(name, None)
        os.environ.update(removed)
    if controller.report is None and controller.error is None:
        controller.error = ConformanceError(f"pytest ended with {code!s} and without a report")
