"""A run that has started its provider: however the kit or the provider ends, neither it nor a machine is left."""

from __future__ import annotations

import signal
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb
from bigfleet.v1alpha1 import provider_pb2_grpc

from conformance import lanes
from conformance.fleet import ledger
from conformance.frontends.cli.provider_options import free_port
from conformance.rpc.env_proxy import NO_ENV_PROXY
from tests.provider_process import IDLE, LIMIT, SOME, run, running, serving, sweep

if TYPE_CHECKING:
    from pathlib import Path

    from tests.provider_process import Kit

SERVE = f"{sys.executable} -m fake_provider serve --port {{port}} --state {{dir}} --latency 100ms"


def command(port: int, directory: Path, *options: str, serve: str = SERVE) -> tuple[str, ...]:
    """Returns the command of a run that starts its provider at a port."""
    target = f"127.0.0.1:{port}"
    return ("conformance-run", "--provider-cmd", serve, "--target", target, "--report-dir", str(directory), *options)


def listens(port: int) -> bool:
    """Returns whether a process listens at a port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_until_free(port: int) -> None:
    """Waits until no process listens at a port."""
    end = time.monotonic() + LIMIT
    while listens(port):
        assert time.monotonic() < end, "the provider has outlived the kit"
        time.sleep(0.05)


def wait_for_machines(kit: Kit, path: Path) -> None:
    """Waits until the run has started machines."""
    while not path.exists() or not ledger.read(path).entries:
        assert not kit.ends_within(0.02)


def wait_until_idle(port: int) -> None:
    """Waits until the provider at a port has a machine with a host. The kit may restart the provider meanwhile."""
    end = time.monotonic() + 2 * LIMIT
    while time.monotonic() < end:
        # A new channel each time: after a lost connection, an old one would pause for longer and longer.
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=NO_ENV_PROXY) as channel, suppress(grpc.RpcError):
            stub = provider_pb2_grpc.CapacityProviderStub(channel)  # type: ignore[no-untyped-call]
            if stub.List(pb.ListFilter(states=[IDLE]), timeout=10).machines:
                return
        time.sleep(0.02)
    raise AssertionError("the provider has no IDLE machine")


@pytest.mark.timeout(240)
def test_a_run_starts_and_ends_its_provider(tmp_path: Path) -> None:
    port = free_port()
    done = run(*command(port, tmp_path, *SOME))
    assert done.code == 0, done.text
    assert not listens(port)
    assert f'"port": {port}' in (tmp_path / "provider.log").read_text()
    assert (tmp_path / "provider-state").is_dir()


@pytest.mark.timeout(240)
def test_a_killed_kit_leaves_no_provider_and_a_sweep_returns_the_machines(tmp_path: Path) -> None:
    port = free_port()
    with running(*command(port, tmp_path)) as kit:
        wait_until_idle(port)
        kit.signal(signal.SIGKILL)
        wait_until_free(port)
    state = str(tmp_path / "provider-state")
    with serving("--state", state, "--latency", "50ms", port=port) as provider:
        assert provider.away()
        swept = sweep(provider, tmp_path / "ledger.ndjson")
        assert swept.code == 0, swept.text
        assert not provider.away()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("lane", [lane.name for lane in lanes.all_lanes()])
def test_a_sweep_starts_the_provider_again_on_the_state_of_a_killed_run(lane: str, tmp_path: Path) -> None:
    """Whatever the lane: after `kill -9` in the middle no provider is left, and after the sweep no machine."""
    port = free_port()
    with running(*command(port, tmp_path, "--lane", lane)) as kit:
        wait_until_idle(port)
        kit.signal(signal.SIGKILL)
        wait_until_free(port)
    path = tmp_path / "ledger.ndjson"
    assert ledger.read(path).entries
    swept = run("conformance", "sweep", str(path), "--provider-cmd", SERVE)
    assert swept.code == 0, swept.text
    assert "all started machines were cleaned up" in swept.out
    assert not ledger.read(path).entries
    assert not listens(port)
    with serving("--state", str(tmp_path / "provider-state"), "--latency", "50ms") as provider:
        assert not provider.away()


def test_a_sweep_without_the_state_of_the_run_says_so(tmp_path: Path) -> None:
    swept = run("conformance", "sweep", str(tmp_path / "ledger.ndjson"), "--provider-cmd", SERVE)
    assert swept.code == 2
    assert "ledger.ndjson cannot be read" in swept.err


@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_kit_returns_its_machines_before_it_ends_the_provider(
    number: signal.Signals, tmp_path: Path
) -> None:
    port = free_port()
    with running(*command(port, tmp_path)) as kit:
        wait_for_machines(kit, tmp_path / "ledger.ndjson")
        kit.signal(number)
        done = kit.done()
    assert done.code == 3, done.text
    assert not ledger.read(tmp_path / "ledger.ndjson").entries
    assert not listens(port)


@pytest.mark.timeout(240)
def test_a_provider_that_dies_is_named_with_its_last_words(tmp_path: Path) -> None:
    script = tmp_path / "dies.py"
    script.write_text(
        "import os, pathlib, subprocess, sys, time\n"
        "mark = pathlib.Path(sys.argv[3])\n"
        "serve = [sys.executable, '-m', 'fake_provider', 'serve', '--port', sys.argv[1], '--state', sys.argv[2]]\n"
        "provider = subprocess.Popen([*serve, '--latency', '200ms'])\n"
        "while not mark.exists() or mark.stat().st_size == 0: time.sleep(0.02)\n"
        "if mark.read_text() == 'die':\n"
        "    mark.write_text('again')\n"
        "    print('panic: out of memory', flush=True)\n"
        "    provider.kill()\n"
        "    sys.exit(7)\n"
        "provider.wait()\n"
    )
    port, mark = free_port(), tmp_path / "mark"
    serve = f"{sys.executable} {script} {{port}} {{dir}}/fleet.db {mark}"
    with running(*command(port, tmp_path / "out", "--connect-timeout", "2s", serve=serve)) as kit:
        wait_for_machines(kit, tmp_path / "out" / "ledger.ndjson")
        mark.write_text("die")
        done = kit.done()
    assert done.code == 3, done.text
    assert "the target is gone: the provider ended with exit code 7; its last output: " in done.verdict
    assert "panic: out of memory" in done.verdict
    assert "it was started again to return the machines of the run" in done.out
    assert not ledger.read(tmp_path / "out" / "ledger.ndjson").entries, done.out
    assert not listens(port)


@pytest.mark.timeout(240)
def test_a_provider_that_cannot_start_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    done = run(*command(free_port(), tmp_path, serve="sh -c 'echo no licence; exit 4'"))
    assert done.code == 3, done.text
    assert "the provider ended with exit code 4; its last output: no licence" in done.err
    assert "provider.log" in done.err
    assert (tmp_path / "report.json").exists()
