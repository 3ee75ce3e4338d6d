"""Measures the cost of a run, and prints tables.

Each run is the real `conformance-run` against a real `fake-provider serve` in another process; for large fleets,
against a provider that counts the machines in its Lists. The last table compares the cost of one RPC: the kit's client,
which records every call, and a bare stub on another connection to the same provider.

With --against REV the only table compares this tree with that git revision. Both are installed in the user's cache,
each in its own environment. Old and new run alternately against one provider, each as often first as second. The ratios
new / old are calculated within each pair, because a busy machine slows both runs of a pair.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from conformance.rpc.env_proxy import NO_ENV_PROXY
from tools.large import cost
from tools.revision import clean_environment, commit_of, install_commit, install_current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BIN = Path(sys.executable).parent


@contextmanager
def provider(*options: str) -> Iterator[str]:
    """Serves the fake provider in another process, and yields its address."""
    command = [str(BIN / "fake-provider"), "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """An installed kit: the directory of its programs, and their environment variables."""

    programs: Path
    environment: Mapping[str, str]


CURRENT = Kit(programs=BIN, environment=os.environ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: its report, and the resources that its process used."""

    report: dict[str, Any]
    wall: float
    cpu: float
    """Seconds, user and system."""
    peak: float
    """Megabytes."""


def one_run(address: str, *options: str, kit: Kit = CURRENT) -> Run:
    """Makes one conformance run in a process. Exits unless the provider is conformant."""
    with tempfile.TemporaryDirectory() as directory:
        output, started = Path(directory) / "output", time.perf_counter()
        command = [str(kit.programs / "conformance-run"), "--target", address, "--quiet", "--seed", "1", *options]
        with output.open("wb") as file:
            # The temporary directory has no configuration file.
            process = subprocess.Popen(
                [*command, "--report-dir", directory], stdout=file, stderr=file, cwd=directory, env=kit.environment
            )
            # The resources of this child alone. Its peak is at least the memory of this process when it forked.
            _, status, used = os.wait4(process.pid, 0)
        wall, process.returncode = time.perf_counter() - started, os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"{command[0]} ended with {process.returncode}:\n{output.read_text(encoding='utf-8')}")
        report = json.loads((Path(directory) / "report.json").read_text(encoding="utf-8"))
    return Run(report=report, wall=wall, cpu=used.ru_utime + used.ru_stime, peak=used.ru_maxrss / 1024)


def planned(address: str, latency: str, *options: str) -> dict[str, Any]:
    """Returns the estimate of `conformance plan` for that run."""
    command = [str(BIN / "conformance"), "plan", "--target", address, "--latency", latency, "--seed", "1", *options]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=True)
    estimate: dict[str, Any] = json.loads(done.stdout)["estimate"]
    return estimate


def runs(latencies: list[str], console: Console) -> Table:
    """Measures runs with several latencies and numbers of jobs, and compares them with their plans."""
    table = Table(title="a run, from the shell")
    for name in (
        "latency",
        "jobs",
        "process s",
        "wall s",
        "critical path s",
        "wall / path",
        "planned s",
        "creates",
        "planned",
        "peak",
        "RPCs",
    ):
        table.add_column(name, justify="right")
    plan = [(latency, jobs) for latency in latencies for jobs in ("all", "1")]
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("runs", total=len(plan))
        for latency, jobs in plan:
            progress.update(task, description=f"latency {latency}, jobs {jobs}")
            with provider("--latency", latency) as address:
                options = ("--jobs", jobs) if jobs != "all" else ()
                estimate = planned(address, latency if latency != "0" else "1ms", *options)
                run = one_run(address, *options)
            report = run.report
            wall, path = report["time"]["wall"], report["time"]["critical_path"]
            bill = report["bill"]
            figures = (f"{run.wall:.2f}", f"{wall:.2f}", f"{path:.2f}", f"{wall / path:.2f}")
            counts = (bill["create"], estimate["bill"]["create"], bill["peak_machines"], report["rpcs"])
            table.add_row(latency, jobs, *figures, f"{estimate['time']['wall']:.2f}", *map(str, counts))
            progress.advance(task)
    return table


def large(fleets: list[int], console: Console) -> Table:
    """Measures full runs on large fleets, in which most machines are not used by the run."""
    table = Table(title="a run on a fleet of N machines, at latency 0")
    for name in (
        *("machines", "first behaviour s", "wall s", "CPU s", "peak MB"),
        *("Lists", "full Lists", "machines listed"),
    ):
        table.add_column(name, justify="right")
    with Progress(console=console, transient=True) as progress:
        for machines in progress.track(fleets, description="fleets"):
            run = cost(machines, "--seed", "1")
            if run.code != 0:
                raise SystemExit(f"conformance-run ended with {run.code}:\n{run.output}")
            seconds = (f"{run.first:.2f}", f"{run.wall:.2f}", f"{run.cpu:.2f}")
            lists = (f"{run.peak:.0f}", f"{len(run.list_sizes)}", f"{run.full_lists}", f"{sum(run.list_sizes):,}")
            table.add_row(f"{machines:,}", *seconds, *lists)
    return table


