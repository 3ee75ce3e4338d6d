"""The quick form of the self-test: conformant providers have no findings, and one mutant of each clause is found."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import selftest.mutants  # noqa: F401  # registers them
from selftest.judge import judge_mutant_over_tcp, judge_variant, judge_variant_in_virtual_time
from selftest.mutant import MUTANTS, one_of_each
from selftest.variants import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Kind(StrEnum):
    """The kind of a provider, which decides the expected result."""

    VARIANT = "variant"
    """Conformant: no behaviour may find a violation."""
    MUTANT = "mutant"
    """Broken: all declared behaviours must find it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One provider against which the suite runs."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a check: `wrong` is empty if the suite gave the expected result."""

    check: Check
    wrong: str
    seconds: float


def checks() -> tuple[Check, ...]:
    """Returns the checks: the variants first, because they take longest, then a mutant of each clause."""
    return (
        *(Check(kind=Kind.VARIANT, name=name) for name in VARIANTS),
        *(Check(kind=Kind.MUTANT, name=mutant.name) for mutant in one_of_each()),
    )


def run(wanted: Sequence[Check], *, jobs: int, seed: int) -> Iterator[Outcome]:
    """Yields each outcome when it is ready; uses `jobs` processes."""
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_judge, [(check, seed) for check in wanted])


def _judge(given: tuple[Check, int]) -> Outcome:
    check, seed = given
    logging.disable(logging.CRITICAL)  # mutants log their internal errors
    started = time.monotonic()
    wrong = _wrong(check, seed)
    return Outcome(check=check, wrong=wrong, seconds=time.monotonic() - started)


def _wrong(check: Check, seed: int) -> str:
    match check.kind:
        case Kind.VARIANT:
            # One variant over TCP. The others use virtual time, so that a busy computer causes no findings.
            variant = VARIANTS[check.name]
            over_tcp = check.name == "Reference"
            report = (
                asyncio.run(judge_variant(variant, seed=seed))
                if over_tcp
                else judge_variant_in_virtual_time(variant, seed=seed)
            )
            return "; ".join(f"{result.id} {result.status}: {result.reason}" for result in variant.wrong(report))
        case Kind.MUTANT:
            mutant = MUTANTS[check.name]
            report = asyncio.run(judge_mutant_over_tcp(mutant, select=mutant.found_by, seed=seed))
            missed = [name for name in mutant.found_by if name not in report.violations]
            return f"{', '.join(missed)} did not find it" if missed else ""
