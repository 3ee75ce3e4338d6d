"""A provider that fails during a run: the run stops, and the output names all started machines."""

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
    """Starts a run with short timeouts."""
    command = ("conformance-run", "--target", provider.address, *TIMEOUTS, *SOME)
    return running(*command, "--report-dir", str(directory))


def wait_for_bindings(provider: Provider, kit: Kit) -> None:
    """Waits until the run has bound two machines."""
    while len([m for m in provider.machines().values() if m.cluster]) < 2:
        assert not kit.ends_within(0.002)


def named(done: Done, path: Path) -> list[str]:
    """Returns the open machines of the ledger; checks that the output has a line for each."""
    left = [entry.machine for entry in ledger.read(path).entries]
    for machine in left:
        assert f"           {machine}: " in done.out, f"{machine} is not named in {done.out}"
    return left


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Provider]:
    with serving("--machines", "16", "--latency", "50ms", "--state", str(tmp_path / "fleet.db")) as provider:
        yield provider


def test_a_dead_provider_stops_the_run_and_is_swept_after_its_restart(slow: Provider, tmp_path: Path) -> None:
    with judging(slow, tmp_path) as kit:
        wait_for_bindings(slow, kit)
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
def test_a_replaced_provider_ends_the_run_with_a_message(machines: str, tmp_path: Path) -> None:
    with serving("--machines", "16", "--latency", "50ms") as provider, judging(provider, tmp_path) as kit:
        wait_for_bindings(provider, kit)
        provider.kill()
        with serving("--machines", machines, "--latency", "50ms", port=provider.port) as new:
            done = kit.done()
            assert done.code in (1, 3), done.text
            assert "Traceback" not in done.text
            assert "the kit itself failed" not in done.text
            assert new.away() == {}
            named(done, tmp_path / "ledger.ndjson")


def test_a_provider_that_stops_answering_ends_the_run_within_its_timeouts(tmp_path: Path) -> None:
    with serving("--machines", "16", "--latency", "50ms") as provider:
        with judging(provider, tmp_path) as kit:
            wait_for_bindings(provider, kit)
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
