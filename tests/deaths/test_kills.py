"""A killed run leaves a ledger, with which a sweep returns all machines."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from tests.deaths.test_signals import PROVIDERS, providers
from tests.provider_process import IDLE, ROUNDS, SOME, judge, running, serving, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.provider_process import Done, Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving("--machines", "4") as provider:
        yield provider


@pytest.fixture
def slow() -> Iterator[Provider]:
    with serving("--machines", "4", "--latency", "create=0,delete=0,configure=600s,drain=0") as provider:
        yield provider


def killed(provider: Provider, directory: Path) -> Path:
    """Kills a run after it has started a machine; returns its ledger."""
    with running(
        "conformance-run", "--target", provider.address, "--select", "LIF-1a", "--report-dir", str(directory)
    ) as kit:
        while not provider.away():
            assert not kit.ends_within(0.002)
        kit.signal(signal.SIGKILL)
        kit.done()
    return directory / "ledger.ndjson"


def written(path: Path, target: str, *lines: dict[str, object]) -> Path:
    """Writes a ledger with these lines; returns its path."""
    header = {"ledger": 1, "run": "cpc-dead", "target": target, "at": time.time()}
    path.write_text("".join(json.dumps(line) + "\n" for line in (header, *lines)), encoding="utf-8")
    return path


def intent(machine: str, *, verb: str = "Create", epoch: int = 1) -> dict[str, object]:
    """Returns the ledger line that a run writes before a call."""
    return {"intend": verb, "machine": machine, "home": "SPECULATIVE", "shard": "cpc-dead-m1", "epoch": epoch}


def check_ok(done: Done) -> None:
    """Checks that the command succeeded without a traceback."""
    assert done.code == 0, done.text
    assert "Traceback" not in done.text


@pytest.mark.timeout(60 + 20 * ROUNDS)
@pytest.mark.parametrize("kind", providers())
def test_a_run_killed_at_any_moment_leaves_no_machine_after_a_sweep(kind: str, tmp_path: Path) -> None:
    rng = random.Random(kind)
    with serving("--machines", "16", *PROVIDERS[kind]) as provider:
        began = time.monotonic()
        assert judge(provider, *SOME, directory=tmp_path / "whole").code == 0
        whole = time.monotonic() - began
        for turn in range(ROUNDS):
            directory = tmp_path / str(turn)
            command = ("conformance-run", "--target", provider.address, *SOME, "--report-dir", str(directory))
            with running(*command) as kit:
                kit.ends_within(whole * (turn + rng.random()) / ROUNDS)
                kit.signal(signal.SIGKILL)
                kit.done()
            ledger = directory / "ledger.ndjson"
            if ledger.exists():
                check_ok(sweep(provider, ledger))
                assert provider.away() == {}
                check_ok(sweep(provider, ledger))  # a second sweep has no work
            assert provider.away() == {}


def test_repeated_sweeps_do_not_fence_each_other(slow: Provider, tmp_path: Path) -> None:
    slow.stub.Create(pb.CreateRequest(machine_id="machine-0001", shard_id="cpc-dead-m1", shard_epoch=1))
    configure = pb.ConfigureRequest(machine_id="machine-0001", cluster_id="cpc-dead-x", shard_id="cpc-dead-m1")
    configure.shard_epoch, configure.sequence_number = 1, 1
    slow.stub.Configure(configure)
    ledger = written(tmp_path / "ledger.ndjson", slow.address, intent("machine-0001"))
    for _ in range(2):
        done = sweep(slow, ledger, "--patience", "200ms")
        assert done.code == 4
        assert "machine-0001 is left: machine-0001 is still CONFIGURING" in done.out
        assert "FAILED_PRECONDITION" not in done.text


def test_a_sweep_of_a_running_run_is_refused(tmp_path: Path) -> None:
    with serving("--machines", "4", "--latency", "2s") as provider:
        ledger = tmp_path / "ledger.ndjson"
        command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a")
        with running(*command, "--report-dir", str(tmp_path)) as kit:
            while not provider.away():
                assert not kit.ends_within(0.01)
            kit.signal(signal.SIGSTOP)  # keeps the run alive and idle during the sweep
            before = ledger.read_text(encoding="utf-8")
            done = sweep(provider, ledger)
            kit.signal(signal.SIGCONT)
            assert ledger.read_text(encoding="utf-8").startswith(before)
            kit.signal(signal.SIGTERM)
            assert kit.done().code == 3
        assert done.code == 2
        assert done.err.splitlines()[0] == f"error: the ledger {ledger} belongs to a run that still lives"
        assert provider.away() == {}


def test_a_ledger_with_an_incomplete_last_line_is_swept(provider: Provider, tmp_path: Path) -> None:
    ledger = killed(provider, tmp_path)
    with ledger.open("rb+") as file:
        file.write(b"")
        file.seek(0, os.SEEK_END)
        file.write(b'{"seen": "IDLE", "mach')
    check_ok(sweep(provider, ledger))
    assert provider.away() == {}
    check_ok(sweep(provider, ledger))


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_truncated_ledger_is_swept(cut: int, provider: Provider, tmp_path: Path) -> None:
    provider.stub.Create(pb.CreateRequest(machine_id="machine-0001", shard_id="cpc-dead-m1", shard_epoch=1))
    ledger = written(
        tmp_path / "ledger.ndjson",
        provider.address,
        intent("machine-0001"),
        {"seen": "IDLE", "machine": "machine-0001", "host": "unknown"},
    )
    ledger.write_bytes(ledger.read_bytes()[:-cut])
    done = sweep(provider, ledger)
    check_ok(done)
    # With a complete last line, the ledger would show that the host has changed, and so the owner of the machine.
    assert list(provider.away()) == (["machine-0001"] if cut == 1 else [])


def test_unknown_machine_ids_are_not_reported_as_left(provider: Provider, tmp_path: Path) -> None:
    strange = [intent(name) | {"home": "UNSPECIFIED"} for name in ("", "no-such-machine", "é" * 40, "\0")]
    ledger = written(tmp_path / "ledger.ndjson", provider.address, *strange)
    check_ok(sweep(provider, ledger))
    assert provider.away() == {}


def test_an_empty_ledger_means_that_the_run_started_no_machine(provider: Provider, tmp_path: Path) -> None:
    (tmp_path / "ledger.ndjson").touch()
    done = sweep(provider, tmp_path / "ledger.ndjson")
    check_ok(done)
    assert "died before it started anything" in done.out


def test_a_ledger_of_another_address_is_swept_only_with_any_target(provider: Provider, tmp_path: Path) -> None:
    provider.stub.Create(pb.CreateRequest(machine_id="machine-0001", shard_id="cpc-dead-m1", shard_epoch=1))
    ledger = written(tmp_path / "ledger.ndjson", "elsewhere:1", intent("machine-0001"))
    done = sweep(provider, ledger)
    assert done.code == 2
    assert done.err.splitlines()[0] == f"error: the ledger is about elsewhere:1, not {provider.address}"
    assert list(provider.away()) == ["machine-0001"]
    check_ok(sweep(provider, ledger, "--any-target"))
    assert provider.away() == {}


def test_machines_that_another_client_took_are_not_swept(provider: Provider, tmp_path: Path) -> None:
    tenant = pb.CreateRequest(machine_id="machine-0001", shard_id="tenant", shard_epoch=1, sequence_number=1)
    provider.stub.Create(tenant)  # the run's own Create was never applied
    tenant.machine_id = "machine-0002"
    tenant.sequence_number = 2
    provider.stub.Create(tenant)  # the run had this machine and returned it
    ledger = written(
        tmp_path / "ledger.ndjson",
        provider.address,
        intent("machine-0001"),
        intent("machine-0002") | {"shard": "cpc-dead-m2"},
        {"seen": "SPECULATIVE", "machine": "machine-0002", "host": ""},
    )
    before = provider.machines()
    done = sweep(provider, ledger)
    check_ok(done)
    assert "machine-0001 is IDLE for somebody else now: not touched" in done.out
    assert provider.machines() == before
    assert [m.state for m in before.values()].count(IDLE) == 2
    check_ok(sweep(provider, ledger))
    assert provider.machines() == before


def test_a_report_directory_with_open_machines_is_refused(provider: Provider, tmp_path: Path) -> None:
    ledger = killed(provider, tmp_path)
    if not provider.away():
        pytest.skip("the machine was already returned when the run was killed")
    before = ledger.read_bytes()
    done = judge(provider, "--select", "LIF-1a", directory=tmp_path)
    assert done.code == 2
    assert f"conformance sweep {ledger}" in done.err
    assert ledger.read_bytes() == before
    check_ok(sweep(provider, ledger))
    assert judge(provider, "--select", "LIF-1a", directory=tmp_path).code == 0
