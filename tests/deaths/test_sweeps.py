"""Sweeps: more than one at a time, again and again, and at a target that knows nothing any more."""

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
    """The ledger of a run that died when it had created the target's first and last machines."""
    machines = list(provider.machines())
    for machine in (chosen := [machines[0], machines[-1]]):
        shard = f"cpc-dead-{machine}"
        provider.stub.Create(pb.CreateRequest(machine_id=machine, shard_id=shard, shard_epoch=1, sequence_number=1))
    intents = [intent(machine) | {"shard": f"cpc-dead-{machine}"} for machine in chosen]
    return written(directory / "ledger.ndjson", provider.address, *intents)


def clean(done: Done) -> None:
    assert done.code == 0, done.text
    assert done.out.splitlines()[-1] == "all started machines were cleaned up"
    assert done.err == ""


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving("--machines", "16", "--latency", "80ms") as provider:
        yield provider


def test_swept_twice_the_second_finds_nothing_to_do(provider: Provider, tmp_path: Path) -> None:
    path = left(provider, tmp_path)
    clean(sweep(provider, path))
    assert provider.away() == {}
    before = provider.machines()
    again = sweep(provider, path)
    clean(again)
    assert again.out == "all started machines were cleaned up\n"
    assert provider.machines() == before


def test_of_two_sweeps_at_once_one_is_refused_and_all_is_home(provider: Provider, tmp_path: Path) -> None:
    path = left(provider, tmp_path)
    with ExitStack() as stack:
        command = ("conformance", "sweep", str(path), "--target", provider.address)
        both = [stack.enter_context(running(*command)) for _ in range(2)]
        ends = sorted((kit.done() for kit in both), key=lambda done: done.code)
    assert provider.away() == {}
    clean(ends[0])
    assert "Traceback" not in ends[1].text
    # Where the first was done before the second had begun, there was nothing to refuse.
    if ends[1].code:
        assert ends[1].code == 2
        assert ends[1].err.splitlines()[0] == f"error: the ledger {path} belongs to a run that still lives"


@pytest.mark.timeout(150 + 30 * ROUNDS)
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP][: None if ROUNDS > 4 else 2]
)
def test_a_sweep_that_is_ended_leaves_the_rest_to_the_next(number: signal.Signals, tmp_path: Path) -> None:
    draw = random.Random(number)
    for _ in range(max(1, ROUNDS // 4)):
        with serving("--machines", "16", "--latency", "300ms") as provider:
            path = left(provider, tmp_path)
            with running("conformance", "sweep", str(path), "--target", provider.address) as kit:
                while "sweep-" not in path.read_text(encoding="utf-8"):  # the shard of the sweep's own calls
                    assert not kit.ends_within(0.01)
                kit.ends_within(draw.random() / 3)
                kit.signal(number)
                done = kit.done()
            assert "Traceback" not in done.text
            away = provider.away().keys()
            assert away <= {entry.machine for entry in ledger.read(path).entries}
            if number is not signal.SIGKILL and away:
                assert done.code == 3, done.text
                assert done.err.startswith("error: interrupted: "), done.text
                assert [machine for machine in away if machine not in done.err] == []
            clean(sweep(provider, path))
            assert provider.away() == {}


@pytest.mark.parametrize("machines", ["4", "16", "0"][: None if ROUNDS > 4 else 2])
def test_a_target_that_lost_all_its_state_has_nothing_of_ours(
    machines: str, provider: Provider, tmp_path: Path
) -> None:
    path = left(provider, tmp_path)
    away = provider.away()
    assert away
    provider.kill()
    with serving("--machines", machines, port=provider.port) as new:
        before = new.machines()
        done = sweep(new, path)
        assert "Traceback" not in done.text
        assert new.machines() == before
        gone = sorted(set(away) - set(before))
        named = [line.split()[0] for line in done.out.splitlines() if " is left: " in line]
        # An id that nobody knows any more may be a machine that nobody counts any more: it is named.
        assert set(gone) <= set(named), done.text
        assert done.code == (4 if named else 0)
        assert sweep(new, path).code == done.code


def test_a_run_at_the_same_target_after_a_dead_one_leaves_its_machines_alone(
    provider: Provider, tmp_path: Path
) -> None:
    path = left(provider, tmp_path)
    away = provider.away()
    done = judge(provider, "--select", "LIF-1a,FEN-1a", directory=tmp_path / "next")
    assert done.code == 0, done.text
    assert provider.away().keys() == away.keys()
    clean(sweep(provider, path))
    assert provider.away() == {}
