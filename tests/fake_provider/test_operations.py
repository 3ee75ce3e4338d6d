import pytest

from fake_provider.errors import Code
from fake_provider.latency import Latency
from fake_provider.machine import State
from tests.fake_provider.driver import IDLE, SLOT, Driver, refused


@pytest.mark.parametrize("verb", ["create", "configure", "drain", "delete"])
def test_a_retry_has_the_same_id_during_and_after_the_transition(verb: str) -> None:
    drive = Driver()
    machine_id = SLOT if verb == "create" else IDLE
    if verb == "drain":
        drive.bound()
    ack = getattr(drive, verb)(machine_id)
    assert ack.operation_id
    assert getattr(drive, verb)(machine_id) == ack
    settled = drive.settled(ack)
    retry = getattr(drive, verb)(machine_id)
    assert retry.operation_id == ack.operation_id
    assert retry.machine is settled
    assert drive.core.next_due() is None


def test_a_retry_does_not_prolong_the_transition() -> None:
    drive = Driver()
    drive.create()
    drive.wait(0.5)
    drive.create()
    drive.wait(0.5)
    assert drive.state(SLOT) is State.IDLE


def test_a_create_can_be_retried_after_a_drain() -> None:
    drive = Driver()
    created = drive.create().operation_id
    drive.wait()
    drive.bound(SLOT)
    drive.settled(drive.drain(SLOT))
    assert drive.create().operation_id == created


def test_operation_ids_are_never_reused() -> None:
    drive = Driver()
    seen = []
    for _ in range(3):
        for verb in ("create", "configure", "drain", "configure", "drain", "delete"):
            seen.append(getattr(drive, verb)(SLOT).operation_id)
            drive.wait()
    assert len(set(seen)) == len(seen) == 18


def test_two_machines_have_different_operation_ids() -> None:
    drive = Driver()
    assert drive.create(SLOT).operation_id != drive.create("other").operation_id


def test_two_providers_have_different_operation_ids() -> None:
    ids = [Driver().create().operation_id for _ in range(8)]
    assert len(set(ids)) > 1  # the origin is drawn, so two may meet, but hardly all


def test_configure_for_another_cluster_does_not_rebind() -> None:
    drive = Driver()
    drive.configure(cluster="blue")
    with refused(Code.ALREADY_EXISTS):
        drive.configure(cluster="green")
    drive.wait()
    with refused(Code.ALREADY_EXISTS):
        drive.configure(cluster="green")
    assert drive.get(IDLE).cluster == "blue"


def test_metadata_of_a_retry_does_not_replace_the_stored_metadata() -> None:
    drive = Driver()
    ack = drive.configure(metadata={"a": "1"})
    assert drive.configure(metadata={"b": "2"}) == ack
    assert drive.settled(ack).shard_metadata == {"a": "1"}


def test_a_drain_of_an_idle_machine_is_not_a_retry_of_a_drain_before_a_delete() -> None:
    drive = Driver()
    drive.settled(drive.create())
    drive.bound(SLOT)
    drive.settled(drive.drain(SLOT))
    drive.settled(drive.delete(SLOT))
    drive.settled(drive.create())
    with refused(Code.ABORTED):
        drive.drain(SLOT)


def test_drain_of_an_idle_machine_can_be_configured_as_a_retry() -> None:
    drive = Driver(drain_of_idle="retry")
    ack = drive.drain()
    assert ack.machine.state is State.IDLE
    assert drive.drain().operation_id == ack.operation_id
    drive.bound()
    assert drive.drain().operation_id != ack.operation_id


def test_delete_of_a_slot_can_be_configured_as_a_retry_and_the_next_create_starts() -> None:
    drive = Driver(delete_of_speculative="retry")
    ack = drive.delete(SLOT)
    assert ack.machine.state is State.SPECULATIVE
    assert drive.delete(SLOT).operation_id == ack.operation_id
    assert drive.create().machine.state is State.CREATING


def test_an_ack_without_latency_has_the_id_of_its_operation() -> None:
    drive = Driver(latency=Latency())
    ack = drive.configure()
    assert ack.machine.operation
    assert ack.operation_id == ack.machine.operation.id
