from collections.abc import Callable
from typing import Any

import pytest

from fake_provider.core import Core
from fake_provider.faults import Faults
from fake_provider.fence import Token
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.machine import Machine, State
from fake_provider.store import MemoryStore
from tests.fake_provider.driver import IDLE, Driver, refused, small_fleet


def driver_with_faults(seconds: float = 0.0) -> Driver:
    return Driver(faults=Faults(timeout=3.0), latency=Latency.every(seconds))


@pytest.mark.parametrize("cluster", ["fault-error", "fault-timeout", "fault-slow-ok", "fault-readiness-block"])
def test_a_failing_configure_ends_in_failed_with_last_error(cluster: str) -> None:
    drive = driver_with_faults()
    assert drive.configure(cluster=cluster, metadata={"key": "value"}).machine.state is State.CONFIGURING
    drive.wait(3.0)
    machine = drive.get(IDLE)
    assert machine.state is State.FAILED
    assert machine.last_error
    assert (machine.cluster, machine.shard_metadata) == ("", {})
    assert machine.host


def test_a_node_that_never_gets_ready_stays_configuring() -> None:
    drive = driver_with_faults()
    drive.configure(cluster="fault-readiness-block")
    drive.wait(2.9)
    assert drive.state(IDLE) is State.CONFIGURING


def test_a_late_success_is_ignored() -> None:
    drive = driver_with_faults()
    drive.configure(cluster="fault-slow-ok")
    drive.wait(3.0)
    machine = drive.get(IDLE)
    assert drive.core.next_due() == drive.now + 3.0
    drive.wait(3.0)
    assert drive.core.next_due() is None
    assert drive.get(IDLE) is machine


def test_a_drain_can_fail_after_a_successful_configure() -> None:
    drive = driver_with_faults()
    assert drive.configure(cluster="fault-drain-error").machine.state is State.CONFIGURED
    assert drive.drain().machine.state is State.DRAINING
    drive.wait()
    assert drive.state(IDLE) is State.FAILED


def test_a_failed_machine_rejects_every_mutating_call_and_keeps_last_error() -> None:
    drive = driver_with_faults()
    drive.configure(cluster="fault-error")
    drive.wait()
    machine = drive.get(IDLE)
    for verb in ("create", "configure", "drain", "delete"):
        with refused():
            getattr(drive, verb)(IDLE)
    with refused():
        drive.configure(cluster="fault-error")
    assert drive.get(IDLE) is machine


@pytest.mark.parametrize(("slot", "seconds"), [("faulty-0001", 0.1), ("faulty-0002", 3.0), ("faulty-0003", 3.0)])
def test_create_of_a_faulty_slot_fails_without_a_host(slot: str, seconds: float) -> None:
    drive = Driver(Core(fleet(1, faulty=3), faults=Faults(timeout=3.0)))
    assert drive.create(slot).machine.state is State.CREATING
    drive.wait(seconds)
    machine = drive.get(slot)
    assert machine.state is State.FAILED
    assert machine.last_error
    assert machine.host is None
    drive.wait(3.0)
    assert drive.get(slot) is machine
    assert drive.create("machine-0001").machine.state is State.IDLE


def failed_after(stop: Callable[[Core], None], **options: Any) -> dict[str, Machine]:
    """Makes machines fail with and without a host, restarts the provider, and returns the machines by id."""
    store = MemoryStore()
    first = Driver(Core([*small_fleet(), *fleet(0, faulty=1)], faults=Faults(), store=store, **options))
    first.configure(cluster="fault-error")
    first.create("faulty-0001")
    first.wait()
    stop(first.core)
    second = Driver(Core(store=store, faults=Faults(), **options))
    second.sequence = 1000
    second.core.resume(first.now)
    return {machine.id: machine for machine in second.list().machines}


def test_a_failed_machine_survives_a_kill() -> None:
    machines = failed_after(lambda core: None)
    for failed in (machines[IDLE], machines["faulty-0001"]):
        assert failed.state is State.FAILED
        assert failed.last_error
    assert machines[IDLE].host


def test_an_orderly_stop_and_a_start_clean_a_failed_machine_up() -> None:
    machines = failed_after(Core.stop)
    for slot in (machines[IDLE], machines["faulty-0001"]):
        assert slot.state is State.SPECULATIVE
        assert (slot.host, slot.last_error, slot.created_by, slot.operation) == (None, "", "", None)


def test_a_provider_without_delete_keeps_the_host_of_a_failed_machine() -> None:
    machines = failed_after(Core.stop, deletes=False)
    assert machines[IDLE].state is State.IDLE
    assert machines[IDLE].host
    assert machines[IDLE].last_error == ""
    assert machines["faulty-0001"].state is State.SPECULATIVE


def test_an_orderly_stop_before_other_changes_does_not_count() -> None:
    def stop_too_early(core: Core) -> None:
        core.stop()
        Driver(core).create(token=Token(shard="later", epoch=9, sequence=9))

    assert failed_after(stop_too_early)[IDLE].state is State.FAILED


def test_fault_hooks_are_disabled_by_default() -> None:
    drive = Driver()
    assert drive.bound(cluster="fault-error").state is State.CONFIGURED
