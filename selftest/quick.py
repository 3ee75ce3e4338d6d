"""The quick form of the self-test: nothing is found in conformant providers, and each broken clause is."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import selftest.mutants  # noqa: F401  # registers them
from selftest.judge import judge_mutant, judge_variant, leapt_variant
from selftest.mutant import MUTANTS, one_of_each
from selftest.variants import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Kind(StrEnum):
    """What is expected of a provider."""

    VARIANT = "variant"
    """Conformant: nothing may be found."""
    MUTANT = "mutant"
    """Broken: it must be found by those that it declares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One provider that the suite is to be run against."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it went: `wrong` is empty where the suite said what it should."""

    check: Check
    wrong: str
    seconds: float


def checks() -> tuple[Check, ...]:
    """The variants, which take longest, and a mutant of each clause."""
    return (
        *(Check(kind=Kind.VARIANT, name=name) for name in VARIANTS),
        *(Check(kind=Kind.MUTANT, name=mutant.name) for mutant in one_of_each()),
    )


def run(wanted: Sequence[Check], *, jobs: int, seed: int) -> Iterator[Outcome]:
    """Each outcome as it comes, from `jobs` processes."""
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_judge, [(check, seed) for check in wanted])


def _judge(given: tuple[Check, int]) -> Outcome:
    check, seed = given
    logging.disable(logging.CRITICAL)  # a mutant that fails inside says so in its log
    began = time.monotonic()
    wrong = _wrong(check, seed)
    return Outcome(check=check, wrong=wrong, seconds=time.monotonic() - began)


def _wrong(check: Check, seed: int) -> str:
    match check.kind:
        case Kind.VARIANT:
            # One over TCP. For the others the clock leaps, so that a busy machine is no reason to find anything.
            variant = VARIANTS[check.name]
            over_tcp = check.name == "Reference"
            report = asyncio.run(judge_variant(variant, seed=seed)) if over_tcp else leapt_variant(variant, seed=seed)
            return "; ".join(f"{result.id} {result.status}: {result.reason}" for result in variant.wrong(report))
        case Kind.MUTANT:
            mutant = MUTANTS[check.name]
            report = asyncio.run(judge_mutant(mutant, select=mutant.found_by, seed=seed))
            found = report.violations
            missed = [name for name in mutant.found_by if name not in found]
            return f"{', '.join(missed)} did not find it" if missed else ""
