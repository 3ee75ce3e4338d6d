from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest

from conformance.results.compare import change_of, compare
from conformance.results.comparison import Kind, Tolerance
from conformance.results.result import Result, Status
from tests.values import a_call, a_found, a_report, a_result

if TYPE_CHECKING:
    from conformance.results.report import Report

P, F, W, S, E = Status.PASSED, Status.FAILED, Status.WARNED, Status.SKIPPED, Status.ERROR
SOME_CALLS = (a_call(),)


def failed(got: str = "y", behaviour: str = "TST-1a", **given: object) -> Result:
    return a_result(F, behaviour, wanted="x", got=got, reason=f"wanted x; got {got}", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (a_result(P), a_result(P), None),
        (a_result(P), failed(), Kind.NEWLY_FAILING),
        (None, failed(), Kind.NEWLY_FAILING),
        (a_result(S), failed(), Kind.NEWLY_FAILING),
        (a_result(E), failed(), Kind.NEWLY_FAILING),
        (failed("12 left"), failed("7 left"), Kind.STILL_FAILING),
        (failed("one"), failed("another"), Kind.STILL_FAILING),
        (failed(), a_result(F, wanted="Get to answer NOT_FOUND", got="INTERNAL"), Kind.FAILS_DIFFERENTLY),
        (a_result(W, wanted="x", got="y"), failed(), Kind.FAILS_DIFFERENTLY),
        (a_result(P), a_result(E), Kind.NEWLY_UNJUDGED),
        (failed(), a_result(E), Kind.NEWLY_UNJUDGED),
        (a_result(E), a_result(E), Kind.STILL_UNJUDGED),
        (a_result(P), a_result(S), Kind.NEWLY_SKIPPED),
        (a_result(P), a_result(S, calls=SOME_CALLS), Kind.BY_CHANCE),
        (a_result(P), a_result(S, calls=SOME_CALLS, wanted="a MAY", got="not"), Kind.NEWLY_SKIPPED),
        (failed(), a_result(S, calls=SOME_CALLS), Kind.NEWLY_SKIPPED),
        (a_result(S), a_result(S, calls=SOME_CALLS), None),
        (a_result(S, calls=SOME_CALLS), a_result(P), Kind.BY_CHANCE),
        (a_result(S), a_result(P), Kind.NEWLY_COVERED),
        (a_result(E), a_result(P), Kind.NEWLY_COVERED),
        (None, a_result(P), Kind.NEWLY_COVERED),
        (failed(), a_result(P), Kind.NEWLY_PASSING),
        (a_result(P), None, Kind.GONE),
    ],
)
def test_kind_of_change_of_a_behaviour(before: Result | None, after: Result | None, kind: Kind | None) -> None:
    assert change_of(before, after) is kind


def test_random_ids_and_times_are_not_differences() -> None:
    old = a_report(failed("machine-0007 after 3 s"), a_result(P, "TST-2a", seconds=1.0), seed=1, run="cpc-1")
    new = a_report(failed("machine-0009 after 4 s"), a_result(P, "TST-2a", seconds=9.0), seed=2, run="cpc-2")
    found = compare(old, new)
    assert not found.differs
    assert [change.kind for change in found.changes] == [Kind.STILL_FAILING]
    assert found.known == {"TST-1a"}


def test_unselected_behaviours_are_not_changes() -> None:
    old = a_report(a_result(P), a_result(P, "TST-2a"))
    part = compare(old, a_report(a_result(P), whole=False))
    assert (part.changes, part.unselected, part.differs) == ((), 1, True)
    gone = compare(old, a_report(a_result(P)))
    assert [(c.id, c.kind) for c in gone.changes] == [("TST-2a", Kind.GONE)]


def run_with_answers(*codes: grpc.StatusCode, answered: bool = True, concurrent: bool = False) -> Report:
    """Returns a run with one behaviour whose Drains got these codes, sequentially or concurrently."""
    calls = [a_call("Drain", code=code, answered=answered) for code in codes]
    times = [0.0 if concurrent else float(number) for number in range(len(calls))]
    spread = (replace(call, started=at, ended=at + 0.5) for call, at in zip(calls, times, strict=True))
    return a_report(a_result(P, calls=tuple(spread)))


