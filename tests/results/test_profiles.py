"""The profiles that a run claims, and the clauses that it judged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from conformance import lanes
from conformance.core import catalogue
from conformance.core.catalogue import Level
from conformance.core.profiles import PROFILES
from conformance.core.sections import SECTIONS
from conformance.results import profiles
from conformance.results.bill import Bill
from conformance.results.kit_coverage import KitCoverage
from conformance.results.report import Home
from conformance.results.result import Status
from tests.values import a_found, a_report, a_result

if TYPE_CHECKING:
    from conformance.results.profiles import Claim
    from conformance.results.report import Report

TODAY = KitCoverage(lane="conformance", lanes={"conformance": ("LIF-8", "SHP-2"), "scale": ("LIF-1",)})
"""A kit in which no lane judges failure, durability and rollout."""
KEPT = (a_result(behaviour_id="LIF-8a"), a_result(behaviour_id="SHP-2b"))


def run_of(*results: Any, **given: Any) -> Report:
    """Returns a complete run of the suite: with `results` in addition to those that hold."""
    changed = {result.id for result in results}
    kept = [result for result in KEPT if result.id not in changed]
    return a_report(*kept, *results, **({"coverage": TODAY} | given))


def claim(report: Report, name: str) -> Claim:
    return next(each for each in profiles.claims(report) if each.profile.name == name)


def test_a_cloud_with_spot_machines_claims_three_profiles() -> None:
    report = run_of()
    assert profiles.claimed(report) == ("core", "cloud", "spot")
    assert {each.profile.name: each.line for each in profiles.claims(report)} == {
        "core": "claimed",
        "cloud": "claimed",
        "bare-metal": "not claimed: the provider has Delete, so it is cloud",
        "spot": "claimed",
        "faults": "not claimed: no behaviour judges §9 FLT yet",
        "durable": "not claimed: no behaviour judges §10 DUR yet",
        "rollout": "not claimed: no behaviour judges §13 ROL yet",
        "scale": "not claimed: the scale lane was not run (--lane scale)",
    }


def test_a_provider_without_delete_and_spot_is_bare_metal() -> None:
    found = a_found(delete=False, spot=False, capacity_types=("BARE_METAL", "RESERVED"))
    report = run_of(found=found)
    assert profiles.claimed(report) == ("core", "bare-metal")
    assert claim(report, "cloud").reason == "Delete is UNIMPLEMENTED, so it is bare-metal"
    assert claim(report, "spot").reason == "no machine of the inventory is SPOT (BARE_METAL, RESERVED)"


def test_a_record_without_capacity_types_still_says_that_no_machine_is_spot() -> None:
    report = run_of(found=a_found(spot=False))
    assert claim(report, "spot").reason == "no machine of the inventory is SPOT"


def test_a_cloud_in_which_nothing_could_be_created_is_not_claimed() -> None:
    assert claim(run_of(bill=Bill()), "cloud").reason == "no machine was created"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"whole": False}, "partial run: not all behaviours were selected"),
        ({"home": Home(known=False)}, "the log ends before the run does"),
        ({"found": None}, "the target was not reached"),
    ],
)
def test_an_incomplete_run_claims_nothing(given: dict[str, Any], reason: str) -> None:
    report = run_of(**given)
    assert profiles.claimed(report) == ()
    assert claim(report, "core").reason == reason


@pytest.mark.parametrize(
    ("status", "level", "strict", "reason"),
    [
        (Status.FAILED, Level.MUST, False, "FEN-1a failed"),
        (Status.WARNED, Level.SHOULD, True, "FEN-1a failed"),
        (Status.ERROR, Level.MUST, False, "FEN-1a was not judged"),
        (Status.ERROR, Level.SHOULD, True, "FEN-1a was not judged"),
    ],
)
def test_a_behaviour_that_does_not_hold_prevents_the_claims(
    status: Status, level: Level, strict: bool, reason: str
) -> None:
    report = run_of(a_result(status, "FEN-1a", level=level), strict=strict)
    assert claim(report, "core").reason == reason
    assert claim(report, "cloud").reason == claim(report, "spot").reason == "core is not claimed"


@pytest.mark.parametrize(
    ("status", "line"),
    [(Status.WARNED, "claimed, 1 warning"), (Status.ERROR, "claimed")],
)
def test_a_should_does_not_prevent_a_claim(status: Status, line: str) -> None:
    assert claim(run_of(a_result(status, "FEN-1a", level=Level.SHOULD)), "core").line == line


def test_a_claim_names_the_clauses_that_were_skipped() -> None:
    skipped = a_result(Status.SKIPPED, "SEC-1a", reason="no TLS")
    assert claim(run_of(skipped), "core").line == "claimed, without SEC-1 (skipped)"


def test_many_failures_are_cut_to_three() -> None:
    failed = [a_result(Status.FAILED, f"FEN-1{letter}") for letter in "abcde"]
    assert claim(run_of(*failed), "core").reason == "FEN-1a, FEN-1b, FEN-1c and 2 more failed"


@pytest.mark.parametrize(("profile", "behaviour"), [("cloud", "LIF-8a"), ("spot", "SHP-2b")])
def test_a_clause_of_the_profile_must_be_judged(profile: str, behaviour: str) -> None:
    report = run_of(a_result(Status.SKIPPED, behaviour, reason="r"))
    clause = catalogue.clause_of(behaviour)
    assert claim(report, profile).reason == f"{clause} was skipped: r"
    assert claim(report, "core").claimed


def test_a_run_in_which_nothing_was_judged_claims_nothing() -> None:
    report = run_of(*(replace(result, status=Status.SKIPPED, reason="r") for result in KEPT))
    assert claim(report, "core").reason == "its behaviours were not judged"


def test_the_scale_lane_claims_its_profile_only() -> None:
    scale = replace(TODAY, lane="scale")
    report = a_report(a_result(behaviour_id="LIF-1scale"), coverage=scale)
    assert profiles.claimed(report) == ("scale",)
    assert claim(report, "core").reason == "the conformance lane was not run (--lane conformance)"
    broken = a_report(a_result(Status.FAILED, "LIF-1scale"), coverage=scale)
    assert claim(broken, "scale").reason == "LIF-1scale failed"


# A lane of the future: its catalogue has behaviours, and nothing else is registered.

LANES = {"faults": "FLT", "durable": "DUR", "rollout": "ROL"}


def demanded(area: str) -> list[str]:
    """Returns the clauses of an area that a claim needs."""
    clauses = [clause for clause in catalogue.load().clauses if clause.area == area]
    return [clause.id for clause in clauses if clause.level is Level.MUST and not clause.where]


@pytest.mark.parametrize(("profile", "area"), LANES.items())
def test_a_lane_with_behaviours_claims_the_profile_of_their_area(profile: str, area: str) -> None:
    clauses = demanded(area)
    known = KitCoverage(lane="future", lanes={**TODAY.lanes, "future": tuple(clauses)})
    results = [a_result(behaviour_id=f"{clause}a") for clause in clauses]
    assert profiles.claimed(a_report(*results, coverage=known)) == (profile,)
    other = run_of(coverage=replace(known, lane="conformance"))
    assert claim(other, profile).reason == "the future lane was not run (--lane future)"
    *most, last = results
    assert last.status is Status.PASSED
    skipped = replace(last, status=Status.SKIPPED, reason="no hook")
    assert claim(a_report(*most, skipped, coverage=known), profile).claimed is False
    failed = replace(last, status=Status.FAILED)
    assert claim(a_report(*most, failed, coverage=known), profile).reason == f"{last.id} failed"


def test_a_must_that_no_behaviour_judges_prevents_the_claim_of_its_lane() -> None:
    known = KitCoverage(lane="future", lanes={"future": ("FLT-1",)})
    report = a_report(a_result(behaviour_id="FLT-1a"), coverage=known)
    assert claim(report, "faults").reason == "no behaviour judges FLT-2 yet"


def test_a_record_of_an_older_release_says_only_what_was_run() -> None:
    report = run_of(coverage=KitCoverage())
    assert profiles.claimed(report) == ("core", "cloud", "spot")
    assert claim(report, "faults").reason == "no behaviour that judges §9 FLT was run"


def test_the_coverage_has_a_reason_for_each_clause_that_was_not_judged() -> None:
    report = run_of(
        a_result(Status.SKIPPED, "SEC-1a", reason="no TLS"), a_result(Status.ERROR, "FEN-1a", reason="unreachable")
    )
    sections = {each.section.area: each for each in profiles.coverage(report)}
    assert list(sections) == list(SECTIONS)
    assert sections["LIF"].judged == ("LIF-8",)
    assert sections["SEC"].unjudged == {"SEC-1": "skipped: no TLS"}
    assert sections["FEN"].unjudged["FEN-1"] == "not judged: unreachable"
    assert sections["FLT"].unjudged["FLT-1"] == "no behaviour judges FLT-1 yet"


def test_every_area_of_the_contract_belongs_to_one_section_and_one_profile() -> None:
    areas = list(dict.fromkeys(clause.area for clause in catalogue.load().clauses))
    assert areas == list(SECTIONS)
    assert sorted(area for profile in PROFILES for area in profile.areas) == sorted(areas)


def test_every_lane_and_clause_of_a_profile_exists() -> None:
    assert {profile.lane for profile in PROFILES} - {""} <= {lane.name for lane in lanes.all_lanes()}
    assert {name for profile in PROFILES for name in profile.clauses} <= {c.id for c in catalogue.load().clauses}


def test_a_clause_names_a_lane_only_until_another_lane_judges_it() -> None:
    suite = {entry.clause.id for entry in catalogue.load().entries}
    assert not [clause.id for clause in catalogue.load().clauses if clause.lane and clause.id in suite]
