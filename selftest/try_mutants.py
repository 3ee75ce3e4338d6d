"""`python -m selftest.try_mutants [PATTERN ...]`: which behaviours find which mutants, on the terminal."""

from __future__ import annotations

import asyncio
import fnmatch
import sys

import selftest.mutants  # noqa: F401  # registers them
from conformance.report import Status
from selftest.judge import judge, judge_mutant
from selftest.mutant import MUTANTS, Mutant


def main(patterns: list[str]) -> int:
    """Run the chosen mutants one after the other; 1 where one survives or is found by others than it declares."""
    reference = asyncio.run(judge(Mutant(name="", story="", clause="", found_by=()).provider()))
    for result in reference.with_status(Status.FAILED, Status.WARNED, Status.ERROR):
        print(f"REFERENCE {result.id} {result.status}: {result.reason}")
    bad = 0
    for mutant in MUTANTS.values():
        if patterns and not any(fnmatch.fnmatch(mutant.name, p) or mutant.clause == p for p in patterns):
            continue
        report = asyncio.run(judge_mutant(mutant))
        found = {r.id for r in report.with_status(Status.FAILED, Status.WARNED)}
        errors = {r.id for r in report.with_status(Status.ERROR)}
        missed, extra = set(mutant.found_by) - found, found - set(mutant.found_by)
        bad += bool(missed or not mutant.found_by)
        mark = "MISSED" if missed else "ok    "
        print(
            f"{mark} {mutant.clause:7} {mutant.name}: missed {sorted(missed)} also {sorted(extra)}"
            f" errors {sorted(errors)} ({report.time.wall:.1f} s)"
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
