"""The rollout lane finds what a stop, an upgrade or a failover loses, and has no findings on unusual providers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from conformance.results.result import Status, Verdict
from selftest import replica_mutants as replica_mutants
from selftest import replicated, rolled
from selftest import rollout_mutants as rollout_mutants
from selftest import rollout_newer as rollout_newer
from selftest import rollout_oddities as rollout_oddities

if TYPE_CHECKING:
    from selftest.replicated import Replicated
    from selftest.rolled import Rolled

MUTANTS = (*rolled.MUTANTS.values(), *replicated.MUTANTS.values())
ODDITIES = (*rolled.ODDITIES.values(), *replicated.ODDITIES.values())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_lane_finds_what_a_rollout_loses(mutant: Rolled | Replicated) -> None:
    report = asyncio.run(mutant.judge(*mutant.found_by, seed=1))
    found = {result.id: result for result in report.with_status(Status.FAILED, Status.WARNED)}
    first = mutant.found_by[0]
    assert first in found, {result.id: f"{result.status} {result.reason}" for result in report.results}
    assert found[first].wanted


@pytest.mark.timeout(600)
@pytest.mark.parametrize("provider", ODDITIES, ids=lambda provider: provider.name)
def test_the_lane_has_no_findings_on_a_provider_that_loses_nothing(provider: Rolled | Replicated) -> None:
    report = asyncio.run(provider.judge(seed=2))
    wrong = report.with_status(Status.FAILED, Status.WARNED, Status.ERROR)
    assert [f"{result.id} {result.status}: {result.reason}" for result in wrong] == []
    assert report.verdict is Verdict.CONFORMANT
    assert report.home.left == ()
