"""A few seconds of the self-test, for `make mutants`: the reference, and one mutant of each area."""

from __future__ import annotations

import asyncio
from itertools import groupby
from operator import attrgetter

import pytest

import selftest.mutants  # noqa: F401  # registers them
from conformance.report import Status, Verdict
from fake_provider.servicer import Servicer
from selftest.judge import judge, judge_variant
from selftest.mutant import MUTANTS, Mutant
from selftest.variants import VARIANTS


def area(mutant: Mutant) -> str:
    """The first word of the module that a mutant stands in: fencing, lifecycle, ..."""
    return mutant.core.__module__.rpartition(".")[2].partition("_")[0]


def one_of_each_area() -> list[Mutant]:
    """The first mutant of each area, of those that a shortcut does not change."""
    of_the_core = [mutant for mutant in MUTANTS.values() if mutant.servicer is Servicer and not mutant.alone]
    return [next(group) for _, group in groupby(of_the_core, key=area)]


def test_nothing_is_found_in_the_reference() -> None:
    report = asyncio.run(judge_variant(VARIANTS["Reference"], short=True))
    found = [f"{r.id} {r.status}: {r.reason}" for r in report.with_status(Status.FAILED, Status.WARNED, Status.ERROR)]
    assert (report.verdict, found) == (Verdict.CONFORMANT, [])
    assert report.home.clean


@pytest.mark.parametrize("mutant", one_of_each_area(), ids=attrgetter("name"))
def test_what_is_broken_is_found(mutant: Mutant) -> None:
    report = asyncio.run(judge(mutant.provider(), select=mutant.found_by, short=True))
    assert {r.id for r in report.with_status(Status.FAILED, Status.WARNED)} == set(mutant.found_by)
