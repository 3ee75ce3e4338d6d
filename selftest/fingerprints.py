"""`python -m selftest.fingerprints [N]`: a defect keeps its fingerprints over seeds and speeds.

Runs the behaviours that find N mutants, with several seeds and two speeds, and names each behaviour that fails with
different fingerprints. Two runs of one provider must not differ, or `--fail-on new` and waivers fail by chance.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import selftest.mutants  # noqa: F401  # registers them
from conformance.results import fingerprint
from selftest.judge import NEEDS_SOCKET, judge_mutant_in_virtual_time
from selftest.matrix import from_dict
from selftest.mutant import MUTANTS, Mutant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conformance.results.result import Result

KILL_MATRIX = Path(__file__).parent.parent / "docs" / "kill-matrix.json"
SEEDS = range(5)
SPEEDS = ("0ms", "200ms")
"""The durations of the provider's transitions."""


def draw(count: int, seed: int = 0) -> Sequence[Mutant]:
    """Returns `count` mutants that virtual time can judge: the same for the same seed."""
    able = [m for m in MUTANTS.values() if not m.alone and not m.tcp and any(map(_runs_in_virtual_time, m.found_by))]
    return random.Random(seed).sample(sorted(able, key=lambda m: m.name), count)


def finders(mutant: Mutant) -> list[str]:
    """Returns the behaviours that find a mutant: those of the kill matrix, and the declared ones."""
    rows = map(from_dict, json.loads(KILL_MATRIX.read_text(encoding="utf-8"))["mutants"])
    found = {
        name for row in rows if row.mutant == mutant.name for root, others in row.causes for name in (root, *others)
    }
    return sorted(filter(_runs_in_virtual_time, found.union(mutant.found_by)))


def _runs_in_virtual_time(behaviour_id: str) -> bool:
    return not behaviour_id.startswith(tuple(pattern.rstrip("*") for pattern in NEEDS_SOCKET))


def violations(mutant: Mutant, seeds: Sequence[int] = SEEDS) -> Iterator[Result]:
    """Yields all violations that the behaviours that find `mutant` report, over the seeds and speeds."""
    select = finders(mutant)
    for speed in SPEEDS if select else ():
        for seed in seeds:
            report = judge_mutant_in_virtual_time(replace(mutant, latency=speed), select=select, seed=seed)
            yield from report.violations.values()


def differing(mutant: Mutant, seeds: Sequence[int] = SEEDS) -> Mapping[str, Sequence[Result]]:
    """Returns, by behaviour, a violation with each fingerprint, where there is more than one."""
    found: dict[str, dict[str, Result]] = defaultdict(dict)
    for result in violations(mutant, seeds):
        found[result.id].setdefault(fingerprint.of(result), result)
    return {name: tuple(ways.values()) for name, ways in found.items() if len(ways) > 1}


def main(arguments: list[str]) -> int:
    """Prints the behaviours whose fingerprints differ, and returns 1 if there are any."""
    mutants = draw(int(arguments[0]) if arguments else 60)
    with multiprocessing.get_context("spawn").Pool(maxtasksperchild=4) as pool:
        found = pool.map(differing, mutants, chunksize=1)
    for mutant, differences in zip(mutants, found, strict=True):
        for name, ways in differences.items():
            print(f"{mutant.name}: {name}")
            for result in ways:
                print(f"  {fingerprint.of(result)} wanted {result.wanted}; got {result.got}")
    count = sum(map(len, found))
    print(f"{len(mutants)} mutants, {len(SEEDS)} seeds, speeds {' and '.join(SPEEDS)}: {count} behaviours differ")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
