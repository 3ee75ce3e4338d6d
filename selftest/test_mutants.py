"""Every mutant is found, by the behaviours that it declares, as a stated violation of a clause."""

from __future__ import annotations

import asyncio
import os

import pytest

import selftest.mutants  # noqa: F401  # registers them
from conformance.report import Status
from selftest.judge import judge_mutant
from selftest.mutant import MUTANTS, Mutant

WHOLE = bool(os.environ.get("CONFORMANCE_WHOLE"))
"""CONFORMANCE_WHOLE=1 runs the whole suite on each mutant, which takes several times as long."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda m: m.name)
def test_the_mutant_is_found(mutant: Mutant) -> None:
    report = asyncio.run(judge_mutant(mutant, select=() if WHOLE else mutant.found_by))
    violations = {r.id: r.reason for r in report.with_status(Status.FAILED, Status.WARNED)}
    missed = [b for b in mutant.found_by if b not in violations]
    assert missed == [], f"found instead: {violations}"
    assert mutant.found_by
    for behaviour_id, reason in violations.items():
        assert reason.startswith(behaviour_id.rstrip("abcdefghijklmnopqrstuvwxyz") + ": ")
