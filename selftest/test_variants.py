"""No behaviour fails, warns or is undecided on a provider that is odd but conformant.

On a clock that leaps, as the mutants are. The reference, and whose oddity lies in time or on the line, are met over TCP
as well; with CONFORMANCE_OVER_TCP=1, or by `make flake`, all are.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from conformance.results.result import Status, Verdict
from fake_provider.servicer import Servicer
from selftest.judge import judge_variant, leapt_variant
from selftest.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from conformance.results.report import Report

SEEDS = range(int(os.environ.get("CONFORMANCE_SEEDS", "1")))
"""CONFORMANCE_SEEDS=20 runs every variant with twenty seeds."""
USUAL = VARIANTS["Reference"]
ALL = bool(os.environ.get("CONFORMANCE_OVER_TCP"))
OVER_TCP = [
    v
    for v in VARIANTS.values()
    if ALL or v is USUAL or v.serving or v.servicer is not Servicer or v.latency != USUAL.latency
]


def clean(variant: Variant, report: Report) -> None:
    """Nothing was found but what the variant may be warned of, and all is home."""
    assert [f"{r.id} {r.status}: {r.reason}" for r in variant.wrong(report)] == []
    assert [r.id for r in report.with_status(Status.SKIPPED) if r.id in variant.lacks] == list(variant.lacks)
    assert report.verdict is Verdict.CONFORMANT
    assert report.home.clean
    assert report.bill.create <= 40 or variant.options.get("deletes") is False


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda v: v.name)
def test_nothing_is_found_in_a_conformant_provider(variant: Variant, seed: int) -> None:
    clean(variant, leapt_variant(variant, seed=seed))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("variant", OVER_TCP, ids=lambda v: v.name)
def test_nor_over_tcp(variant: Variant, seed: int) -> None:
    clean(variant, asyncio.run(judge_variant(variant, seed=seed)))
