"""A behaviour that looks at the whole fleet does not judge what another behaviour of the run has done to a machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import selftest.mutants  # noqa: F401  # registers them
from conformance.results.result import BROKEN, Status
from selftest.judge import judge_mutant_in_virtual_time
from selftest.mutant import MUTANTS

if TYPE_CHECKING:
    from conformance.results.report import Report

WHOLE_FLEET = ("LIF-5c", "LIF-5f", "LIF-6d", "LST-4d", "SHP-1a", "SHP-1b", "SHP-2a", "SHP-2b", "SHP-3a", "SHP-4a")
"""The behaviours that judge machines which they do not drive."""
ODD_CALLS = ("COD-2", "COD-3", "COD-4", "LIF-6b", "SHP-4c")
"""Behaviours that send calls with which a provider may leave a machine in an odd state."""


def judge(name: str, *, seed: int) -> Report:
    """Returns the report of these behaviours on a mutant with transitions that the others can see."""
    mutant = replace(MUTANTS[name], latency="300ms")
    return judge_mutant_in_virtual_time(mutant, select=[*WHOLE_FLEET, *ODD_CALLS], seed=seed)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["EmptyClusterIsBound", "EmptyClusterIsTheDefaultOne"])
def test_a_machine_that_another_behaviour_drives_is_not_judged(name: str, seed: int) -> None:
    report = judge(name, seed=seed)
    broken = {result.id for result in report.with_status(*BROKEN.values())}
    assert broken
    assert broken.isdisjoint(WHOLE_FLEET)
    assert [r.id for r in report.results if r.id in WHOLE_FLEET and r.status is not Status.PASSED] == []
