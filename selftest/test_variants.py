"""No behaviour fails, warns or ends in an error on an unusual but conformant provider.

Uses virtual time. The reference and the variants that differ in timing or in the transport also run over TCP; all
variants do with CONFORMANCE_OVER_TCP=1 or in `make flake`.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from conformance.results.result import Status, Verdict
from fake_provider.servicer import Servicer
from selftest.judge import judge_variant, judge_variant_in_virtual_time
from selftest.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from conformance.results.report import Report

SEEDS = range(int(os.environ.get("CONFORMANCE_SEEDS", "1")))
"""CONFORMANCE_SEEDS=20 runs every variant with twenty seeds."""
REFERENCE = VARIANTS["Reference"]
ALL_OVER_TCP = bool(os.environ.get("CONFORMANCE_OVER_TCP"))
OVER_TCP = [
    v
    for v in VARIANTS.values()
    if ALL_OVER_TCP or v is REFERENCE or v.serving or v.servicer is not Servicer or v.latency != REFERENCE.latency
]


def check_clean(variant: Variant, report: Report) -> None:
    """Checks that there are only allowed warnings, and that all machines were returned."""
    assert [f"{r.id} {r.status}: {r.reason}" for r in variant.wrong(report)] == []
    assert [r.id for r in report.with_status(Status.SKIPPED) if r.id in variant.lacks] == list(variant.lacks)
    assert report.verdict is Verdict.CONFORMANT
    assert report.home.clean
    assert report.bill.create <= 40 or variant.options.get("deletes") is False


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda v: v.name)
def test_a_conformant_provider_has_no_findings(variant: Variant, seed: int) -> None:
    check_clean(variant, judge_variant_in_virtual_time(variant, seed=seed))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("variant", OVER_TCP, ids=lambda v: v.name)
def test_a_conformant_provider_has_no_findings_over_tcp(variant: Variant, seed: int) -> None:
    check_clean(variant, asyncio.run(judge_variant(variant, seed=seed)))
