"""A species and the kit, each in a process of its own: how the run ended, what it said and weighed, what is left."""

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
"""`all` meets the rare species too, `whole` judges by the entire suite as well."""
WHOLE = FORM == "whole"
AT_ONCE = 3
"""So many encounters go on together: most of them wait for something most of the time."""
STARTING = 30.0
"""Seconds that two processes may take to start and to end on a machine that has better things to do."""
HEARING_OUT = 6
"""So many RPCs, one after the other, at most: those that were under way, those that look, and those that fence off."""
COMING_HOME = 4
"""So many transitions: what was under way, Drain, Delete, and one that goes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encounter:
    """How a run against a species ended."""

    species: Species
    code: int
    out: str
    err: str
    megabytes: float
    away: dict[str, str]
    """The machines that are not as they were found, by the account of the species itself."""
    open: frozenset[str]
    """The machines that may not be home, by the ledger."""
    left: dict[str, str]
    """The machines that are left, each with the reason, by the report."""
    taken: dict[str, str]
    """The machines that seem to be somebody else's by now, by the report."""

    written: frozenset[str]
    """The files of the report that are not empty."""

    @property
    def said(self) -> str:
        """All that was said."""
        return f"{self.out}\n{self.err}"

    @property
    def hint(self) -> str:
        """The line after an error, with its mend; empty where there is none."""
        return next((line for line in self.err.splitlines() if line.startswith("  hint: ")), "")

    @property
    def headline(self) -> str:
        """The first line that says what is wrong: an error, why the run was stopped, or the first finding."""
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
        """The machines that somebody has to look at, each of which is named in a line of its own."""
        lines = {line.strip() for line in self.out.splitlines() if line.startswith(" " * 11)}
        named = {**self.left, **self.taken}
        return {printable(machine) for machine, why in named.items() if printable(f"{machine}: {why}").strip() in lines}


def bound(species: Species) -> float:
    """Seconds after which a run must have ended, by its own options, and by what docs/reliability.md says of them."""
    home = COMING_HOME * species.patience + HEARING_OUT * species.rpc
    return STARTING + species.connect + DIAGNOSIS + species.timeout + home + sum(INSISTENT_RETRY_DELAYS)


def meet(species: Species, directory: Path) -> Encounter:
    """Let the kit meet the species. Raises TimeoutExpired where the run does not end within its bound."""
    report, scales = directory / "report", directory / "megabytes"
    kit = str(Path(sys.executable).with_name("conformance-run"))
    with caged(species, directory) as (target, account):
        command = [kit, "--target", target["address"], *target["options"], *species.options]
        command += ["--no-config", "--report-dir", str(report), *(() if WHOLE else ("--select", species.select))]
        weighed = [sys.executable, "-SE", str(Path(__file__).with_name("scales.py")), str(scales), *command]
        code, out, err = _run(weighed, bound(species))
        away = account()
    home = json.loads((report / "report.json").read_text(encoding="utf-8"))["home"]
    return Encounter(
        species=species,
        code=code,
        out=out,
        err=err,
        megabytes=float(scales.read_text(encoding="ascii")),
        away=away,
        open=_open(report / "ledger.ndjson"),
        left=home["reasons"],
        taken=home["taken"],
        written=frozenset(file.name for file in report.iterdir() if file.stat().st_size),
    )


@contextmanager
def caged(species: Species, directory: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """The species in its process: how it is dialled, and a function that ends it and gives its account."""
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.zoo", species.key, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def account() -> dict[str, str]:
        out, err = keeper.communicate(timeout=STARTING)
        assert out, err
        return {printable(machine): state for machine, state in json.loads(out.splitlines()[-1]).items()}

    try:
        assert keeper.stdout
        hello = keeper.stdout.readline()
        assert hello, keeper.communicate()[1]
        yield json.loads(hello), account
    finally:
        keeper.kill()
        keeper.communicate()


def _run(command: list[str], limit: float) -> tuple[int, str, str]:
    """Run a command and all that it starts; nothing of it outlives the limit."""
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
