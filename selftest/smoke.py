"""A short form of the self-test for `make mutants`, a few seconds long: the reference, and mutants of four areas."""

from __future__ import annotations

import asyncio

import pytest

import selftest.mutants  # noqa: F401  # registers them
from conformance.results.result import Status, Verdict
from selftest.judge import judge, judge_variant
from selftest.mutant import MUTANTS, Mutant
from selftest.variants import VARIANTS

AREAS = ("fencing", "lifecycle", "metadata", "operations")


def first_of(area: str) -> Mutant:
    """Returns the first mutant of a module."""
    return next(m for m in MUTANTS.values() if m.core.__module__ == f"selftest.mutants.{area}")


def test_the_reference_is_conformant() -> None:
    report = asyncio.run(judge_variant(VARIANTS["Reference"], in_process=True))
    found = [f"{r.id} {r.status}: {r.reason}" for r in report.with_status(Status.FAILED, Status.WARNED, Status.ERROR)]
    assert (report.verdict, found) == (Verdict.CONFORMANT, [])
    assert report.home.clean


@pytest.mark.parametrize("mutant", [first_of(area) for area in AREAS], ids=AREAS)
def test_a_mutant_is_found_by_its_behaviours(mutant: Mutant) -> None:
    report = asyncio.run(judge(mutant.provider(), select=mutant.found_by, in_process=True))
    assert {r.id for r in report.with_status(Status.FAILED, Status.WARNED)} == set(mutant.found_by)
