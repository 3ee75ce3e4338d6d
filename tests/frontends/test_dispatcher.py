"""The dispatcher of events, and the run controller with listeners that raise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conformance.frontends.dispatcher import Dispatcher
from conformance.frontends.runner import RunController
from conformance.frontends.settings import KnownFailures, Settings
from conformance.frontends.tolerances import Tolerances
from conformance.results import events
from tests.values import a_report, a_result

if TYPE_CHECKING:
    from conformance.lanes.protocol import LaneRun
    from conformance.results.report import Report

NOTE = events.Noted(at=0.0, text="a note")


class Broken:
    """A listener that raises on its second event."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.received = error, list[events.Event]()

    def __call__(self, event: events.Event) -> None:
        self.received.append(event)
        if len(self.received) == 2:
            raise self.error


def test_a_listener_that_raises_is_dropped_and_the_others_go_on() -> None:
    broken, received = Broken(OSError("the disk is full")), list[events.Event]()
    dispatcher = Dispatcher(Tolerances(Settings(target=None)), broken, received.append)
    for _ in range(3):
        dispatcher(NOTE)
    assert (len(broken.received), len(received)) == (2, 3)
    assert [each.text for each in dispatcher.errors] == ["broken: the disk is full"]


def test_a_keyboard_interrupt_in_a_listener_propagates() -> None:
    dispatcher = Dispatcher(Tolerances(Settings(target=None)), Broken(KeyboardInterrupt()))
    dispatcher(NOTE)
    with pytest.raises(KeyboardInterrupt):
        dispatcher(NOTE)


def test_every_listener_gets_the_report_with_the_tolerances_of_the_run() -> None:
    received: list[events.Event] = []
    report = a_report(a_result())
    settings = Settings(target=None, known_failures=KnownFailures(baseline=report, baseline_name="before.json"))
    dispatcher = Dispatcher(Tolerances(settings), received.append)
    dispatcher(events.RunFinished(report=report))
    (finished,) = received
    assert isinstance(finished, events.RunFinished)
    assert finished.report.comparison is not None
    assert finished.report is dispatcher.report


class Lane:
    """A lane that emits a few events and ends."""

    name = "conformance"
    needs_plan = False

    def __init__(self, report: Report) -> None:
        self.report = report

    async def run(self, settings: None, run: LaneRun) -> Report:
        for event in (NOTE, NOTE, events.BehaviourFinished(result=self.report.results[0])):
            run.emit(event)
        run.emit(events.RunFinished(report=self.report))
        return self.report


@pytest.mark.parametrize(
    ("error", "errors"),
    [
        (OSError("the disk is full"), ["broken: the disk is full"]),
        (BrokenPipeError("closed"), []),
        (SystemExit(1), []),
    ],
)
def test_a_run_outlives_its_listeners_and_a_closed_pipe_is_not_an_error(
    error: BaseException, errors: list[str]
) -> None:
    report = a_report(a_result())
    settings = replace(Settings(target=None), lane=Lane(report))  # type: ignore[arg-type]  # as much as is needed
    controller, results = RunController(settings, Broken(error)), list[str]()
    controller.run(on_result=lambda result: results.append(result.id))
    assert (controller.listener_errors, controller.error, controller.exit_code) == (errors, None, 0)
    assert results == [report.results[0].id]
    assert controller.report is not None


def test_a_controller_that_has_not_run_has_no_report_and_can_be_interrupted() -> None:
    controller = RunController(Settings(target=None))
    controller.interrupt("interrupted (SIGINT)")
    controller.interrupt("interrupted (SIGTERM)")
    assert (controller.report, controller.error, controller.exit_code) == (None, None, 0)
