"""Every mutant meets the whole suite: it is found, for its own reason, and nothing else is named as the cause."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

import selftest.mutants  # noqa: F401  # registers them
from conformance.catalogue import clause_of
from selftest import matrix
from selftest.judge import judge_mutant, judge_wholly
from selftest.mutant import MUTANTS, Mutant, one_of_each

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.report import Report


def stated(report: Report) -> bool:
    """Whether everything that is broken is a violation of a clause that is named."""
    return all(each.reason.startswith(f"{clause_of(each.id)}: ") for each in report.violations.values())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_the_whole_suite_finds_the_mutant_for_its_own_reason(
    mutant: Mutant, record_property: Callable[[str, object], None]
) -> None:
    report = asyncio.run(judge_wholly(mutant))
    row = matrix.row(mutant, report)
    record_property("row", json.dumps(asdict(row)))
    assert stated(report)
    assert matrix.faults(mutant, row) == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutant", one_of_each(), ids=lambda mutant: mutant.name)
def test_over_tcp_a_mutant_of_each_clause_is_found_by_those_that_it_declares(mutant: Mutant) -> None:
    report = asyncio.run(judge_mutant(mutant, select=mutant.found_by))
    assert sorted(report.violations) == sorted(mutant.found_by)
    assert stated(report)


def test_a_mutant_is_found_by_who_judges_the_clause_that_it_breaks() -> None:
    elsewhere = [m.name for m in MUTANTS.values() if m.clause not in map(clause_of, m.found_by)]
    assert elsewhere == []


def test_every_behaviour_that_decides_is_proven_by_a_mutant() -> None:
    assert matrix.unproven(MUTANTS.values()) == []
