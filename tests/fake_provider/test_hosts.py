from pathlib import Path

import pytest

from fake_provider.core import Core
from fake_provider.errors import HostsLogError
from fake_provider.faults import Faults
from fake_provider.fleet import fleet
from fake_provider.hosts import HostsLog
from fake_provider.latency import Latency
from fake_provider.machine import State
from fake_provider.store import MemoryStore, Snapshot
from tests.fake_provider.driver import IDLE, OTHER, SLOT, Driver, small_fleet


class Backend:
    def __init__(self) -> None:
        self.running: set[str] = set()

    def start(self, ref: str) -> None:
        self.running.add(ref)

    def terminate(self, ref: str) -> None:
        self.running.discard(ref)


def shown(core: Core) -> set[str]:
    return {machine.host.ref for machine in core.machines.values() if machine.host}


def test_the_backend_runs_the_hosts_that_machines_show() -> None:
    backend = Backend()
    drive = Driver(backend=backend)
    for step in (drive.create, drive.wait, drive.configure, drive.wait, drive.drain, drive.wait, drive.delete):
        assert backend.running == shown(drive.core)
        step()
    assert len(backend.running) == 2
    drive.wait()
    assert len(backend.running) == 1
    assert backend.running == shown(drive.core)


def test_a_host_starts_after_its_create_was_saved_even_without_latency() -> None:
    backend = Backend()
    store = MemoryStore()
    drive = Driver(Core(small_fleet(), backend=backend, store=store))
    ack = drive.create()
    assert ack.machine.state is State.CREATING
    assert len(backend.running) == 1
    saved = store.load()
    assert saved
    assert saved.machines[SLOT].state is State.CREATING
    assert drive.get(SLOT).state is State.IDLE
    assert len(backend.running) == 2


def test_a_create_that_cannot_be_saved_or_was_killed_starts_one_host() -> None:
    class Full(MemoryStore):
        full = False

        def save(self, change: Snapshot) -> None:
            if self.full:
                raise OSError("no space left")
            super().save(change)

    backend, store = Backend(), Full()
    drive = Driver(Core(small_fleet(), latency=Latency.every(1.0), backend=backend, store=store))
    drive.create()
    store.full = True
    with pytest.raises(OSError, match="no space"):
        drive.wait()
    assert len(backend.running) == 2
    store.full = False
    restarted = Core(small_fleet(), latency=Latency.every(1.0), backend=backend, store=store)
    restarted.resume(drive.now)
    for core in (drive.core, restarted):
        core.advance(drive.now)
        assert core.machines[SLOT].state is State.IDLE
        assert backend.running == shown(core)


def test_an_error_of_the_backend_delays_the_transition() -> None:
    class Down(Backend):
        down = True

        def start(self, ref: str) -> None:
            if self.down:
                raise HostsLogError("the cloud is down")
            super().start(ref)

    backend = Down()
    drive = Driver(Core(fleet(3), backend=backend, latency=Latency.every(1.0)))
    drive.create("machine-0001")
    for _ in range(2):
        with pytest.raises(HostsLogError):
            drive.wait()
    backend.down = False
    assert drive.state("machine-0001") is State.IDLE
    assert backend.running == shown(drive.core)


def test_a_failed_create_leaves_no_host_and_a_cleaned_up_machine_neither() -> None:
    backend, store = Backend(), MemoryStore()
    core = Core([*small_fleet(), *fleet(0, faulty=3)], backend=backend, store=store, faults=Faults())
    drive = Driver(core)
    for slot in ("faulty-0001", "faulty-0002", "faulty-0003"):
        drive.create(slot)
    drive.configure(cluster="fault-error")
    drive.wait(9.0)
    assert drive.state(IDLE) is State.FAILED
    assert len(backend.running) == 1
    assert backend.running == shown(core)
    core.stop()
    restarted = Core(store=store, backend=backend)
    assert len(backend.running) == 1
    restarted.resume(drive.now)
    assert backend.running == shown(restarted) == set()


def test_the_log_outlives_a_provider_that_forgets_its_hosts(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    drive = Driver(Core(small_fleet(), backend=HostsLog(path)))
    drive.create()
    drive.create(OTHER)
    drive.wait()
    hosts = path.read_text().split()
    assert sorted(hosts) == hosts
    assert set(hosts) == shown(drive.core)
    Core(small_fleet(), backend=HostsLog(path))
    assert path.read_text().split() == hosts


def test_providers_may_share_a_log(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    one, other = HostsLog(path), HostsLog(path)
    assert path.read_text() == ""
    one.start("a")
    other.start("b")
    one.start("a")
    one.terminate("b")
    other.terminate("c")
    assert path.read_text() == "a\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == [".hosts.lock", "hosts"]


def test_a_log_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostsLogError, match="No such file"):
        HostsLog(tmp_path / "gone" / "hosts")
    (tmp_path / "picture").write_bytes(b"\xff\xfe")
    with pytest.raises(HostsLogError, match="not a list of hosts"):
        HostsLog(tmp_path / "picture")
