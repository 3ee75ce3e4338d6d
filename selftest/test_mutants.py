"""Every mutant is found as a stated violation of the clause that it breaks, and nothing else is named as the cause."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

import selftest.mutants  # noqa: F401  # registers them
from conformance.report import Status
from selftest import matrix
from selftest.judge import judge_mutant, judge_wholly
from selftest.mutant import MUTANTS, Mutant, one_of_each

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.report import Report

TCP = bool(os.environ.get("CONFORMANCE_TCP"))
"""CONFORMANCE_TCP=1 takes every mutant's whole suite over TCP, which takes more than twice as long."""


def name(mutant: Mutant) -> str:
    return mutant.name


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=name)
def test_the_whole_suite_finds_the_mutant_for_its_own_reason(
    mutant: Mutant, record_property: Callable[[str, object], None]
) -> None:
    report = asyncio.run(judge_wholly(mutant, short=not TCP))
    assert_each_names_its_clause(report)
    row = matrix.row(mutant, report)
    record_property("row", json.dumps(asdict(row)))
    assert matrix.faults(mutant, row) == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutant", one_of_each(), ids=name)
def test_a_mutant_of_each_clause_is_found_over_tcp_by_those_that_it_declares_alone(mutant: Mutant) -> None:
    report = asyncio.run(judge_mutant(mutant, select=mutant.found_by))
    assert_each_names_its_clause(report)
    found = {result.id for result in report.with_status(Status.FAILED, Status.WARNED)}
    assert found == set(mutant.found_by)


def assert_each_names_its_clause(report: Report) -> None:
    for result in report.with_status(Status.FAILED, Status.WARNED):
        assert result.reason.startswith(f"{matrix.clause_of(result.id)}: ")


def test_every_behaviour_that_decides_is_proven_by_a_mutant() -> None:
    assert matrix.unproven(MUTANTS.values()) == []
