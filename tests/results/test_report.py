from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.core.catalogue import Level
from conformance.results.compare import compare
from conformance.results.report import Home, Report
from conformance.results.result import Result, Status, Verdict, judge
from tests.values import a_report, a_result

P, F, W, S, E = Status.PASSED, Status.FAILED, Status.WARNED, Status.SKIPPED, Status.ERROR
MUST, SHOULD, MAY = Level.MUST, Level.SHOULD, Level.MAY
GOOD, BAD, OPEN = Verdict.CONFORMANT, Verdict.NON_CONFORMANT, Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("ended", "verdict", "strict"),
    [
        ([(MUST, P)], GOOD, GOOD),
        ([(MUST, P), (MUST, F)], BAD, BAD),
        ([(MUST, E), (MUST, F)], BAD, BAD),
        ([(MUST, P), (MUST, E)], OPEN, OPEN),
        ([(MUST, P), (SHOULD, E)], GOOD, OPEN),
        ([(MUST, P), (MAY, E)], GOOD, GOOD),
        ([(MUST, P), (SHOULD, W)], GOOD, BAD),
        ([(MUST, E), (SHOULD, W)], OPEN, BAD),
        ([(SHOULD, W)], GOOD, BAD),
        ([(MUST, P), (MUST, S)], GOOD, GOOD),
        ([(MUST, S), (MAY, S)], OPEN, OPEN),
        ([(SHOULD, E)], OPEN, OPEN),
        ([], OPEN, OPEN),
    ],
)
def test_the_verdict_by_statuses(ended: list[tuple[Level, Status]], verdict: Verdict, strict: Verdict) -> None:
    results = [a_result(status, level=level) for level, status in ended]
    assert judge(results) is verdict
    assert judge(results, strict=True) is strict


@pytest.mark.parametrize("left", [(), (("m1", "stuck"),)])
@pytest.mark.parametrize(("status", "code"), [(F, 1), (E, 3), (S, 3)])
def test_a_verdict_that_is_not_conformant_decides_the_exit_code(
    status: Status, code: int, left: tuple[tuple[str, str], ...]
) -> None:
    assert a_report(a_result(status), home=Home(left=left)).exit_code == code


def test_a_conformant_run_that_left_machines_has_exit_code_4() -> None:
    assert a_report(a_result()).exit_code == 0
    assert a_report(a_result(), home=Home(left=(("m1", "stuck"),))).exit_code == 4


def test_machines_kept_by_option_do_not_change_the_exit_code() -> None:
    report = a_report(a_result(), home=Home(left=(("m1", "kept, IDLE"),), kept=True))
    assert (report.exit_code, report.home.clean) == (0, False)


def test_a_missing_required_capability_is_not_conformant() -> None:
    assert a_report(a_result(), lacking=("delete",)).exit_code == 1


def test_a_strict_report_counts_its_warnings() -> None:
    warned = a_result(W, level=SHOULD)
    assert (a_report(warned).verdict, a_report(warned, strict=True).verdict) == (GOOD, BAD)


def test_results_are_selected_by_status_in_order() -> None:
    report = a_report(a_result(F, "TST-1a"), a_result(P, "TST-1b"), a_result(W, "TST-1c"))
    assert [result.id for result in report.with_status(W, F)] == ["TST-1a", "TST-1c"]


# Only what is new.


def since(*before: Result, after: tuple[Result, ...], **given: object) -> Report:
    report = a_report(*after, only_new=True, **given)
    return replace(report, comparison=compare(a_report(*before), report))


def failing(behaviour: str = "TST-1a", got: str = "y") -> Result:
    return a_result(F, behaviour, wanted="x", got=got)


OTHERWISE = a_result(F, wanted="Get to answer NOT_FOUND", got="INTERNAL")
UNJUDGED = a_result(E, "TST-3a")
WHOLE = a_result(P, "TST-2a")


@pytest.mark.parametrize(
    ("report", "code", "verdict"),
    [
        (since(failing(), after=(failing(), WHOLE)), 0, BAD),
        (since(failing(), after=(failing(),)), 0, BAD),
        (since(failing(), after=(failing(got="z"), WHOLE)), 0, BAD),
        (since(failing(), after=(OTHERWISE, WHOLE)), 1, BAD),
        (since(a_result(P), after=(failing(), WHOLE)), 1, BAD),
        (since(WHOLE, after=(failing(), WHOLE)), 1, BAD),
        (since(UNJUDGED, after=(UNJUDGED, WHOLE)), 0, OPEN),
        (since(WHOLE, after=(UNJUDGED, WHOLE)), 3, OPEN),
        (since(UNJUDGED, after=(UNJUDGED,)), 3, OPEN),
        (since(UNJUDGED, after=(UNJUDGED, WHOLE), stopped="interrupted"), 3, OPEN),
        (since(failing(), after=(failing(), WHOLE), lacking=("delete",)), 1, BAD),
        (since(failing(), after=(failing(), WHOLE), home=Home(left=(("m", "r"),))), 4, BAD),
    ],
)
def test_only_new_failures_count_for_the_exit_code_and_the_verdict_stays(
    report: Report, code: int, verdict: Verdict
) -> None:
    assert (report.exit_code, report.verdict) == (code, verdict)
    assert replace(report, only_new=False).exit_code == {BAD: 1, OPEN: 3}[verdict]