OK, ABORTED, FENCED = grpc.StatusCode.OK, grpc.StatusCode.ABORTED, grpc.StatusCode.FAILED_PRECONDITION
GONE, BUSY = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("here", "there", "differs"),
    [
        (run_with_answers(OK, ABORTED), run_with_answers(OK, BUSY), True),
        (run_with_answers(GONE, ABORTED), run_with_answers(GONE, BUSY), True),
        (run_with_answers(OK, ABORTED), run_with_answers(OK), False),
        (run_with_answers(ABORTED, FENCED), run_with_answers(OK, FENCED), False),
        (run_with_answers(ABORTED), run_with_answers(BUSY, answered=False), False),
    ],
)
def test_answers_differ_if_both_refuse_with_different_codes(here: Report, there: Report, differs: bool) -> None:
    for found in (compare(here, there), compare(there, here)):
        assert found.differs is differs
        assert [change.kind for change in found.changes] == [Kind.ANSWERS_DIFFER] * differs
    if differs:
        codes = compare(here, there).changes[0].codes()["Drain"]
        assert "ABORTED" in codes[0]
        assert "UNAVAILABLE" in codes[1]


def test_answers_to_concurrent_calls_are_not_compared() -> None:
    race, other = run_with_answers(OK, ABORTED, concurrent=True), run_with_answers(OK, BUSY, concurrent=True)
    assert not compare(race, other).differs
    assert not compare(race, run_with_answers(OK, BUSY)).differs
    assert compare(run_with_answers(OK, ABORTED), run_with_answers(OK, BUSY)).differs


def test_target_properties_are_compared_except_the_fleet() -> None:
    old = a_report(a_result(), found=a_found())
    assert not compare(old, a_report(a_result(), found=a_found(fleet={"IDLE": 9}))).differs
    lost = compare(old, a_report(a_result(), found=a_found(delete=False, zones=(), health=None)))
    assert [(t.name, t.before, t.after) for t in lost.traits] == [
        ("delete", "yes", "no"),
        ("health", "SERVING", "none"),
        ("zones", "a, b", "none"),
    ]
    assert not compare(old, a_report(a_result(), found=None)).traits


def run_with_latency(seconds: float, count: int = 5) -> Report:
    call = replace(a_call(), started=1.0, ended=1.0 + seconds)
    return a_report(a_result(calls=(call,) * count))


@pytest.mark.parametrize(
    ("before", "after", "slower"),
    [(0.1, 0.2, True), (0.1, 0.149, False), (0.001, 0.004, False), (0.2, 0.1, False), (0.010, 0.016, True)],
)
def test_an_rpc_is_slower_if_it_exceeds_both_tolerances(before: float, after: float, slower: bool) -> None:
    found = compare(run_with_latency(before), run_with_latency(after))
    assert [each.rpc for each in found.slower] == ["Get"] * slower
    assert not found.differs
    assert str(found.tolerance) == "1.5 x and 5 ms"


def test_few_calls_have_no_median_and_the_tolerance_is_an_option() -> None:
    assert not compare(run_with_latency(0.1, count=4), run_with_latency(9.0)).slower
    assert not compare(run_with_latency(0.1), run_with_latency(9.0), tolerance=Tolerance(factor=100)).slower


def test_new_consequences_of_a_new_failure_are_listed_with_it() -> None:
    old = a_report(a_result(P, "TST-1a"), a_result(P, "TST-2a"), a_result(P, "TST-3a"))
    new = a_report(
        failed(behaviour="TST-1a"), failed(behaviour="TST-2a", rests_on=["TST-1a"]), failed(behaviour="TST-3a")
    )
    heads = compare(old, new).heads(Kind.NEWLY_FAILING)
    assert [(head.id, [other.id for other in others]) for head, others in heads] == [
        ("TST-1a", ["TST-2a"]),
        ("TST-3a", []),
    ]
    mended = compare(new, old).heads(Kind.NEWLY_PASSING)
    assert [(head.id, len(others)) for head, others in mended] == [("TST-1a", 1), ("TST-3a", 0)]


def test_new_consequences_of_an_old_failure_are_listed_alone_with_the_cause() -> None:
    base = failed(behaviour="TST-1a")
    old = a_report(base, a_result(P, "TST-2a"))
    new = a_report(base, failed(behaviour="TST-2a", rests_on=["TST-1a"]))
    ((head, others),) = compare(old, new).heads(Kind.NEWLY_FAILING, Kind.STILL_FAILING)[1:]
    assert (head.id, head.cause, others) == ("TST-2a", "TST-1a", ())
