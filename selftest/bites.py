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

import pytest

import selftest.mutants  # noqa: F401  # registers them
from conformance.behaviour import declared
from conformance.report import Report, Status
from selftest.judge import leapt_mutant, leapt_variant
from selftest.matrix import ELSEWHERE
from selftest.mutant import MUTANTS
from selftest.variants import VARIANTS

QUIETLY = ("-q", "-x", "--tb=line", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
"""pytest within this process, where modules that it would rewrite are there already."""


def wrong(behaviours: frozenset[str]) -> str:
    """The first thing that is wrong with these behaviours; empty where all is well."""
    if any(name.startswith(ELSEWHERE) for name in behaviours):
        return _security()
    chosen = sorted(behaviours)
    if said := _cries(leapt_variant(VARIANTS["Reference"], select=chosen), "the reference"):
        return said
    for mutant in MUTANTS.values():
        mine = [name for name in mutant.found_by if name in behaviours]
        if mine:
            found = leapt_mutant(mutant, select=mine).violations
            for name in mine:
                if name not in found:
                    return f"{mutant.name} is not found by {name}"
    for variant in VARIANTS.values():
        report = leapt_variant(variant, select=chosen)
        if said := _cries(report, variant.name):
            return said
        lacking = {result.id for result in report.with_status(Status.SKIPPED)}
        if missed := behaviours.intersection(variant.lacks) - lacking:
            return f"{variant.name} has {', '.join(missed)}"
    return ""


def _cries(report: Report, where: str) -> str:
    """What is said against a provider that conforms; empty where nothing is."""
    fails = report.with_status(Status.FAILED, Status.WARNED, Status.ERROR)
    return next((f"{result.id} on {where}: {result.reason}" for result in fails), "")


def _security() -> str:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = pytest.main([*QUIETLY, "selftest/test_security.py"])
    failed = [line for line in said.getvalue().splitlines() if line.startswith("FAILED")]
    return "\n".join(failed) or ("" if code == pytest.ExitCode.OK else said.getvalue())


def main(arguments: list[str]) -> int:
    """1 where something is wrong, and what."""
    logging.disable(logging.CRITICAL)
    module = importlib.import_module(f"conformance.suite.{arguments[0]}")
    declarations = [declared(value) for value in vars(module).values()]
    said = wrong(frozenset(d[0] for d in declarations if d))
    print(said)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
