"""Death on the way home: what is under way is finished by a sweep, and what is left is named."""

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
"""The way home takes long enough to die on it, also where everything else does."""
ENDLESS = ("--machines", "8", "--latency", "create=0,configure=0,drain=600s,delete=600s")


def going_home(provider: Provider, kit: Kit) -> None:
    """Interrupt the run when it has a machine bound, and return when that is on its way home."""
    while not any(machine.cluster for machine in provider.machines().values()):
        assert not kit.ends_within(0.002)
    kit.signal(signal.SIGTERM)
    while not provider.states().keys() & {"DRAINING", "DELETING"}:
        assert not kit.ends_within(0.002)


def named(done: Done, provider: Provider, path: Path) -> None:
    """Whatever is away is in the ledger, and the words say where that is."""
    assert "Traceback" not in done.text
    away = provider.away().keys()
    assert away
    assert away <= {entry.machine for entry in ledger.read(path).entries}
    assert f"conformance sweep {path} --target {provider.address}" in done.text


@pytest.mark.timeout(150 + 30 * ROUNDS)
@pytest.mark.parametrize("more", [1, 6])
def test_more_signals_on_the_way_home_end_it_at_once_and_in_words(more: int, tmp_path: Path) -> None:
    draw = random.Random(more)
    for turn in range(max(1, ROUNDS // 4)):
        directory = tmp_path / str(turn)
        with serving(*ENDLESS) as provider:
            command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a,MET-1*")
            with running(*command, "--report-dir", str(directory)) as kit:
                going_home(provider, kit)
                for _ in range(more):
                    kit.signal(draw.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)))
                    kit.ends_within(draw.random() / 20)
                done = kit.done()
            assert done.code == 3, done.text
            named(done, provider, directory / "ledger.ndjson")


@pytest.mark.timeout(150 + 30 * ROUNDS)
def test_killed_on_the_way_home_it_is_brought_home_by_a_sweep(tmp_path: Path) -> None:
    draw = random.Random(0)
    for turn in range(max(1, ROUNDS // 4)):
        path = tmp_path / str(turn) / "ledger.ndjson"
        with serving(*SLOW) as provider:
            command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a,MET-1*")
            with running(*command, "--report-dir", str(path.parent)) as kit:
                going_home(provider, kit)
                kit.ends_within(draw.random())
                kit.signal(signal.SIGKILL)
                kit.done()
            swept = sweep(provider, path)
            assert swept.code == 0, swept.text
            assert provider.away() == {}


def test_a_provider_that_dies_while_machines_go_home_has_them_named(tmp_path: Path) -> None:
    with serving(*SLOW) as provider:
        command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a,MET-1*")
        timeouts = ("--connect-timeout", "1s", "--rpc-timeout", "1s", "--patience", "2s")
        with running(*command, *timeouts, "--report-dir", str(tmp_path)) as kit:
            going_home(provider, kit)
            away = provider.away()
            provider.kill()
            done = kit.done()
    assert done.code == 3, done.text
    assert "Traceback" not in done.text
    assert [machine for machine in away if f"           {machine}: " not in done.out] == []
    assert f"conformance sweep {tmp_path / 'ledger.ndjson'} --target {provider.address}" in done.out
