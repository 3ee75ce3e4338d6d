"""The faults lane finds every provider that fails wrongly, and has no findings on odd but conformant ones."""

from __future__ import annotations

import pytest

from conformance import lanes
from conformance.core.catalogue import Level, clause_of
from conformance.results.result import Status, Verdict
from selftest import faults_mutants as faults_mutants
from selftest import faults_mutants_others as faults_mutants_others
from selftest import faults_oddities as faults_oddities
from selftest.faults_mutant import FAULTS_MUTANTS, ODDITIES, FaultyProvider

pytestmark = pytest.mark.timeout(240)

WITHOUT_MUTANT = ("FLT-7a",)
"""Judged only where the backend can be asked; tests/lanes/test_faults.py has its broken backend."""


@pytest.mark.parametrize("mutant", FAULTS_MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_the_lane_finds_a_provider_that_fails_wrongly(mutant: FaultyProvider) -> None:
    report = mutant.judge()
    found = {result.id: result.reason for result in report.with_status(Status.FAILED, Status.WARNED)}
    assert {*mutant.found_by} <= found.keys(), found
    assert mutant.clause in {clause_of(name) for name in mutant.found_by}
    assert report.verdict is Verdict.NON_CONFORMANT


@pytest.mark.parametrize("oddity", ODDITIES.values(), ids=lambda oddity: oddity.name)
def test_the_lane_has_no_findings_on_an_odd_provider_that_conforms(oddity: FaultyProvider) -> None:
    report = oddity.judge()
    wrong = report.with_status(Status.FAILED, Status.WARNED, Status.ERROR)
    assert [f"{result.id}: {result.reason}" for result in wrong] == []
    assert {*oddity.skips} <= {result.id for result in report.with_status(Status.SKIPPED)}
    assert report.home.left == ()
    assert report.bill.create <= 20


def test_every_behaviour_of_the_lane_is_proven_by_a_mutant() -> None:
    proven = {name for mutant in FAULTS_MUTANTS.values() for name in mutant.found_by}
    entries = [entry.id for entry in lanes.named("faults").entries() if entry.level is not Level.MAY]
    assert [name for name in entries if name not in proven and name not in WITHOUT_MUTANT] == []
