import pytest

from fake_provider.core import Core
from fake_provider.faults import Faults
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.machine import State
from tests.fake_provider.driver import IDLE, Driver, refused


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


def test_create_of_a_faulty_slot_fails_without_a_host() -> None:
    drive = Driver(Core(fleet(1, faulty=1), faults=Faults()))
    ack = drive.create("faulty-0001")
    assert ack.machine.state is State.CREATING
    machine = drive.settled(ack)
    assert machine.state is State.FAILED
    assert machine.host is None
    assert drive.create("machine-0001").machine.state is State.IDLE


def test_fault_hooks_are_disabled_by_default() -> None:
    drive = Driver()
    assert drive.bound(cluster="fault-error").state is State.CONFIGURED
