"""No behaviour fails, warns or is undecided on a provider that is odd but conformant."""

from __future__ import annotations

import asyncio
import os

import pytest

from conformance.report import Status, Verdict
from selftest.judge import judge_variant
from selftest.variants import VARIANTS, Variant

SEEDS = range(int(os.environ.get("CONFORMANCE_SEEDS", "1")))
"""CONFORMANCE_SEEDS=20 runs every variant with twenty seeds."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda v: v.name)
def test_nothing_is_found_in_a_conformant_provider(variant: Variant, seed: int) -> None:
    report = asyncio.run(judge_variant(variant, seed=seed))
    found = report.with_status(Status.FAILED, Status.WARNED, Status.ERROR)
    news = [r for r in found if r.status is not Status.WARNED or r.id not in variant.warns]
    assert [f"{r.id} {r.status}: {r.reason}" for r in news] == []
    assert [r.id for r in report.with_status(Status.SKIPPED) if r.id in variant.lacks] == list(variant.lacks)
    assert report.verdict is Verdict.CONFORMANT
    assert report.home.clean
    assert report.bill.create <= 40 or variant.options.get("deletes") is False
