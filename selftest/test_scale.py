"""The scale lane finds defects that show only under load, and has no findings on unusual but conformant providers."""

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
from selftest import scale_crowds as scale_crowds
from selftest.scale_mutants import CHURNED, Churned
from selftest.scale_run import run_scale_lane
from selftest.variants import VARIANTS, Variant

OPERATIONS = int(os.environ.get("CONFORMANCE_OPERATIONS", "100"))
"""The number of transitions on each conformant provider; a release uses CONFORMANCE_OPERATIONS=20000."""
SHORT_PATIENCE = Patience(2.0, 2.0, 2.0, 2.0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", CHURNED.values(), ids=lambda mutant: mutant.name)
def test_the_scale_lane_finds_a_defect_that_shows_under_load(mutant: Churned) -> None:
    options = Options(
        timeouts=Timeouts(patience=SHORT_PATIENCE, rpc=5.0),
        limits=Limits(max_creates=1_000, max_machines=mutant.at_once),
        fail_fast=True,
        seed=1,
    )
    report = asyncio.run(
        run_scale_lane(mutant.provider(), operations=mutant.operations, options=options, in_process=True)
    )
    found = {result.id: result for result in report.with_status(Status.FAILED, Status.WARNED)}
    broken = found.get(f"{mutant.clause}scale") or found.get(mutant.clause)
    assert broken is not None, {name: result.reason for name, result in found.items()}
    assert 1 <= len(broken.calls) <= 3
    assert broken.decisive == tuple(range(len(broken.calls)))
    assert report.exit_code == (1 if broken.status is Status.FAILED else 0)


@pytest.mark.timeout(300 + OPERATIONS)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda v: v.name)
def test_the_scale_lane_has_no_findings_on_a_conformant_provider(variant: Variant) -> None:
    known, options = catalogue.load(), replace(variant.run_options(7), limits=Limits(max_creates=OPERATIONS))
    report = asyncio.run(
        run_scale_lane(
            variant.provider(),
            operations=OPERATIONS,
            options=options,
            servicer=variant.servicer,
            in_process=variant.name != "Reference",
            **variant.serving,
        )
    )
    may_warn = {f"{known[each].clause.id}scale" for each in variant.warns}
    wrong = [r for r in report.with_status(Status.FAILED, Status.WARNED, Status.ERROR) if r.id not in may_warn]
    assert [f"{r.id} {r.status}: {r.reason}" for r in wrong] == []
    assert not report.with_status(Status.FAILED, Status.ERROR)
    assert report.verdict is Verdict.CONFORMANT
    if variant.leaves_failed:
        assert [why for _, why in report.home.taken if " is FAILED" not in why] == []
    else:
        assert report.home.failed == ()
    assert report.home.left == ()
    assert isinstance(report.figures, ScaleFigures)
    assert report.figures.operations >= OPERATIONS
