"""`conformance-run --fault …` on a provider in another process: a conformant provider passes with every fault."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from conformance.results import reader
from conformance.results.result import Status
from fake_provider import machine as fake
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from tests.provider_process import ROUNDS, judge, run, serving, serving_mutant
from tests.runs import served

if TYPE_CHECKING:
    from pathlib import Path

    from fake_provider.request import Request

SELECTED = () if ROUNDS > 4 else ("--select", "FEN-6b,FEN-11a,OPS-2,OPS-4a,OPS-6a,MET-1a,WIR-3b,WIR-5a")
FAULTS = (
    "lost-answer",
    "delay=1ms..20ms",
    "throttle=500kB",
    "reset=500ms",
    "half-open=500ms",
    "blackhole=200ms",
)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("faults", [*((one,) for one in FAULTS), ("lost-answer", "reset=1s", "delay=1ms..5ms")])
@pytest.mark.parametrize("latency", ["20ms"] if ROUNDS <= 4 else ["0", "20ms", "200ms"])
def test_a_conformant_provider_stays_conformant(faults: tuple[str, ...], latency: str, tmp_path: Path) -> None:
    given = [part for fault in faults for part in ("--fault", fault)]
    with serving("--latency", latency) as provider:
        done = judge(provider, *SELECTED, *given, directory=tmp_path, limit=200)
        assert done.code == 0, done.text
        assert provider.away() == {}
    report = reader.read(tmp_path / "report.json")
    assert report.weather is not None
    assert report.weather.faults == report.asked.faults == faults
    # Only network faults need a proxy.
    assert ("connections" in report.weather.did) == (faults != ("lost-answer",))
    assert not report.with_status(Status.FAILED, Status.WARNED, Status.ERROR)
    for name in ("report.md", "report.html"):
        assert all(fault in (tmp_path / name).read_text(encoding="utf-8") for fault in faults)
    assert f"faults     {' · '.join(faults)}: " in done.out


def test_each_rpc_loses_answers_and_is_retried(tmp_path: Path) -> None:
    with serving("--latency", "20ms") as provider:
        done = judge(provider, "--select", "OPS-2", "--fault", "lost-answer", directory=tmp_path)
    assert done.code == 0, done.text
    stats = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["weather"]
    assert set(stats["lost"]) == {"Create", "Configure", "Drain", "Delete"}
    # Each call is retried with the used token, and then with a fresh one.
    assert all(stats["again"][rpc] == 2 * lost for rpc, lost in stats["lost"].items())


class StartsTwoMachines(Core):
    """Starts a machine for a Create and another one for its retry, which replaces it."""

    started = 0

    def retry_of(self, verb: fake.Verb, machine: fake.Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        if known is None or verb is not fake.Verb.CREATE:
            return known
        self.started += 1
        return self.new_operation_id(verb, machine)


def test_a_provider_that_starts_two_machines_for_a_retry_is_found(tmp_path: Path) -> None:
    core = StartsTwoMachines(fleet(24), latency=Latency.every(0.05))
    with served(core) as address:
        options = ("--target", address, "--report-dir", str(tmp_path), "--select", "OPS-1a,OPS-2a", "--seed", "1")
        done = run("conformance-run", *options, "--fault", "lost-answer")
    assert done.code == 1, done.text
    assert core.started > 0
    report = reader.read(tmp_path / "report.json")
    by_id = {result.id: result for result in report.results}
    assert by_id["OPS-2a"].status is Status.FAILED
    assert "the retry of Create, whose response was dropped, to have operation id" in by_id["OPS-2a"].wanted
    # OPS-1a judges another clause, so it is not a violation there.
    assert by_id["OPS-1a"].status is Status.ERROR
    assert "behaviours of OPS-2 judge that" in by_id["OPS-1a"].reason
    assert f"conformance replay {tmp_path / 'events.ndjson'} OPS-2a" in done.out


@pytest.mark.parametrize(
    ("mutant", "found"),
    [
        ("RetryHasNoId", {"OPS-2a", "OPS-2b", "OPS-2c", "OPS-2f"}),
        ("RetryMovesNoMark", {"FEN-6b"}),
    ],
)
def test_broken_retries_are_found_by_lost_answers(mutant: str, found: set[str], tmp_path: Path) -> None:
    with serving_mutant(mutant) as provider:
        done = judge(provider, "--select", "OPS-2,FEN-6", "--fault", "lost-answer", directory=tmp_path)
    assert done.code == 1, done.text
    failed = reader.read(tmp_path / "report.json").with_status(Status.FAILED)
    assert found <= {result.id for result in failed if "response was dropped" in result.wanted}


def test_a_run_with_faults_is_replayed_with_them(tmp_path: Path) -> None:
    fault = "lost-answer"
    with serving_mutant("RetryHasNoId") as provider:
        judge(provider, "--select", "OPS-2c", "--fault", fault, directory=tmp_path)
        again = run("conformance", "replay", str(tmp_path / "events.ndjson"), "OPS-2c")
    assert "faults     lost-answer: " in again.out
    assert "whose response was dropped" in again.out
    assert "same failure as before" in again.out
