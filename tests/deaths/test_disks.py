"""If the disk is full or the directory removed, no machine starts without a ledger line, and all are returned."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.errors import UsageError
from conformance.fleet import ledger
from conformance.results import reader
from conformance.results.result import Verdict
from tests.provider_process import LIMIT, ROUNDS, Done, judge, run, running, serving, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.provider_process import Kit, Provider

pytestmark = pytest.mark.timeout(150)

RUN = str(Path(sys.executable).with_name("conformance-run"))
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes a command with a file size limit. The test does not fork: gRPC's threads do not survive that."""
FULL = "No space left on device"


def mount(*arguments: str) -> None:
    """Mounts a file system; skips the test if that is not permitted."""
    try:
        subprocess.run(("mount", *arguments), check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs permission to mount a file system: {error}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    where = tmp_path / "disk"
    where.mkdir()
    mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", str(where))
    try:
        yield where
    finally:
        subprocess.run(("umount", "--lazy", str(where)), check=True, timeout=20)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving("--machines", "16", "--latency", "30ms") as provider:
        yield provider


def fill(disk: Path, *, free_bytes: int = 0) -> None:
    """Fills the disk, except for `free_bytes`."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            file.truncate(file.tell() - free_bytes)


def wait_for_machines(provider: Provider, kit: Kit, machines: int = 2) -> None:
    """Waits until the run has started this number of machines."""
    while len(provider.away()) < machines:
        assert not kit.ends_within(0.002)


@contextmanager
def judging(provider: Provider, directory: Path, *options: str) -> Iterator[Kit]:
    command = ("conformance-run", "--target", provider.address, "--report-dir", str(directory), *options)
    with running(*command) as kit:
        yield kit


def check_stopped(done: Done, provider: Provider, reason: str) -> None:
    """Checks that the run stopped because of its ledger, printed the reason, and returned all machines."""
    assert provider.away() == {}, done.text
    assert "Traceback" not in done.text
    assert "the kit itself failed" not in done.text
    assert done.code == 3, done.text
    assert f"stopped: the ledger cannot be written: {reason}" in done.verdict
    assert "all started machines were returned" in done.out


def test_a_disk_that_gets_full_stops_the_run_and_all_machines_are_returned(provider: Provider, disk: Path) -> None:
    with judging(provider, disk) as kit:
        wait_for_machines(provider, kit)
        fill(disk)
        done = kit.done()
    check_stopped(done, provider, FULL)
    assert f"error: the output is incomplete: report directory: [Errno 28] {FULL}" in done.err
    # A file is either readable, because it was written before the disk was full, or empty.
    for name in ("events.ndjson", "report.json"):
        if (disk / name).stat().st_size:
            assert reader.read(disk / name).verdict is not Verdict.CONFORMANT
    (disk / "filler").unlink()
    swept = sweep(provider, disk / "ledger.ndjson")
    assert swept.code == 0, swept.text
    assert judge(provider, "--select", "LIF-1a", directory=disk).code == 0


def test_a_full_disk_is_an_error_before_the_run(provider: Provider, disk: Path) -> None:
    fill(disk)
    before = provider.machines()
    done = judge(provider, directory=disk)
    assert done.code == 2, done.text
    ledger_at = disk / "ledger.ndjson"
    assert done.err.splitlines()[0] == f"error: the ledger {ledger_at} cannot be written: {FULL}"
    assert provider.machines() == before


def test_a_disk_that_gets_full_at_the_start_stops_the_run(provider: Provider, disk: Path) -> None:
    # The free pages hold the header of the ledger and a few lines.
    fill(disk, free_bytes=8192)
    done = judge(provider, directory=disk)
    check_stopped(done, provider, FULL)
    assert "Traceback" not in sweep(provider, disk / "ledger.ndjson").text


def test_a_sweep_on_a_full_disk_still_returns_machines(provider: Provider, disk: Path) -> None:
    with judging(provider, disk, "--select", "LIF-*") as kit:
        wait_for_machines(provider, kit)
        kit.process.kill()
        kit.done()
    fill(disk)
    assert sweep(provider, disk / "ledger.ndjson").code in (0, 2)
    (disk / "filler").unlink()
    swept = sweep(provider, disk / "ledger.ndjson")
    assert swept.code == 0, swept.text
    assert provider.away() == {}


@pytest.mark.parametrize("most", [300, 6_000] if ROUNDS <= 4 else [200, 300, 2_000, 6_000, 20_000, 60_000])
def test_a_file_size_limit_leaves_no_machine(most: int, provider: Provider, tmp_path: Path) -> None:
    """Needs no permission to mount: limits the size of each file instead of the disk."""
    command = (RUN, "--target", provider.address, "--report-dir", str(tmp_path), "--select", "LIF-1*,FEN-1*")
    done = subprocess.run(
        (sys.executable, "-c", LIMITED, str(most), *command), capture_output=True, text=True, timeout=LIMIT, check=False
    )
    end = Done(done.returncode, done.stdout, done.stderr)
    assert provider.away() == {}, end.text
    assert "Traceback" not in end.text
    assert "Exception" not in end.text
    assert "report directory: [Errno 27] File too large" in end.err
    assert end.code in (2, 3), end.text
    assert ("stopped: the ledger cannot be written: File too large" in end.verdict) == (end.code == 3)
    assert all(entry.machine for entry in ledger.read(tmp_path / "ledger.ndjson").entries)


def test_a_removed_report_directory_stops_the_run_and_all_machines_are_returned(
    provider: Provider, tmp_path: Path
) -> None:
    directory = tmp_path / "out"
    with judging(provider, directory) as kit:
        wait_for_machines(provider, kit)
        shutil.rmtree(directory)
        done = kit.done()
    check_stopped(done, provider, "it has been removed")
    assert f"report directory: [Errno 2] No such file or directory: '{directory / 'report.json'}'" in done.err


def test_a_report_directory_that_becomes_read_only_does_not_change_the_verdict(
    provider: Provider, tmp_path: Path
) -> None:
    directory = tmp_path / "out"
    with judging(provider, directory, "--select", "LIF-1*") as kit:
        wait_for_machines(provider, kit, 1)
        kit.signal(signal.SIGSTOP)  # until the directory is read-only
        mount("--bind", "-o", "ro", str(directory), str(directory))
        try:
            kit.signal(signal.SIGCONT)
            done = kit.done()
        finally:
            subprocess.run(("umount", "--lazy", str(directory)), check=True, timeout=20)
    assert provider.away() == {}
    assert "Traceback" not in done.text
    assert "verdict    CONFORMANT" in done.verdict
    assert done.code == 2
    assert "report directory: [Errno 30] Read-only file system" in done.err
    assert reader.read(directory / "events.ndjson").verdict is Verdict.CONFORMANT
    with pytest.raises(UsageError, match="is empty"):
        reader.read(directory / "report.json")


def test_an_unusable_state_directory_is_an_error_before_the_run(provider: Provider, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way", encoding="utf-8")
    done = run("conformance-run", "--target", provider.address, state=tmp_path / "state")
    assert done.code == 2, done.text
    assert "cannot be written: Not a directory" in done.err.splitlines()[0]
    assert provider.away() == {}


# The fake's own state, on a disk of its own.


def test_a_provider_whose_disk_gets_full_acknowledges_only_what_it_keeps(disk: Path) -> None:
    options = ("--machines", "16", "--no-faults", "--latency", "0", "--state", str(disk / "state"))
    acknowledged, refused = set(), []
    with serving(*options) as provider:
        fill(disk)
        for machine in provider.machines():
            request = pb.CreateRequest(machine_id=machine, shard_id="shard", shard_epoch=1, sequence_number=1)
            try:
                provider.stub.Create(request, timeout=10)
                acknowledged.add(machine)
            except grpc.RpcError as error:
                refused.append(error.code())
        assert refused
        assert grpc.StatusCode.FAILED_PRECONDITION not in refused
        provider.kill()
    (disk / "filler").unlink()
    with serving(*options) as again:
        assert again.away().keys() == acknowledged
