"""`python -m selftest.bites MODULE`: whether the behaviours of one file of the suite still say what they should.

Ends at the first thing that is wrong: the reference fails, or a mutant is not found by who is said to find it.
"""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys

import selftest.mutants  # noqa: F401  # registers them
from conformance.behaviour import declared
from conformance.report import Status
from selftest.judge import leapt_mutant, leapt_variant
from selftest.mutant import MUTANTS
from selftest.variants import VARIANTS


def wrong(behaviours: frozenset[str]) -> str:
    """The first thing that is wrong with these behaviours; empty where all is well."""
    reference = leapt_variant(VARIANTS["Reference"], select=sorted(behaviours))
    for result in reference.with_status(Status.FAILED, Status.WARNED, Status.ERROR):
        return f"{result.id} on the reference: {result.reason}"
    for mutant in MUTANTS.values():
        mine = [name for name in mutant.found_by if name in behaviours]
        if mine:
            found = leapt_mutant(mutant, select=mine).violations
            for name in mine:
                if name not in found:
                    return f"{mutant.name} is not found by {name}"
    return ""


def main(arguments: list[str]) -> int:
    """1 where something is wrong, and what."""
    logging.disable(logging.CRITICAL)
    if arguments[0] == "test_security":  # its broken providers are relays and certificates, not mutants
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=line", "selftest/test_security.py"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print("\n".join(line for line in done.stdout.splitlines() if line.startswith("FAILED")))
        return done.returncode
    module = importlib.import_module(f"conformance.suite.{arguments[0]}")
    declarations = [declared(value) for value in vars(module).values()]
    said = wrong(frozenset(d[0] for d in declarations if d))
    print(said)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
