"""A provider that goes away in the middle: nothing is judged any more, and what was started is named."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from conformance.fleet import ledger
from tests.provider_process import SOME, running, serving, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.provider_process import Done, Kit, Provider

TIMEOUTS = ("--connect-timeout", "1s", "--rpc-timeout", "1s", "--patience", "3s")


def judging(provider: Provider, directory: Path) -> AbstractContextManager[Kit]:
    """A run with little patience."""
    command = ("conformance-run", "--target", provider.address, *TIMEOUTS, *SOME)
    return running(*command, "--report-dir", str(directory))


def meanwhile(provider: Provider, kit: Kit) -> None:
    """Return when machines are away that the run has seen to live, and so is in the middle."""
    while len([m for m in provider.machines().values() if m.cluster]) < 2:
        assert not kit.ends_within(0.002)


def named(done: Done, path: Path) -> list[str]:
    """The machines that the ledger says are open; each has its line at the end."""
    left = [entry.machine for entry in ledger.read(path).entries]
    for machine in left:
        assert f"           {machine}: " in done.out, f"{machine} is not named in {done.out}"
    return left


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Provider]:
    with serving("--machines", "16", "--latency", "50ms", "--state", str(tmp_path / "fleet.db")) as provider:
        yield provider


def test_a_provider_that_dies_ends_the_run_and_comes_back_to_be_swept(slow: Provider, tmp_path: Path) -> None:
    with judging(slow, tmp_path) as kit:
        meanwhile(slow, kit)
        began = time.monotonic()
        slow.kill()
        done = kit.done()
    assert time.monotonic() - began < 15
    assert done.code == 3, done.text
    assert "Traceback" not in done.text
    assert "stopped: the target is gone: " in done.verdict
    assert f"conformance sweep {tmp_path / 'ledger.ndjson'} --target {slow.address}" in done.out
    left = named(done, tmp_path / "ledger.ndjson")
    assert left
    with serving("--state", str(tmp_path / "fleet.db"), "--latency", "50ms", port=slow.port) as again:
        assert set(again.away()) <= set(left)
        swept = sweep(again, tmp_path / "ledger.ndjson")
        failed = [i for i, m in again.machines().items() if m.last_error]
        assert sorted(again.away()) == sorted(failed), swept.text
        assert swept.code == (4 if failed else 0), swept.text
        assert "Traceback" not in swept.text


@pytest.mark.parametrize("machines", ["0", "16"])
def test_a_provider_that_is_replaced_by_a_new_one_ends_in_words(machines: str, tmp_path: Path) -> None:
    with serving("--machines", "16", "--latency", "50ms") as provider, judging(provider, tmp_path) as kit:
        meanwhile(provider, kit)
        provider.kill()
        with serving("--machines", machines, "--latency", "50ms", port=provider.port) as new:
            done = kit.done()
            assert done.code in (1, 3), done.text
            assert "Traceback" not in done.text
            assert "the kit itself failed" not in done.text
            assert new.away() == {}
            named(done, tmp_path / "ledger.ndjson")


def test_a_provider_that_answers_no_more_costs_no_more_than_its_timeouts(tmp_path: Path) -> None:
    with serving("--machines", "16", "--latency", "50ms") as provider:
        with judging(provider, tmp_path) as kit:
            meanwhile(provider, kit)
            provider.process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            try:
                done = kit.done()
            finally:
                provider.process.send_signal(signal.SIGCONT)
        assert time.monotonic() - began < 20
        assert done.code == 3, done.text
        assert "Traceback" not in done.text
        assert named(done, tmp_path / "ledger.ndjson")
        swept = sweep(provider, tmp_path / "ledger.ndjson")
        assert swept.code == 0, swept.text
        assert provider.away() == {}
