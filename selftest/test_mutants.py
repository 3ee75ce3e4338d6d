"""Every mutant is found, over TCP, by the behaviours that it declares, as a stated violation of their clauses."""

from __future__ import annotations

import asyncio

import pytest

import selftest.mutants  # noqa: F401  # registers them
from conformance.catalogue import clause_of
from selftest import matrix
from selftest.judge import judge_mutant
from selftest.mutant import MUTANTS, Mutant


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_the_mutant_is_found(mutant: Mutant) -> None:
    report = asyncio.run(judge_mutant(mutant, select=mutant.found_by))
    violations = report.violations
    assert sorted(violations) == sorted(mutant.found_by)
    for behaviour_id, result in violations.items():
        assert result.reason.startswith(f"{clause_of(behaviour_id)}: ")


def test_a_mutant_is_found_by_who_judges_the_clause_that_it_breaks() -> None:
    elsewhere = [m.name for m in MUTANTS.values() if m.clause not in map(clause_of, m.found_by)]
    assert elsewhere == []


def test_every_behaviour_that_decides_is_proven_by_a_mutant() -> None:
    assert matrix.unproven(MUTANTS.values()) == []
