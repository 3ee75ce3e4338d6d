"""The rollout lane finds what a stop or an upgrade loses, and has no findings on unusual providers."""

from __future__ import annotations

import asyncio

import pytest

from conformance.results.result import Status, Verdict
from selftest import rollout_mutants as rollout_mutants
from selftest import rollout_newer as rollout_newer
from selftest import rollout_oddities as rollout_oddities
from selftest.rolled import MUTANTS, ODDITIES, Rolled


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_the_lane_finds_what_a_rollout_loses(mutant: Rolled) -> None:
    report = asyncio.run(mutant.judge(*mutant.found_by, seed=1))
    found = {result.id: result for result in report.with_status(Status.FAILED, Status.WARNED)}
    first = mutant.found_by[0]
    assert first in found, {result.id: f"{result.status} {result.reason}" for result in report.results}
    assert first.partition("-")[0] in found[first].reason or found[first].wanted


@pytest.mark.timeout(600)
@pytest.mark.parametrize("provider", ODDITIES.values(), ids=lambda provider: provider.name)
def test_the_lane_has_no_findings_on_a_provider_that_loses_nothing(provider: Rolled) -> None:
    report = asyncio.run(provider.judge(seed=2))
    wrong = report.with_status(Status.FAILED, Status.WARNED, Status.ERROR)
    assert [f"{result.id} {result.status}: {result.reason}" for result in wrong] == []
    assert report.verdict is Verdict.CONFORMANT
    assert report.home.left == ()
