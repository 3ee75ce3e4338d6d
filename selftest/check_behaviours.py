"""`python -m selftest.check_behaviours MODULE`: runs the self-test for the behaviours of one file of the suite.

Stops at the first problem: the reference fails, a declared behaviour does not find a mutant, or a variant fails. The
behaviours for TLS have their own broken providers, in test_security.py.
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
from selftest.judge import judge_mutant, judge_variant_in_virtual_time
from selftest.matrix import AREAS_WITHOUT_MUTANTS
from selftest.mutant import MUTANTS, Mutant
from selftest.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.results.report import Report

PYTEST_OPTIONS = (
    *("-q", "-x", "--tb=line", "-p", "no:cacheprovider"),
    # The modules that pytest and Hypothesis's plugin expect to load themselves are already imported.
    *("-p", "no:hypothesispytest", "-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
"""The options of pytest within this process."""


def first_problem(behaviours: frozenset[str]) -> str:
    """Returns the first problem with these behaviours, or an empty text."""
    for area, tests in AREAS_WITHOUT_MUTANTS.items():
        if any(name.startswith(area) for name in behaviours):
            return failed_tests(tests)
    chosen = sorted(behaviours)
    reference = VARIANTS["Reference"]
    if problem := _false_alarm(reference, judge_variant_in_virtual_time(reference, select=chosen)):
        return problem
    for mutant in MUTANTS.values():
        declared_here = [name for name in mutant.found_by if name in behaviours]
        if declared_here and (missed := _missed(mutant, declared_here)):
            return f"{missed[0]} does not find {mutant.name}"
    for variant in VARIANTS.values():
        report = judge_variant_in_virtual_time(variant, select=chosen)
        if problem := _false_alarm(variant, report):
            return problem
        skipped = {result.id for result in report.with_status(Status.SKIPPED)}
        if judged := behaviours.intersection(variant.lacks) - skipped:
            return f"{', '.join(judged)} judged {variant.name}, which does not have the feature"
    return ""


def _missed(mutant: Mutant, names: Sequence[str]) -> list[str]:
    """Returns the behaviours that do not find the mutant."""
    return sorted(set(names) - judge_mutant(mutant, select=names).violations.keys())


def _false_alarm(variant: Variant, report: Report) -> str:
    """Returns the first finding against a conformant provider, or an empty text."""
    return next((f"{result.id} on {variant.name}: {result.reason}" for result in variant.wrong(report)), "")


def failed_tests(path: str) -> str:
    """Returns the failed tests of a file or directory, one per line. Raises RuntimeError if pytest cannot run it."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        code = pytest.main([*PYTEST_OPTIONS, path])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"{path}: {code!r} {output.getvalue()}")
    failed = [line for line in output.getvalue().splitlines() if line.startswith("FAILED")]
    return "" if code == pytest.ExitCode.OK else "\n".join(failed) or f"{path} fails"


def main(arguments: list[str]) -> int:
    """Prints the first problem, and returns 1 if there is one."""
    logging.disable(logging.CRITICAL)
    module = importlib.import_module(f"conformance.suite.{arguments[0]}")
    declarations = [declaration_of(value) for value in vars(module).values()]
    problem = first_problem(frozenset(d[0] for d in declarations if d))
    print(problem)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
