"""`python -m tools.flake [ROUNDS]`: the suite against conformant providers, again and again, and no wrong verdict.

A round judges the reference and every variant once, each by a seed of its own, over TCP, with 5 to 50 ms of jitter on
the line and both cores kept busy. Each verdict must be that of a conformant provider. What was run already is in the
log, so that a search that was cut short goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.core.catalogue import patterns
from conformance.core.errors import UsageError
from conformance.engine.options import RunInfo
from conformance.results.result import Verdict
from conformance.rpc.faults.spec import parse_faults
from selftest.judge import judge
from selftest.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conformance.results.report import Report

JITTER = "delay=2.5ms..25ms"
"""Each way, so that a call takes 5 to 50 ms longer."""
ENOUGH = 3600.0
"""Seconds: a run that takes longer hangs, however busy the machine is."""
BURN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(100_000))"
"""Keeps a core busy for as long as whoever started it lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the suite, or of a part of it, and what was wrong with it."""

    variant: str
    seed: int
    wrong: str
    """Empty where the verdict was right."""
    seconds: float


def wrong_with(variant: Variant, report: Report) -> str:
    """What a report says of a conformant provider that is not so; empty where all is well."""
    said = [
        f"{result.id} {result.status}: {result.reason or f'wanted {result.wanted}; got {result.got}'}"
        for result in variant.wrong(report)
    ]
    said += [f"{machine} is left: {why}" for machine, why in report.home.left]
    if report.verdict is not Verdict.CONFORMANT and not said:
        said.append(f"the verdict is {report.verdict}")
    return " · ".join(said)


def run(variant: str, seed: int, select: Sequence[str], faults: Sequence[str]) -> Run:
    """Judge one variant by one seed, in this process, over TCP."""
    provider = VARIANTS[variant]
    options = replace(provider.run_options(seed), faults=parse_faults(faults), info=RunInfo(whole=not select))

    async def judged() -> Report:
        async with asyncio.timeout(ENOUGH):
            return await judge(
                provider.provider(), select=select, servicer=provider.servicer, options=options, **provider.serving
            )

    began = time.monotonic()
    try:
        wrong = wrong_with(provider, asyncio.run(judged()))
    except Exception as error:  # whatever it is, it is a wrong verdict
        wrong = f"{type(error).__name__}: {error}"
    return Run(variant=variant, seed=seed, wrong=wrong, seconds=round(time.monotonic() - began, 2))


@contextmanager
def burning(processes: int) -> Iterator[None]:
    """So many processes that do nothing but keep a core busy."""
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(processes)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def planned(rounds: int, first: int, variants: Sequence[str]) -> list[tuple[str, int]]:
    """Variant and seed of each run: the same ones for the same `first`."""
    seeds = random.Random(first)
    return [(variant, seeds.randrange(2**32)) for _ in range(rounds) for variant in variants]


def earlier(log: Path) -> dict[tuple[str, int], Run]:
    """The runs that a log tells of; a last line that was cut tells of none."""
    found = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        try:
            one = Run(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[one.variant, one.seed] = one
    return found


def _run(asked: tuple[str, int, Sequence[str], Sequence[str]]) -> Run:
    return run(*asked)


def search(given: argparse.Namespace) -> list[Run]:
    """Makes all planned runs, except those in the log; reports progress, and at once every wrong verdict."""
    variants = given.variant or list(VARIANTS)
    plan = [(v, given.seed) for v in variants] if given.variant and given.seed is not None else []
    plan = plan or planned(given.rounds, given.first, variants)
    known = earlier(given.log) if given.log else {}
    done = [known[key] for key in plan if key in known]
    todo = [(variant, seed, given.select, given.fault) for variant, seed in plan if (variant, seed) not in known]
    began, before = time.monotonic(), len(done)
    context: Any = multiprocessing.get_context("spawn")
    with burning(given.burners), context.Pool(given.jobs, maxtasksperchild=50) as pool:
        for one in pool.imap_unordered(_run, todo):
            done.append(one)
            if given.log:
                with given.log.open("a", encoding="utf-8") as log:
                    log.write(json.dumps({name: getattr(one, name) for name in Run.__slots__}) + "\n")
            if one.wrong:
                print(_wrong(one, given.fault), flush=True)
            if len(done) % max(1, len(plan) // 50) == 0:
                pace = (time.monotonic() - began) / (len(done) - before)
                print(_progress(done, len(plan), pace), flush=True)
    return done


def _wrong(one: Run, faults: Sequence[str]) -> str:
    """Returns what was wrong with a run, and the command that repeats it."""
    options = " ".join(f"--fault {fault}" for fault in faults)
    again = f"python -m tools.flake --variant {one.variant} --seed {one.seed} {options}"
    return f"WRONG {one.variant} seed {one.seed}: {one.wrong}\n  again: {again}"


def _progress(done: Sequence[Run], planned: int, pace: float) -> str:
    """Returns how far the search is; `pace` is the seconds that a run takes."""
    left = pace * (planned - len(done))
    wrong = sum(bool(run.wrong) for run in done)
    return f"{len(done)}/{planned} runs, {wrong} wrong, about {left / 60:.0f} min left"


def main(arguments: Sequence[str]) -> int:
    """1 where any verdict was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tools.flake", description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=int(os.environ.get("ROUNDS", "200")), help="how often")
    parser.add_argument("--variant", action="append", choices=list(VARIANTS), help="only this one; repeatable")
    parser.add_argument("--seed", type=int, help="with --variant: one run, by this seed")
    parser.add_argument("--first", type=int, default=6, help="what the seeds of all runs are drawn by")
    parser.add_argument("--select", action="append", default=[], help="only these behaviours")
    parser.add_argument("--fault", action="append", help=f"the weather; {JITTER} where none is given")
    parser.add_argument("--jobs", type=int, default=2, help="so many runs at once")
    parser.add_argument("--burners", type=int, default=os.cpu_count() or 1, help="processes that keep a core busy")
    parser.add_argument("--log", type=Path, help="a line for each run; what stands there is not run again")
    given = parser.parse_args(arguments)
    given.fault = given.fault or [JITTER]
    given.select = patterns(tuple(given.select))
    try:
        parse_faults(given.fault)
    except UsageError as error:
        parser.error(str(error))
    began = time.monotonic()
    done = search(given)
    wrong = [one for one in done if one.wrong]
    seconds = time.monotonic() - began
    print(f"{len(done)} runs of {len({one.variant for one in done})} providers in {seconds / 60:.1f} min:", end=" ")
    print(f"{len(wrong)} wrong verdicts")
    for (name, what), count in Counter((one.variant, one.wrong[:120]) for one in wrong).most_common():
        seeds = ", ".join(str(one.seed) for one in wrong if (one.variant, one.wrong[:120]) == (name, what))
        print(f"  {count} x {name}: {what} (seeds {seeds})")
    return 1 if wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.exit(main(sys.argv[1:]))
