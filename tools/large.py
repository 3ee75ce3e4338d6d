"""Measures the cost of a run on a large fleet: `conformance-run` in another process, its Lists counted by the fake."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fake_provider.core import Core
from fake_provider.fleet import fleet
from tests.runs import served

if TYPE_CHECKING:
    from fake_provider.request import Filter, Listing

FULL_LIST_SHARE = 0.9
"""A List of at least this share of the fleet counts as a List of the full fleet."""

# /proc has the peak memory of the process alone; `getrusage` includes the memory of the parent when it forked.
KIT = """
import atexit, sys, time
from pathlib import Path
from conformance.frontends.cli.main import run_main

def peak():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    Path(sys.argv[1]).write_text(f"{line.split()[1]} {time.process_time()}")

atexit.register(peak)
run_main(sys.argv[2:])
"""


class CountingCore(Core):
    """The fake provider, which counts the machines in each of its Lists."""

    def __init__(self, *given: Any, **options: Any) -> None:
        self.list_sizes: list[int] = []
        super().__init__(*given, **options)

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        self.list_sizes.append(len(listing.machines))
        return listing


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A run on a large fleet."""

    machines: int
    code: int
    output: str
    first: float
    """Seconds from the first connection to the start of the first behaviour."""
    wall: float
    """Seconds."""
    cpu: float
    """Seconds, user and system."""
    peak: float
    """Megabytes."""
    list_sizes: tuple[int, ...]
    """The number of machines in each List."""
    left: int
    """The number of machines that were not cleaned up."""

    @property
    def full_lists(self) -> int:
        """The number of Lists of the full fleet."""
        return sum(size >= FULL_LIST_SHARE * self.machines for size in self.list_sizes)


def cost(machines: int, *options: str, **fake: Any) -> Cost:
    """Judges a fake with this number of slots, with the full suite unless `options` select a part."""
    core = CountingCore(fleet(machines), **fake)
    with tempfile.TemporaryDirectory() as directory, served(core) as address:
        out, peak = Path(directory), Path(directory) / "peak"
        command = [sys.executable, "-c", KIT, str(peak), "--target", address, "--report-dir", str(out), "--quiet"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        lines = (out / "events.ndjson").read_text(encoding="utf-8").splitlines()
        events = [json.loads(line) for line in lines]
        kilobytes, cpu = map(float, peak.read_text(encoding="utf-8").split())
        return Cost(
            machines=machines,
            code=done.returncode,
            output=f"{done.stdout}{done.stderr}",
            first=next(event["at"] for event in events if event["event"] == "behaviour-started"),
            wall=events[-1]["time"]["wall"],
            cpu=cpu,
            peak=kilobytes / 1024,
            list_sizes=tuple(core.list_sizes),
            left=sum(machine.state.name != "SPECULATIVE" for machine in core.machines.values()),
        )
