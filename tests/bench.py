"""`make bench`: what a run costs, measured side by side, as a table.

Each run is the real `conformance-run` against a real `fake-provider serve` in another process; where a fleet is
large, against one that counts what its Lists carry. The last table is the price of one RPC: the kit's client,
recording, against a bare stub on the same connection's twin.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.large import cost

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(sys.executable).parent


@contextmanager
def provider(*options: str) -> Iterator[str]:
    """A fake provider in another process; its address."""
    command = [str(BIN / "fake-provider"), "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()


def one_run(address: str, *options: str) -> dict[str, Any]:
    """One conformance run: its report, with the seconds of the whole process added."""
    with tempfile.TemporaryDirectory() as directory:
        started = time.perf_counter()
        command = [str(BIN / "conformance-run"), "--target", address, "--quiet", "--seed", "1", *options]
        done = subprocess.run([*command, "--report-dir", directory], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        report: dict[str, Any] = json.loads((Path(directory) / "report.json").read_text(encoding="utf-8"))
    if done.returncode != 0:
        raise SystemExit(f"conformance-run ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return {**report, "process": seconds}


def planned(address: str, latency: str, *options: str) -> dict[str, Any]:
    """What `conformance plan` says of that run beforehand."""
    command = [str(BIN / "conformance"), "plan", "--target", address, "--latency", latency, "--seed", "1", *options]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=True)
    estimate: dict[str, Any] = json.loads(done.stdout)["estimate"]
    return estimate


def runs(latencies: list[str], console: Console) -> Table:
    """Latency by jobs: what the clock says and what it costs, and what the plan said before."""
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
                report = one_run(address, *options)
            wall, path = report["time"]["wall"], report["time"]["critical_path"]
            bill = report["bill"]
            figures = (f"{report['process']:.2f}", f"{wall:.2f}", f"{path:.2f}", f"{wall / path:.2f}")
            counts = (bill["create"], estimate["bill"]["create"], bill["peak_machines"], report["rpcs"])
            table.add_row(latency, jobs, *figures, f"{estimate['time']['wall']:.2f}", *map(str, counts))
            progress.advance(task)
    return table


def large(fleets: list[int], console: Console) -> Table:
    """Fleets of some size, each judged by the whole suite: what it costs that most machines are not ours."""
    table = Table(title="a run on a fleet of so many machines, at latency 0")
    for name in ("machines", "first behaviour s", "wall s", "CPU s", "peak MB", "Lists", "of all", "machines listed"):
        table.add_column(name, justify="right")
    with Progress(console=console, transient=True) as progress:
        for machines in progress.track(fleets, description="fleets"):
            run = cost(machines, "--seed", "1")
            if run.code != 0:
                raise SystemExit(f"conformance-run ended with {run.code}:\n{run.said}")
            seconds = (f"{run.first:.2f}", f"{run.wall:.2f}", f"{run.cpu:.2f}")
            lists = (f"{run.peak:.0f}", f"{len(run.held)}", f"{run.whole}", f"{sum(run.held):,}")
            table.add_row(f"{machines:,}", *seconds, *lists)
    return table


async def rpc(address: str, *, batches: int = 30, size: int = 100) -> Table:
    """One idle Get: bare stub and kit in turn, batch by batch; medians of the batches and of their ratios."""
    import grpc.aio
    from bigfleet.v1alpha1 import provider_pb2 as pb
    from bigfleet.v1alpha1 import provider_pb2_grpc

    from conformance.call import CallLog, recording
    from conformance.client import Client
    from conformance.target import Target

    client, bare, kit = Client(Target(address=address)), [], []
    async with grpc.aio.insecure_channel(address) as channel:
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


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", action="append", help="a latency of the fake; repeatable [0, 200ms, 1s]")
    parser.add_argument("--machines", action="append", type=int, help="a fleet's size; repeatable [64, 10000, 100000]")
    given = parser.parse_args()
    console = Console(width=110)  # also in a log, where nobody tells how wide it is
    console.print(runs(given.latency or ["0", "200ms", "1s"], console))
    console.print(large(given.machines or [64, 10_000, 100_000], console))
    with provider() as address:
        console.print(asyncio.run(rpc(address)))


if __name__ == "__main__":
    main()
