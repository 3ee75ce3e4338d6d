"""The durability lane finds what a kill loses, and has no findings on unusual providers that lose nothing."""

from __future__ import annotations

import asyncio

import pytest

from conformance.results.result import Status, Verdict
from selftest import durability_cuts as durability_cuts
from selftest import durability_mutants as durability_mutants
from selftest import durability_oddities as durability_oddities
from selftest.durable import DURABLE, ODDITIES, Durable


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", DURABLE.values(), ids=lambda mutant: mutant.name)
def test_the_lane_finds_what_a_kill_loses(mutant: Durable) -> None:
    report = asyncio.run(mutant.judge(*mutant.found_by, seed=1))
    found = {result.id: result for result in report.with_status(Status.FAILED, Status.WARNED)}
    first = mutant.found_by[0]
    assert first in found, {result.id: f"{result.status} {result.reason}" for result in report.results}
    assert "after" in found[first].wanted or "fence" in found[first].wanted or found[first].calls


@pytest.mark.timeout(600)
@pytest.mark.parametrize("provider", ODDITIES.values(), ids=lambda provider: provider.name)
def test_the_lane_has_no_findings_on_a_provider_that_loses_nothing(provider: Durable) -> None:
    report = asyncio.run(provider.judge(seed=2))
    wrong = report.with_status(Status.FAILED, Status.WARNED, Status.ERROR)
    assert [f"{result.id} {result.status}: {result.reason}" for result in wrong] == []
    assert report.verdict is Verdict.CONFORMANT
    assert report.home.left == ()
