"""The scale lane finds what only a churn can find, and finds nothing in a provider that is odd but conformant."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest

from conformance.core import catalogue
from conformance.core.timeouts import Patience
from conformance.engine.options import Limits, Options, Timeouts
from conformance.lanes.scale.figures import ScaleFigures
from conformance.results.result import Status, Verdict
from selftest.churning import churn
from selftest.scale_mutants import CHURNED, Churned
from selftest.variants import VARIANTS, Variant

OPERATIONS = int(os.environ.get("CONFORMANCE_OPERATIONS", "100"))
"""CONFORMANCE_OPERATIONS=20000 churns every conformant provider for so many transitions."""
ENOUGH = 8_000
"""Transitions after which a defect of these must have been found; it ends there and then."""
HASTY = Patience(2.0, 2.0, 2.0, 2.0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", CHURNED.values(), ids=lambda mutant: mutant.name)
def test_a_defect_that_only_shows_in_a_churn_is_found(mutant: Churned) -> None:
    timeouts = Timeouts(patience=HASTY, rpc=5.0)
    options = Options(timeouts=timeouts, fail_fast=True, limits=Limits(max_creates=1_000), seed=1)
    report = asyncio.run(churn(mutant.provider(), operations=ENOUGH, options=options, short=True))
    found = report.violations
    assert f"{mutant.clause}scale" in found, {name: result.reason for name, result in found.items()}
    assert found[f"{mutant.clause}scale"].calls
    assert report.exit_code == 1


@pytest.mark.timeout(300 + OPERATIONS)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda v: v.name)
def test_a_churn_finds_nothing_in_a_conformant_provider(variant: Variant) -> None:
    known, options = catalogue.load(), replace(variant.run_options(7), limits=Limits(max_creates=OPERATIONS))
    report = asyncio.run(
        churn(
            variant.provider(),
            operations=OPERATIONS,
            options=options,
            servicer=variant.servicer,
            short=variant.name != "Reference",
            **variant.serving,
        )
    )
    may_warn = {f"{known[each].clause.id}scale" for each in variant.warns}
    wrong = [r for r in report.with_status(Status.FAILED, Status.WARNED, Status.ERROR) if r.id not in may_warn]
    assert [f"{r.id} {r.status}: {r.reason}" for r in wrong] == []
    assert not report.with_status(Status.FAILED, Status.ERROR)
    assert report.verdict is Verdict.CONFORMANT
    assert report.home.clean
    assert isinstance(report.figures, ScaleFigures)
    assert report.figures.operations >= OPERATIONS