async def rpc(address: str, *, batches: int = 30, size: int = 100) -> Table:
    """Measures one Get of an idle machine, alternately in batches with the bare stub and the kit; returns medians."""
    import grpc.aio
    from bigfleet.v1alpha1 import provider_pb2 as pb
    from bigfleet.v1alpha1 import provider_pb2_grpc

    from conformance.rpc.call import CallLog, recording
    from conformance.rpc.client import Client
    from conformance.rpc.target import Target

    client, bare, kit = Client(Target(address=address)), [], []
    async with grpc.aio.insecure_channel(address, options=NO_ENV_PROXY) as channel:
        stub: Any = provider_pb2_grpc.CapacityProviderStub(channel)  # type: ignore[no-untyped-call]
        reference = pb.MachineRef(id="machine-0001")
        with recording(CallLog()):
            for _ in range(batches):
                started = time.perf_counter()
                for _ in range(size):
                    await stub.Get(reference)
                between = time.perf_counter()
                for _ in range(size):
                    await client.get("machine-0001")
                bare.append((between - started) / size)
                kit.append((time.perf_counter() - between) / size)
    await client.close()
    table = Table(title=f"one idle Get, median of {batches} batches of {size}")
    for name in ("bare stub µs", "kit µs", "kit / stub"):
        table.add_column(name, justify="right")
    ratio = statistics.median(k / b for k, b in zip(kit, bare, strict=True))
    table.add_row(f"{statistics.median(bare) * 1e6:.0f}", f"{statistics.median(kit) * 1e6:.0f}", f"{ratio:.2f}")
    return table


FIGURES: Final[Mapping[str, Callable[[Run], float]]] = {
    "process s": lambda run: run.wall,
    "CPU s": lambda run: run.cpu,
    "peak MB": lambda run: run.peak,
    "RPCs": lambda run: run.report["rpcs"],
}


def against(revision: str, latencies: list[str], pairs: int, console: Console) -> Table:
    """Compares a revision of the kit with the current tree: medians, and the ratios within each pair of runs."""
    commit = commit_of(revision)
    with console.status("installing both"):
        old, new = (
            Kit(programs=programs, environment=clean_environment())
            for programs in (install_commit(commit), install_current())
        )
    table = Table(title=f"old: {commit[:12]}, new: this tree; {pairs} pairs of runs")
    for name in ("latency", "figure", "old", "new", "new / old", "lowest", "highest"):
        table.add_column(name, justify="right")
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("pairs", total=pairs * len(latencies))
        for latency in latencies:
            with provider("--latency", latency) as address:
                for kit in (old, new):  # not measured: the first run compiles modules
                    one_run(address, "--select", "FEN-1a", kit=kit)
                runs = []
                for number in range(pairs):
                    if number % 2 == 0:
                        before = one_run(address, kit=old)
                        after = one_run(address, kit=new)
                    else:  # alternates, so that neither benefits from being first
                        after = one_run(address, kit=new)
                        before = one_run(address, kit=old)
                    runs.append((before, after))
                    progress.advance(task)
            for name, figure in FIGURES.items():
                columns = [[figure(run) for run in column] for column in zip(*runs, strict=True)]
                ratios = [now / then for then, now in zip(*columns, strict=True)]
                medians = (f"{statistics.median(column):,.2f}" for column in columns)
                spread = (f"{each:.3f}" for each in (statistics.median(ratios), min(ratios), max(ratios)))
                table.add_row(latency, name, *medians, *spread, end_section=name == "RPCs")
    return table


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--latency", action="append", metavar="D", help="latency of the fake; repeatable [default: 0, 200ms, 1s]"
    )
    parser.add_argument(
        "--machines",
        action="append",
        type=int,
        metavar="N",
        help="size of a fleet; repeatable [default: 64, 10000, 100000]",
    )
    parser.add_argument("--against", metavar="REV", help="only compare this tree with a git revision")
    parser.add_argument(
        "--pairs", type=int, default=5, metavar="N", help="number of pairs of runs with --against [default: 5]"
    )
    given = parser.parse_args()
    if given.pairs < 1:
        parser.error("--pairs must be 1 or more")
    console = Console(width=110)  # the width of a log file is unknown
    latencies = given.latency or ["0", "200ms", "1s"]
    if given.against:
        console.print(against(given.against, latencies, given.pairs, console))
        return
    console.print(runs(latencies, console))
    console.print(large(given.machines or [64, 10_000, 100_000], console))
    with provider() as address:
        console.print(asyncio.run(rpc(address)))


if __name__ == "__main__":
    main()
