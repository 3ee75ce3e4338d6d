"""Sweeps: two at a time, repeated, interrupted, and of a target that lost its state."""

from __future__ import annotations

import random
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.fleet import ledger
from tests.deaths.test_kills import intent, written
from tests.provider_process import ROUNDS, judge, running, serving, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.provider_process import Done, Provider

pytestmark = pytest.mark.timeout(150)


def left(provider: Provider, directory: Path) -> Path:
    """Creates the target's first and last machines; returns a ledger as their killed run would leave it."""
    machines = list(provider.machines())
    for machine in (created := [machines[0], machines[-1]]):
        shard = f"cpc-dead-{machine}"
        provider.stub.Create(pb.CreateRequest(machine_id=machine, shard_id=shard, shard_epoch=1, sequence_number=1))
    intents = [intent(machine) | {"shard": f"cpc-dead-{machine}"} for machine in created]
    return written(directory / "ledger.ndjson", provider.address, *intents)


def check_clean(done: Done) -> None:
    assert done.code == 0, done.text
    assert done.out.splitlines()[-1] == "all started machines were cleaned up"
    assert done.err == ""


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving("--machines", "16", "--no-faults", "--latency", "80ms") as provider:
        yield provider


def test_a_second_sweep_has_no_work(provider: Provider, tmp_path: Path) -> None:
    path = left(provider, tmp_path)
    check_clean(sweep(provider, path))
    assert provider.away() == {}
    before = provider.machines()
    again = sweep(provider, path)
    check_clean(again)
    assert again.out == "all started machines were cleaned up\n"
    assert provider.machines() == before


def test_one_of_two_concurrent_sweeps_is_refused_and_all_machines_are_returned(
    provider: Provider, tmp_path: Path
) -> None:
    path = left(provider, tmp_path)
    with ExitStack() as stack:
        command = ("conformance", "sweep", str(path), "--target", provider.address)
        both = [stack.enter_context(running(*command)) for _ in range(2)]
        ends = sorted((kit.done() for kit in both), key=lambda done: done.code)
    assert provider.away() == {}
    check_clean(ends[0])
    assert "Traceback" not in ends[1].text
    # If the first ended before the second began, the second succeeds too.
    if ends[1].code:
        assert ends[1].code == 2
        assert ends[1].err.splitlines()[0] == f"error: the ledger {path} belongs to a run that is still active"


@pytest.mark.timeout(150 + 30 * ROUNDS)
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP][: None if ROUNDS > 4 else 2]
)
def test_the_next_sweep_continues_an_interrupted_one(number: signal.Signals, tmp_path: Path) -> None:
    rng = random.Random(number)
    for _ in range(max(1, ROUNDS // 4)):
        with serving("--machines", "16", "--no-faults", "--latency", "300ms") as provider:
            path = left(provider, tmp_path)
            with running("conformance", "sweep", str(path), "--target", provider.address) as kit:
                while "sweep-" not in path.read_text(encoding="utf-8"):  # the shard of the sweep's calls
                    assert not kit.ends_within(0.01)
                kit.ends_within(rng.random() / 3)
                kit.signal(number)
                done = kit.done()
            assert "Traceback" not in done.text
            away = provider.away().keys()
            assert away <= {entry.machine for entry in ledger.read(path).entries}
            if number is not signal.SIGKILL and away:
                assert done.code == 3, done.text
                assert done.err.startswith("error: interrupted: "), done.text
                assert [machine for machine in away if machine not in done.err] == []
            check_clean(sweep(provider, path))
            assert provider.away() == {}


@pytest.mark.parametrize("machines", ["4", "16", "0"][: None if ROUNDS > 4 else 2])
def test_a_sweep_changes_nothing_on_a_target_that_lost_its_state(
    machines: str, provider: Provider, tmp_path: Path
) -> None:
    path = left(provider, tmp_path)
    away = provider.away()
    assert away
    provider.kill()
    with serving("--machines", machines, "--no-faults", port=provider.port) as new:
        before = new.machines()
        done = sweep(new, path)
        assert "Traceback" not in done.text
        assert new.machines() == before
        gone = sorted(set(away) - set(before))
        named = [line.split()[0] for line in done.out.splitlines() if " could not be cleaned up: " in line]
        # An id that the target does not know any more may be a machine that still costs money: it is named.
        assert set(gone) <= set(named), done.text
        assert done.code == (4 if named else 0)
        assert sweep(new, path).code == done.code


def test_a_run_does_not_touch_the_machines_of_a_killed_run(provider: Provider, tmp_path: Path) -> None:
    path = left(provider, tmp_path)
    away = provider.away()
    done = judge(provider, "--select", "LIF-1a,FEN-1a", directory=tmp_path / "next")
    assert done.code == 0, done.text
    assert provider.away().keys() == away.keys()
    check_clean(sweep(provider, path))
    assert provider.away() == {}
