"""Signals, kills and provider failures during clean-up: a sweep finishes it, and machines that are left are named."""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING

import pytest

from conformance.fleet import ledger
from tests.provider_process import ROUNDS, running, serving, sweep

if TYPE_CHECKING:
    from pathlib import Path

    from tests.provider_process import Done, Kit, Provider

pytestmark = pytest.mark.timeout(150)

SLOW = ("--machines", "8", "--latency", "create=0,configure=0,drain=2s,delete=2s")
"""The clean-up takes long enough for the kit to be killed during it."""
ENDLESS = ("--machines", "8", "--latency", "create=0,configure=0,drain=600s,delete=600s")


def interrupt_until_cleanup(provider: Provider, kit: Kit) -> None:
    """Interrupts the run when it has bound a machine, and waits until that machine is being cleaned up."""
    while not any(machine.cluster for machine in provider.machines().values()):
        assert not kit.ends_within(0.002)
    kit.signal(signal.SIGTERM)
    while not provider.states().keys() & {"DRAINING", "DELETING"}:
        assert not kit.ends_within(0.002)


def check_named(done: Done, provider: Provider, path: Path) -> None:
    """Checks that all machines that are left are in the ledger, and that the output names the ledger."""
    assert "Traceback" not in done.text
    away = provider.away().keys()
    assert away
    assert away <= {entry.machine for entry in ledger.read(path).entries}
    assert f"conformance sweep {path} --target {provider.address}" in done.text


@pytest.mark.timeout(150 + 30 * ROUNDS)
@pytest.mark.parametrize("more", [1, 6])
def test_more_signals_during_cleanup_end_the_run_at_once_and_name_the_ledger(more: int, tmp_path: Path) -> None:
    rng = random.Random(more)
    for turn in range(max(1, ROUNDS // 4)):
        directory = tmp_path / str(turn)
        with serving(*ENDLESS) as provider:
            command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a,MET-1*")
            with running(*command, "--report-dir", str(directory)) as kit:
                interrupt_until_cleanup(provider, kit)
                for _ in range(more):
                    kit.signal(rng.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)))
                    kit.ends_within(rng.random() / 20)
                done = kit.done()
            assert done.code == 3, done.text
            check_named(done, provider, directory / "ledger.ndjson")


@pytest.mark.timeout(150 + 30 * ROUNDS)
def test_a_sweep_returns_the_machines_of_a_run_killed_during_cleanup(tmp_path: Path) -> None:
    rng = random.Random(0)
    for turn in range(max(1, ROUNDS // 4)):
        path = tmp_path / str(turn) / "ledger.ndjson"
        with serving(*SLOW) as provider:
            command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a,MET-1*")
            with running(*command, "--report-dir", str(path.parent)) as kit:
                interrupt_until_cleanup(provider, kit)
                kit.ends_within(rng.random())
                kit.signal(signal.SIGKILL)
                kit.done()
            swept = sweep(provider, path)
            assert swept.code == 0, swept.text
            assert provider.away() == {}


def test_machines_are_named_if_the_provider_dies_during_cleanup(tmp_path: Path) -> None:
    with serving(*SLOW) as provider:
        command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a,MET-1*")
        timeouts = ("--connect-timeout", "1s", "--rpc-timeout", "1s", "--patience", "2s")
        with running(*command, *timeouts, "--report-dir", str(tmp_path)) as kit:
            interrupt_until_cleanup(provider, kit)
            away = provider.away()
            provider.kill()
            done = kit.done()
    assert done.code == 3, done.text
    assert "Traceback" not in done.text
    assert [machine for machine in away if f"           {machine}: " not in done.out] == []
    assert f"conformance sweep {tmp_path / 'ledger.ndjson'} --target {provider.address}" in done.out
