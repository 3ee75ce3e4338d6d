"""Runs the whole suite against every mutant: only the declared behaviours may explain failures of others.

Uses virtual time, so that a run is the same each time. The declared behaviours also run over TCP against one mutant of
each clause, or against every mutant with CONFORMANCE_OVER_TCP=1.

With CONFORMANCE_SELFTEST=quick, as in CI, the whole suite runs against one mutant in six, always the same ones, and
against those that the declared behaviours do not find by themselves.
"""

from __future__ import annotations

import asyncio
import json
import os
import zlib
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

import selftest.mutants  # noqa: F401  # registers them
from conformance.core.catalogue import clause_of
from selftest import matrix
from selftest.judge import judge_mutant, judge_mutant_over_tcp, judge_with_whole_suite
from selftest.mutant import MUTANTS, Mutant, one_of_each

if TYPE_CHECKING:
    from collections.abc import Callable

OVER_TCP = (
    tuple(m for m in MUTANTS.values() if not m.whole) if os.environ.get("CONFORMANCE_OVER_TCP") else one_of_each()
)
QUICK = os.environ.get("CONFORMANCE_SELFTEST") == "quick"


def in_sample(mutant: Mutant) -> bool:
    """Returns whether a quick self-test runs the whole suite against the mutant."""
    return mutant.whole or zlib.crc32(mutant.name.encode()) % 6 == 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_the_mutant_is_found_for_its_own_reason(mutant: Mutant, record_property: Callable[[str, object], None]) -> None:
    if QUICK and not in_sample(mutant):
        alone = judge_mutant(mutant, select=mutant.found_by)
        if alone.violations.keys() >= {*mutant.found_by}:
            return
    report = judge_with_whole_suite(mutant)
    row = matrix.row(mutant, report)
    record_property("row", json.dumps(asdict(row)))
    for result in report.violations.values():
        assert result.reason.startswith(f"{clause_of(result.id)}: ")
    assert matrix.faults(mutant, row) == []


TCP_ATTEMPTS = 3


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutant", OVER_TCP, ids=lambda mutant: mutant.name)
def test_the_mutant_is_found_over_tcp(mutant: Mutant) -> None:
    """On a busy computer the kit may be too late for a defect that shows for 30 ms, so there are three attempts."""
    missed = {*mutant.found_by}
    for _ in range(TCP_ATTEMPTS):
        # The model of the fleet may find others.
        missed -= asyncio.run(judge_mutant_over_tcp(mutant, select=mutant.found_by)).violations.keys()
        if not missed:
            return
    assert missed == set()


def test_every_mutant_is_found_by_a_behaviour_of_its_clause() -> None:
    wrong = [m.name for m in MUTANTS.values() if m.clause not in map(clause_of, m.found_by)]
    assert wrong == []


def test_every_behaviour_except_may_is_proven_by_a_mutant() -> None:
    assert matrix.unproven(MUTANTS.values()) == []
