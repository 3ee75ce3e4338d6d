"""Runs the kit against a species, each in its own process, and returns output, exit code, memory and machines left."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.core.text import printable
from conformance.fleet.probe import DIAGNOSIS
from conformance.rpc.backoff import INSISTENT_RETRY_DELAYS
from tests.zoo.species import HABITATS, Species

if TYPE_CHECKING:
    from collections.abc import Iterator

for _habitat in HABITATS:
    importlib.import_module(f"tests.zoo.{_habitat}")

FORM = os.environ.get("CONFORMANCE_ZOO", "")
"""`all` includes the rare species, `whole` also runs the entire suite."""
WHOLE = FORM == "whole"
CONCURRENT_RUNS = 3
"""The number of concurrent runs; most of them wait most of the time."""
START_AND_EXIT_S = 30.0
"""The maximum time in seconds for two processes to start and exit on a busy machine."""
MAX_CLEANUP_RPCS = 6
"""The maximum number of sequential RPCs in the clean-up: running calls, reads, and calls that fence off old ones."""
MAX_CLEANUP_TRANSITIONS = 4
"""The maximum number of sequential transitions in the clean-up: a running one, Drain, Delete, and a reverted one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encounter:
    """The result of a run of the kit against a species."""

    species: Species
    code: int
    out: str
    err: str
    megabytes: float
    not_returned: dict[str, str]
    """The machines that were not returned, according to the species, with their states."""
    open: frozenset[str]
    """The machines that may not have been returned, according to the ledger."""
    left: dict[str, str]
    """The machines that were not returned, according to the report, with the reasons."""
    taken: dict[str, str]
    """The machines that another client seems to have taken over, according to the report."""
    written: frozenset[str]
    """The files of the report that are not empty."""

    @property
    def output(self) -> str:
        """The kit's whole output."""
        return f"{self.out}\n{self.err}"

    @property
    def hint(self) -> str:
        """The hint line after an error; empty if the kit printed no hint."""
        return next((line for line in self.err.splitlines() if line.startswith("  hint: ")), "")

    @property
    def headline(self) -> str:
        """The first line that names a problem: an error, the reason for which the run was stopped, or a finding."""
        lines = self.out.splitlines()
        verdict = next((line for line in lines if line.startswith("verdict")), "")
        if self.err:
            return self.err.splitlines()[0]
        if "stopped: " in verdict:
            return verdict[verdict.index("stopped: ") :]
        findings = iter(lines[lines.index("") + 1 :] if "" in lines else [])
        failed = next((line for line in findings if re.match(r"(FAILED|WARNED) .*[^)]$", line)), "")
        got = next((line.strip().removeprefix("got").strip() for line in findings if line.startswith("  got ")), "")
        return f"{failed}: {got}" if failed else next((line for line in lines if line.startswith("ERROR")), "")

    @property
    def named(self) -> set[str]:
        """The machines that the output lists for the user to check, each on its own line."""
        lines = {line.strip() for line in self.out.splitlines() if line.startswith(" " * 11)}
        named = {**self.left, **self.taken}
        return {printable(machine) for machine, why in named.items() if printable(f"{machine}: {why}").strip() in lines}


def time_limit(species: Species) -> float:
    """Returns the maximum time of a run in seconds, from its options and the limits in docs/reliability.md."""
    cleanup = MAX_CLEANUP_TRANSITIONS * species.patience + MAX_CLEANUP_RPCS * species.rpc
    return START_AND_EXIT_S + species.connect + DIAGNOSIS + species.timeout + cleanup + sum(INSISTENT_RETRY_DELAYS)


def run_against(species: Species, directory: Path) -> Encounter:
    """Runs the kit against the species. Raises TimeoutExpired if the run exceeds its time limit."""
    report, peak_memory = directory / "report", directory / "megabytes"
    kit = str(Path(sys.executable).with_name("conformance-run"))
    with running(species, directory) as (target, stop):
        command = [kit, "--target", target["address"], *target["options"], *species.options]
        command += ["--no-config", "--report-dir", str(report), *(() if WHOLE else ("--select", species.select))]
        measure = [sys.executable, "-SE", str(Path(__file__).with_name("peak_memory.py")), str(peak_memory)]
        code, out, err = _run([*measure, *command], time_limit(species))
        not_returned = stop()
    home = json.loads((report / "report.json").read_text(encoding="utf-8"))["home"]
    return Encounter(
        species=species,
        code=code,
        out=out,
        err=err,
        megabytes=float(peak_memory.read_text(encoding="ascii")),
        not_returned=not_returned,
        open=_open(report / "ledger.ndjson"),
        left=home["reasons"],
        taken=home["taken"],
        written=frozenset(file.name for file in report.iterdir() if file.stat().st_size),
    )


@contextmanager
def running(species: Species, directory: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """Starts the species in its own process; yields its target, and a function that stops it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.zoo", species.key, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def stop() -> dict[str, str]:
        out, err = process.communicate(timeout=START_AND_EXIT_S)
        assert out, err
        return {printable(machine): state for machine, state in json.loads(out.splitlines()[-1]).items()}

    try:
        assert process.stdout
        target = process.stdout.readline()
        assert target, process.communicate()[1]
        yield json.loads(target), stop
    finally:
        process.kill()
        process.communicate()


def _run(command: list[str], limit: float) -> tuple[int, str, str]:
    """Runs a command; kills it and its children after `limit` seconds."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=limit)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, out, err


def _open(path: Path) -> frozenset[str]:
    from conformance.fleet import ledger

    entries = ledger.read(path).entries if path.exists() else ()
    return frozenset(printable(entry.machine) for entry in entries)
