"""`python -m selftest.try_mutants [PATTERN ...]`: runs the whole suite against mutants, chosen by name or clause."""

from __future__ import annotations

import fnmatch
import logging
import sys

import selftest.mutants  # noqa: F401  # registers them
from selftest import matrix
from selftest.judge import judge_with_whole_suite
from selftest.mutant import MUTANTS


def main(patterns: list[str]) -> int:
    """Runs the chosen mutants sequentially; returns 1 if a mutant is not found as declared."""
    logging.disable(logging.CRITICAL)
    bad = 0
    for mutant in MUTANTS.values():
        if patterns and not any(fnmatch.fnmatch(name, p) for name in (mutant.name, mutant.clause) for p in patterns):
            continue
        report = judge_with_whole_suite(mutant)
        row = matrix.row(mutant, report)
        faults = matrix.faults(mutant, row)
        bad += bool(faults)
        causes = ", ".join(f"{root} (+{len(others)})" for root, others in row.causes)
        mark = "FAULT" if faults else "ok   " if row.right_first else "late "
        print(f"{mark} {mutant.clause:7}{mutant.name}: {causes or 'nothing'} in {report.time.wall:.1f} s")
        for fault in faults:
            print(f"        {fault}")
        if faults and row.undecided:
            print(f"        undecided: {', '.join(row.undecided)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
