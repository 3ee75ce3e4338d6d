"""`python -m selftest.bites MODULE`: whether the behaviours of one file of the suite still say what they should.

Ends at the first thing that is wrong: the reference fails, a mutant is not found by who is said to find it, a variant
fails. Who judges how a provider is reached has broken ones of its own, in test_security.py.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import sys
from typing import TYPE_CHECKING

import pytest

import selftest.mutants  # noqa: F401  # registers them
from conformance.results.result import Status
from conformance.testkit.behaviour import declaration_of
from selftest.judge import leapt_variant, seen_mutant
from selftest.matrix import ELSEWHERE
from selftest.mutant import MUTANTS, Mutant
from selftest.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.results.report import Report

QUIETLY = (
    *("-q", "-x", "--tb=line", "-p", "no:cacheprovider"),
    # What pytest and Hypothesis's plugin would rather see before all else is there already.
    *("-p", "no:hypothesispytest", "-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
"""pytest within this process."""


def wrong(behaviours: frozenset[str]) -> str:
    """The first thing that is wrong with these behaviours; empty where all is well."""
    if any(name.startswith(ELSEWHERE) for name in behaviours):
        return _security()
    chosen = sorted(behaviours)
    reference = VARIANTS["Reference"]
    if said := _cries(reference, leapt_variant(reference, select=chosen)):
        return said
    for mutant in MUTANTS.values():
        mine = [name for name in mutant.found_by if name in behaviours]
        if mine and (unseen := _missed(mutant, mine)):
            return f"{mutant.name} is not found by {unseen[0]}"
    for variant in VARIANTS.values():
        report = leapt_variant(variant, select=chosen)
        if said := _cries(variant, report):
            return said
        lacking = {result.id for result in report.with_status(Status.SKIPPED)}
        if missed := behaviours.intersection(variant.lacks) - lacking:
            return f"{variant.name} has {', '.join(missed)}"
    return ""


def _missed(mutant: Mutant, names: Sequence[str]) -> list[str]:
    """Who of these does not find the mutant."""
    return sorted(set(names) - seen_mutant(mutant, select=names).violations.keys())


def _cries(variant: Variant, report: Report) -> str:
    """What is said against a provider that conforms; empty where nothing is."""
    return next((f"{result.id} on {variant.name}: {result.reason}" for result in variant.wrong(report)), "")


def _security() -> str:
    """What fails in test_security.py. Raises RuntimeError where it does not run."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = pytest.main([*QUIETLY, "selftest/test_security.py"])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"selftest/test_security.py: {code!r} {said.getvalue()}")
    failed = [line for line in said.getvalue().splitlines() if line.startswith("FAILED")]
    return "" if code == pytest.ExitCode.OK else "\n".join(failed) or "selftest/test_security.py fails"


def main(arguments: list[str]) -> int:
    """1 where something is wrong, and what."""
    logging.disable(logging.CRITICAL)
    module = importlib.import_module(f"conformance.suite.{arguments[0]}")
    declarations = [declaration_of(value) for value in vars(module).values()]
    said = wrong(frozenset(d[0] for d in declarations if d))
    print(said)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
