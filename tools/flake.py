"""`python -m tools.flake [ROUNDS]`: searches for wrong verdicts on conformant providers.

A round judges the reference and every variant once, each with its own seed, over TCP, with 5 to 50 ms of jitter on the
connection and all cores busy. Each verdict must be that of a conformant provider. Finished runs are in the log, so an
interrupted search resumes from there.
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
from conformance.core.text import quantity
from conformance.engine.options import RunInfo
from conformance.results.result import Verdict
from conformance.rpc.faults.spec import parse_faults
from selftest.judge import judge
from selftest.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conformance.results.report import Report

JITTER = "delay=2.5ms..25ms"
"""In each direction, so a call takes 5 to 50 ms longer."""
MAX_RUN_S = 3600.0
"""A run that takes longer than this many seconds hangs, even on a busy machine."""
BUSY_LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(100_000))"
"""Python code that keeps a core busy until its parent process ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the suite or of a part of it."""

    variant: str
    seed: int
    wrong: str
    """The wrong results; empty if the verdict was right."""
    seconds: float


def wrong_results(variant: Variant, report: Report) -> str:
    """Returns the results in a report that are wrong for a conformant provider; empty if there are no such results."""
    wrong = [
        f"{result.id} {result.status}: {result.reason or f'wanted {result.wanted}; got {result.got}'}"
        for result in variant.wrong(report)
    ]
    wrong += [f"{machine} is left: {reason}" for machine, reason in report.home.left]
    if report.verdict is not Verdict.CONFORMANT and not wrong:
        wrong.append(f"the verdict is {report.verdict}")
    return " · ".join(wrong)


def run(variant: str, seed: int, select: Sequence[str], faults: Sequence[str]) -> Run:
    """Judges one variant with one seed, in this process, over TCP."""
    provider = VARIANTS[variant]
    options = replace(provider.run_options(seed), faults=parse_faults(faults), info=RunInfo(whole=not select))

    async def judged() -> Report:
        async with asyncio.timeout(MAX_RUN_S):
            return await judge(
                provider.provider(), select=select, servicer=provider.servicer, options=options, **provider.serving
            )

    began = time.monotonic()
    try:
        wrong = wrong_results(provider, asyncio.run(judged()))
    except Exception as error:  # any error counts as a wrong verdict
        wrong = f"{type(error).__name__}: {error}"
    return Run(variant=variant, seed=seed, wrong=wrong, seconds=round(time.monotonic() - began, 2))


@contextmanager
def busy_cores(number: int) -> Iterator[None]:
    """Keeps a number of cores busy, each with a process, until the context ends."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def planned(rounds: int, first: int, variants: Sequence[str]) -> list[tuple[str, int]]:
    """Returns variant and seed of each run; the same seeds for the same `first`."""
    seeds = random.Random(first)
    return [(variant, seeds.randrange(2**32)) for _ in range(rounds) for variant in variants]


def earlier(log: Path) -> dict[tuple[str, int], Run]:
    """Returns the runs in a log. A truncated last line is ignored."""
    found = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        try:
            logged = Run(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[logged.variant, logged.seed] = logged
    return found


def _run(arguments: tuple[str, int, Sequence[str], Sequence[str]]) -> Run:
    return run(*arguments)


def search(given: argparse.Namespace) -> list[Run]:
    """Makes all planned runs except those in the log. Prints progress, and every wrong verdict at once."""
    variants = given.variant or list(VARIANTS)
    plan = [(v, given.seed) for v in variants] if given.variant and given.seed is not None else []
    plan = plan or planned(given.rounds, given.first, variants)
    known = earlier(given.log) if given.log else {}
    done = [known[key] for key in plan if key in known]
    todo = [(variant, seed, given.select, given.fault) for variant, seed in plan if (variant, seed) not in known]
    began, before = time.monotonic(), len(done)
    context: Any = multiprocessing.get_context("spawn")
    with busy_cores(given.burners), context.Pool(given.jobs, maxtasksperchild=50) as pool:
        for finished in pool.imap_unordered(_run, todo):
            done.append(finished)
            if given.log:
                with given.log.open("a", encoding="utf-8") as log:
                    log.write(json.dumps({name: getattr(finished, name) for name in Run.__slots__}) + "\n")
            if finished.wrong:
                print(_wrong(finished, given.fault), flush=True)
            if len(done) % max(1, len(plan) // 50) == 0:
                seconds_per_run = (time.monotonic() - began) / (len(done) - before)
                print(_progress(done, len(plan), seconds_per_run), flush=True)
    return done


def _wrong(finished: Run, faults: Sequence[str]) -> str:
    """Returns the wrong results of a run, and the command that repeats it."""
    options = " ".join(f"--fault {fault}" for fault in faults)
    command = f"python -m tools.flake --variant {finished.variant} --seed {finished.seed} {options}"
    return f"WRONG {finished.variant} seed {finished.seed}: {finished.wrong}\n  repeat it: {command}"


def _progress(done: Sequence[Run], planned: int, seconds_per_run: float) -> str:
    left = seconds_per_run * (planned - len(done))
    wrong = sum(bool(run.wrong) for run in done)
    return f"{len(done)}/{planned} runs, {wrong} wrong, about {left / 60:.0f} min left"


def main(arguments: Sequence[str]) -> int:
    """Returns 1 if a verdict was wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.flake", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "rounds",
        nargs="?",
        type=int,
        default=int(os.environ.get("ROUNDS", "200")),
        help="number of runs of each provider [default: %(default)s]",
    )
    parser.add_argument(
        "--variant", action="append", choices=list(VARIANTS), metavar="NAME", help="judge only this variant; repeatable"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="with --variant: make one run with this seed")
    parser.add_argument(
        "--first", type=int, default=6, metavar="N", help="seed from which the seeds of all runs are generated"
    )
    parser.add_argument("--select", action="append", default=[], metavar="WHAT", help="judge only these behaviours")
    parser.add_argument("--fault", action="append", help=f"inject this fault; repeatable [default: {JITTER}]")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="number of concurrent runs [default: 2]")
    parser.add_argument(
        "--burners",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="number of processes that keep a core busy",
    )
    parser.add_argument(
        "--log", type=Path, metavar="FILE", help="append a line for each run; runs that are in it are not repeated"
    )
    given = parser.parse_args(arguments)
    given.fault = given.fault or [JITTER]
    given.select = patterns(tuple(given.select))
    try:
        parse_faults(given.fault)
    except UsageError as error:
        parser.error(str(error))
    began = time.monotonic()
    done = search(given)
    wrong = [run for run in done if run.wrong]
    minutes, providers = (time.monotonic() - began) / 60, len({run.variant for run in done})
    print(f"{quantity(len(done), 'run')} of {quantity(providers, 'provider')} in {minutes:.1f} min:", end=" ")
    print(quantity(len(wrong), "wrong verdict"))
    for (name, problem), count in Counter((run.variant, run.wrong[:120]) for run in wrong).most_common():
        seeds = ", ".join(str(run.seed) for run in wrong if (run.variant, run.wrong[:120]) == (name, problem))
        print(f"  {count} x {name}: {problem} (seeds {seeds})")
    return 1 if wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.exit(main(sys.argv[1:]))
