"""The certificate as a pure function of the lanes' reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.core import catalogue
from conformance.core.catalogue import Level
from conformance.core.profiles import PROFILES
from conformance.results.bill import Bill
from conformance.results.certificate import (
    EXIT_CODES,
    Certificate,
    ClauseStatus,
    LaneOutcome,
    certificate,
    exit_code,
    inapplicable,
)
from conformance.results.kit_coverage import KitCoverage
from conformance.results.report import Home
from conformance.results.result import Result, Status, Verdict
from tests.values import a_report

if TYPE_CHECKING:
    from conformance.results.report import Report

CLAUSES = {clause.id: clause for clause in catalogue.load().clauses}
JUDGES = {
    "conformance": ("LIF-1", "LIF-8", "FEN-3", "SHP-2"),
    "scale": ("LIF-1", "FEN-3"),
    "faults": tuple(name for name in CLAUSES if name.startswith("FLT")),
    "durability": tuple(name for name in CLAUSES if name.startswith("DUR")),
}
LANES = tuple(JUDGES)


def a_clause_result(clause: str, status: Status = Status.PASSED, **given: Any) -> Result:
    """Returns a result of the first behaviour of a real clause."""
    entry = catalogue.Entry(
        id=f"{clause}a",
        clause=CLAUSES[clause],
        level=CLAUSES[clause].level,
        title=f"The title of {clause}",
        observed="By a test.",
        since="0.1.0",
    )
    return Result(entry=entry, status=status, **given)


def a_lane(lane: str, *changed: Result, **given: Any) -> LaneOutcome:
    """Returns the outcome of a lane in which every clause holds, except those of the `changed` results."""
    others = {result.entry.clause.id for result in changed}
    kept = [a_clause_result(clause) for clause in JUDGES[lane] if clause not in others]
    coverage = KitCoverage(lane=lane, lanes=JUDGES)
    return LaneOutcome(lane=lane, report=a_report(*changed, *kept, **({"coverage": coverage} | given)), path=lane)


def of(*outcomes: LaneOutcome) -> Certificate:
    return certificate(outcomes, kit="1.0", target="host:1", seed=7)


def rows_of(found: Certificate) -> dict[str, Any]:
    return {row.name: row for row in found.profiles}


def clause_of(found: Certificate, name: str) -> Any:
    return next(row for row in found.clauses if row.clause == name)


def report_of(outcome: LaneOutcome) -> Report:
    assert outcome.report is not None
    return outcome.report


def test_lanes_in_which_everything_holds_claim_their_profiles() -> None:
    found = of(*map(a_lane, LANES))
    assert (found.verdict, found.exit_code) == (Verdict.CONFORMANT, 0)
    assert found.claimed == ("core", "cloud", "spot", "faults", "durable", "scale")
    rows = rows_of(found)
    assert rows["core"].lanes == ("conformance", "scale")
    assert rows["durable"].lanes == ("durability",)
    assert rows["rollout"].reason == "no behaviour judges §13 ROL yet"
    assert [row.report for row in found.lanes] == [f"{lane}/report.json" for lane in LANES]
    assert (found.creates, found.seconds) == (4, 8.0)


def test_each_clause_has_one_row_with_the_lanes_that_agree() -> None:
    found = of(*map(a_lane, LANES))
    assert len(found.clauses) == sum(clause.level is not Level.MAY for clause in CLAUSES.values())
    assert clause_of(found, "LIF-1").lanes == ("conformance", "scale")
    assert clause_of(found, "LIF-1").status is ClauseStatus.KEPT
    assert clause_of(found, "ROL-1").reason == "no behaviour judges ROL-1 yet"
    assert clause_of(found, "ROL-1").status is ClauseStatus.NOT_JUDGED


def test_a_failure_in_one_lane_takes_the_profile_that_another_lane_claims() -> None:
    """The suite has passed FEN-3, but under load the scale lane has seen it broken."""
    broken = a_clause_result("FEN-3", Status.FAILED, wanted="FAILED_PRECONDITION", got="OK")
    found = of(a_lane("conformance"), a_lane("scale", broken), a_lane("durability"))
    assert (found.verdict, found.exit_code) == (Verdict.NON_CONFORMANT, 1)
    assert found.claimed == ("durable",)
    rows = rows_of(found)
    assert rows["core"].reason == "FEN-3a failed in the scale lane"
    assert rows["core"].failed == ("FEN-3a",)
    assert rows["cloud"].reason == "core is not claimed"
    assert rows["scale"].reason == "FEN-3a failed in the scale lane"
    first = found.clauses[0]
    assert (first.clause, first.status, first.lanes) == ("FEN-3", ClauseStatus.BROKEN, ("scale",))
    assert (first.behaviours, first.reason) == (("FEN-3a",), "wanted FAILED_PRECONDITION; got OK")


def test_a_cause_comes_before_its_consequences_and_clauses_that_could_not_be_judged() -> None:
    lost = a_clause_result("DUR-4", Status.FAILED, wanted="x", got="y")
    unclear = a_clause_result("FLT-1", Status.ERROR, reason="not judged: a test")
    warned = a_clause_result("DUR-7", Status.WARNED, got="z")
    found = of(a_lane("faults", unclear), a_lane("durability", lost, warned))
    assert [row.clause for row in found.clauses[:3]] == ["DUR-4", "DUR-7", "FLT-1"]
    order = [list(ClauseStatus).index(row.status) for row in found.clauses]
    assert order == sorted(order)


def test_a_lane_that_could_judge_nothing_of_its_own_is_named_and_does_not_change_the_exit_code() -> None:
    reason = "not observed: give --provider-cmd"
    skipped = [a_clause_result(clause, Status.SKIPPED, reason=reason) for clause in JUDGES["durability"]]
    outcome = a_lane("durability", *skipped)
    assert inapplicable(report_of(outcome)) == reason
    found = of(a_lane("conformance"), outcome)
    row = found.lanes[1]
    assert (row.verdict, row.verdict_line, row.reason, row.exit_code) == (None, "not judged", reason, 0)
    assert (found.verdict, found.exit_code) == (Verdict.CONFORMANT, 0)
    assert rows_of(found)["durable"].reason == f"the durability lane could judge nothing: {reason}"
    assert clause_of(found, "DUR-1").status is ClauseStatus.SKIPPED


def test_if_every_lane_could_judge_nothing_the_run_is_inconclusive() -> None:
    skipped = [a_clause_result(clause, Status.SKIPPED, reason="a reason") for clause in JUDGES["faults"]]
    found = of(a_lane("faults", *skipped))
    assert (found.verdict, found.exit_code) == (Verdict.INCONCLUSIVE, 3)


def test_a_lane_that_did_not_run_is_named_and_makes_the_whole_inconclusive() -> None:
    found = of(a_lane("conformance"), LaneOutcome(lane="durability", reason="interrupted (SIGINT)"))
    row = found.lanes[1]
    assert (row.verdict_line, row.reason, row.report) == ("not run", "interrupted (SIGINT)", "")
    assert (found.verdict, found.exit_code) == (Verdict.INCONCLUSIVE, 3)
    reason = "the durability lane was not run: interrupted (SIGINT)"
    assert rows_of(found)["durable"].reason == clause_of(found, "DUR-1").reason == reason


def test_a_machine_that_was_not_returned_is_in_the_certificate() -> None:
    found = of(a_lane("conformance", home=Home(left=(("m1", "a reason"),))), a_lane("scale"))
    assert (found.exit_code, found.left, found.verdict) == (4, ("m1",), Verdict.CONFORMANT)


def test_the_bill_is_summed() -> None:
    found = of(a_lane("conformance", bill=Bill(create=3)), a_lane("durability", bill=Bill(create=2, restarts=5)))
    assert (found.creates, found.restarts) == (5, 5)


STATUSES = st.sampled_from([Status.PASSED, Status.FAILED, Status.WARNED, Status.ERROR, Status.SKIPPED])


@st.composite
def outcomes(draw: st.DrawFn) -> list[LaneOutcome]:
    """Some lanes: each with any results, or without a report."""
    found = []
    for lane in draw(st.lists(st.sampled_from(LANES), unique=True)):
        if draw(st.booleans()):
            changed = [a_clause_result(clause, draw(STATUSES), reason="why") for clause in JUDGES[lane]]
            left = (("m1", "stuck"),) if draw(st.booleans()) else ()
            found.append(a_lane(lane, *changed, home=Home(left=left)))
        else:
            found.append(LaneOutcome(lane=lane, reason="stopped"))
    return found


@given(outcomes())
def test_whatever_the_lanes_found(lanes: list[LaneOutcome]) -> None:
    """The exit code follows the order 1, 3, 4; no broken profile is claimed; nothing is left out."""
    found = of(*lanes)
    codes = {row.exit_code for row in found.lanes}
    assert exit_code(found.lanes) == found.exit_code
    assert found.exit_code == next((code for code in EXIT_CODES if code in codes), found.exit_code)
    assert (found.exit_code == 1) == (found.verdict is Verdict.NON_CONFORMANT)
    assert [row.name for row in found.profiles] == [profile.name for profile in PROFILES]
    assert all(not (row.claimed and row.failed) for row in found.profiles)
    assert all(row.claimed or row.reason for row in found.profiles)
    assert all(row.status is ClauseStatus.KEPT or row.reason for row in found.clauses)
    failed = {r.id for lane in lanes if lane.report for r in lane.report.with_status(Status.FAILED)}
    assert {name for row in found.with_status(ClauseStatus.BROKEN) for name in row.behaviours} == failed
    if found.exit_code == 0:
        assert any(row.verdict is Verdict.CONFORMANT for row in found.lanes)
        assert not found.left


@pytest.mark.parametrize(
    ("codes", "whole"), [((0, 0), 0), ((0, 4), 4), ((4, 3), 3), ((3, 1, 4), 1), ((0, 1), 1), ((), 3)]
)
def test_the_exit_code_of_the_whole(codes: tuple[int, ...], whole: int) -> None:
    made: dict[int, dict[str, Any]] = {
        0: {},
        1: {"lacking": ("spot",)},
        3: {"stopped": "a reason", "home": Home(known=False)},
        4: {"home": Home(left=(("m1", "stuck"),))},
    }
    found = of(*(a_lane(lane, **made[code]) for lane, code in zip(LANES, codes, strict=False)))
    assert [row.exit_code for row in found.lanes] == list(codes)
    assert found.exit_code == whole
