"""Hints where a result cites an answer of a proxy: on the terminal, and in report.html."""

from __future__ import annotations

import grpc
import pytest

from conformance.reporters import terminal
from conformance.reporters.html_report import render
from conformance.results.evidence import hints
from conformance.results.result import Result, Status
from tests.values import a_call, a_report, a_result

TOO_LARGE = "UNKNOWN: Received http2 header with status: 413"
DOWN = "UNAVAILABLE (no answer from the provider): Received http2 header with status: 502"


def failed_with_413() -> Result:
    return a_result(Status.FAILED, wanted="Configure to answer OK", got=TOO_LARGE)


def not_judged() -> Result:
    return a_result(Status.ERROR, reason=f"Get was not answered: {DOWN}")


def test_a_failure_has_the_hint_after_the_observation() -> None:
    lines = terminal.evidence(failed_with_413())
    [number] = [number for number, line in enumerate(lines) if line.startswith("  hint    HTTP 413")]
    assert lines[number - 1] == f"  got     {TOO_LARGE}"
    assert "client_max_body_size" in lines[number]


def test_a_behaviour_that_was_not_judged_has_the_hint_after_its_reason() -> None:
    lines = terminal.findings(a_report(not_judged()))
    [number] = [number for number, line in enumerate(lines) if line.startswith("    hint HTTP 502")]
    assert lines[number - 1].endswith(DOWN)


def test_a_run_that_was_stopped_has_the_hint_after_the_verdict() -> None:
    lines = terminal.closing(a_report(not_judged(), stopped=f"the target is gone: List answered {DOWN}, twice"))
    [number] = [number for number, line in enumerate(lines) if "hint HTTP 502" in line]
    assert lines[number - 1].startswith("verdict")


@pytest.mark.parametrize("result", [failed_with_413(), not_judged()], ids=["failed", "not-judged"])
def test_the_page_has_the_hint(result: Result) -> None:
    [hint] = hints(result)
    assert f"<b>Hint:</b> {hint}</p>" in render.render(a_report(result))


def test_the_page_has_the_hint_for_a_run_that_was_stopped() -> None:
    page = render.render(a_report(a_result(Status.PASSED), stopped=f"the target is gone: List answered {DOWN}, twice"))
    assert "(HTTP 502 instead of a gRPC answer" in page


def test_a_decisive_call_has_the_hint_too_and_each_hint_is_shown_once() -> None:
    calls = [a_call(code=grpc.StatusCode.UNAVAILABLE, details="Received http2 header with status: 503")] * 2
    result = a_result(Status.FAILED, wanted="two acks", got="none", calls=tuple(calls), decisive=(0, 1))
    assert [hint[:8] for hint in hints(result)] == ["HTTP 503"]


def test_a_provider_that_answers_itself_has_no_hint() -> None:
    result = a_result(Status.FAILED, wanted="OK", got="INTERNAL: disk full", calls=(a_call(),), decisive=(0,))
    assert hints(result) == ()
    assert not any("hint" in line for line in terminal.evidence(result))
    assert "Hint:" not in render.render(a_report(result))
