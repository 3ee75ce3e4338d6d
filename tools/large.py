"""What a run costs on a large fleet: `conformance-run` in another process, its Lists counted by who answers them."""

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

WHOLE = 0.9
"""A List of this share of the fleet counts as one of the whole fleet."""

# Linux keeps the peak of a process for itself alone; `getrusage` would count what its parent was before it.
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


class Counting(Core):
    """The fake, and how many machines each of its Lists held."""

    def __init__(self, *given: Any, **options: Any) -> None:
        self.held: list[int] = []
        super().__init__(*given, **options)

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        self.held.append(len(listing.machines))
        return listing


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A run on a fleet of so many machines: seconds, megabytes, and what its Lists carried."""

    machines: int
    code: int
    said: str
    first: float
    """Until the first behaviour began, from dialling on."""
    wall: float
    cpu: float
    peak: float
    held: tuple[int, ...]
    left: int
    """Machines that are not as they were found."""

    @property
    def whole(self) -> int:
        """Lists of the whole fleet."""
        return sum(held >= WHOLE * self.machines for held in self.held)


def cost(machines: int, *options: str, **fake: Any) -> Cost:
    """Judge a fake with so many slots, by the whole suite where `options` do not say otherwise."""
    core = Counting(fleet(machines), **fake)
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
            said=f"{done.stdout}{done.stderr}",
            first=next(event["at"] for event in events if event["event"] == "behaviour-started"),
            wall=events[-1]["time"]["wall"],
            cpu=cpu,
            peak=kilobytes / 1024,
            held=tuple(core.held),
            left=sum(machine.state.name != "SPECULATIVE" for machine in core.machines.values()),
        )
