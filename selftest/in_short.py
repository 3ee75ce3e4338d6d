"""A few seconds of the self-test, for `make mutants`: the reference, and a mutant of a few areas."""

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
    """The first mutant of the module."""
    return next(m for m in MUTANTS.values() if m.core.__module__ == f"selftest.mutants.{area}")


def test_nothing_is_found_in_the_reference() -> None:
    report = asyncio.run(judge_variant(VARIANTS["Reference"], short=True))
    found = [f"{r.id} {r.status}: {r.reason}" for r in report.with_status(Status.FAILED, Status.WARNED, Status.ERROR)]
    assert (report.verdict, found) == (Verdict.CONFORMANT, [])
    assert report.home.clean


@pytest.mark.parametrize("mutant", [first_of(area) for area in AREAS], ids=AREAS)
def test_what_is_broken_is_found(mutant: Mutant) -> None:
    report = asyncio.run(judge(mutant.provider(), select=mutant.found_by, short=True))
    assert {r.id for r in report.with_status(Status.FAILED, Status.WARNED)} == set(mutant.found_by)
