from dataclasses import replace

import pytest

from fake_provider.errors import Code
from fake_provider.latency import Latency
from fake_provider.machine import EDGES, State, Verb
from tests.fake_provider.driver import IDLE, OTHER, SLOT, Driver, refused


def test_each_verb_goes_through_its_transitional_state_to_its_target() -> None:
    drive = Driver()
    for verb in (Verb.CREATE, Verb.CONFIGURE, Verb.DRAIN, Verb.DELETE):
        assert drive.state(SLOT) is EDGES[verb].source
        ack = getattr(drive, verb)(SLOT)
        assert ack.machine.state is EDGES[verb].via
        drive.wait(0.99)
        assert drive.state(SLOT) is EDGES[verb].via
        drive.wait(0.01)
        assert drive.state(SLOT) is EDGES[verb].target


def test_a_transition_without_latency_ends_before_its_ack() -> None:
    drive = Driver(latency=Latency())
    assert drive.create().machine.state is State.IDLE
    assert drive.core.next_due() is None


def test_reads_end_due_transitions() -> None:
    drive = Driver()
    drive.create()
    drive.now += 1
    assert drive.list(states=frozenset({State.IDLE})).machines[-1].id == SLOT


def test_a_settled_machine_does_not_change() -> None:
    drive = Driver()
    machine = drive.settled(drive.create())
    drive.wait(1e9)
    assert drive.get(SLOT) == machine


def test_the_next_due_time_is_the_earliest() -> None:
    drive = Driver(latency=Latency.parse("create=5s,configure=2s"))
    assert drive.core.next_due() is None
    drive.create()
    drive.configure()
    assert drive.core.next_due() == drive.now + 2


def test_the_same_seed_gives_the_same_latency() -> None:
    def due(seed: int) -> float | None:
        drive = Driver(latency=Latency.parse("1s..9s"), seed=seed)
        drive.create()
        return drive.core.next_due()

    assert due(1) == due(1) != due(2)


def test_the_host_stays_the_same_from_create_to_drain() -> None:
    drive = Driver()
    assert drive.create().machine.host is None
    drive.wait()
    host = drive.get(SLOT).host
    assert host
    assert host.provider
    assert host.ref
    assert drive.configure(SLOT).machine.host == host
    drive.wait()
    assert drive.drain(SLOT).machine.host == host
    drive.wait()
    assert drive.get(SLOT).host == host


def test_a_create_after_a_delete_has_a_new_host() -> None:
    drive = Driver()
    first = drive.settled(drive.create()).host
    drive.settled(drive.delete(SLOT))
    assert drive.settled(drive.create()).host != first


def test_a_cluster_shows_only_in_configuring_configured_and_draining() -> None:
    drive = Driver()
    assert drive.configure().machine.cluster == "blue"
    drive.wait()
    assert drive.get(IDLE).cluster == "blue"
    assert drive.drain().machine.cluster == "blue"
    drive.wait()
    assert drive.get(IDLE).cluster == ""


def test_a_binding_leaves_no_trace_after_a_drain() -> None:
    drive = Driver()
    for cluster in ("blue", "green"):
        drive.bound(cluster=cluster, metadata={"key": cluster})
        machine = drive.settled(drive.drain())
        assert (machine.cluster, machine.shard_metadata, machine.last_error) == ("", {}, "")


def test_delete_clears_the_machine_and_keeps_the_slot() -> None:
    drive = Driver()
    before = drive.get(SLOT)
    drive.settled(drive.create())
    drive.bound(SLOT, metadata={"key": "value"})
    drive.settled(drive.drain(SLOT))
    machine = drive.settled(drive.delete(SLOT))
    assert machine.state is State.SPECULATIVE
    assert (machine.id, machine.host, machine.cluster, machine.shard_metadata) == (SLOT, None, "", {})
    assert machine.labels == before.labels


def test_drain_and_delete_clear_every_field() -> None:
    core = Driver().core
    idle = replace(core.machines[IDLE], created_by="op-1")
    bound = replace(idle, cluster="blue", shard_metadata={"key": "value"}, last_error="the node could not be drained")
    assert core.cleared_by_drain(bound) == idle
    assert core.cleared_by_delete(bound) == replace(idle, host=None, created_by="")


def test_a_provider_without_delete_answers_unimplemented_for_every_id() -> None:
    drive = Driver(deletes=False)
    for machine_id in (IDLE, SLOT, "nobody", ""):
        with refused(Code.UNIMPLEMENTED):
            drive.delete(machine_id)
    assert drive.state(IDLE) is State.IDLE


def test_a_transition_changes_no_other_machine() -> None:
    drive = Driver()
    others = [drive.get(OTHER), drive.get(IDLE)]
    drive.settled(drive.create())
    assert [drive.get(OTHER), drive.get(IDLE)] == others


@pytest.mark.parametrize(
    ("verb", "state"),
    [
        ("create", State.CONFIGURED),
        ("create", State.CONFIGURING),
        ("create", State.DRAINING),
        ("create", State.DELETING),
        ("configure", State.SPECULATIVE),
        ("configure", State.CREATING),
        ("configure", State.DRAINING),
        ("configure", State.DELETING),
        ("drain", State.SPECULATIVE),
        ("drain", State.CREATING),
        ("drain", State.CONFIGURING),
        ("drain", State.IDLE),
        ("drain", State.DELETING),
        ("delete", State.SPECULATIVE),
        ("delete", State.CREATING),
        ("delete", State.CONFIGURING),
        ("delete", State.CONFIGURED),
        ("delete", State.DRAINING),
    ],
)
def test_a_call_without_an_edge_is_refused_and_changes_nothing(verb: str, state: State) -> None:
    drive = Driver()
    steps_to: dict[State, list[str | None]] = {
        State.SPECULATIVE: [],
        State.CREATING: ["create"],
        State.IDLE: ["create", None],
        State.CONFIGURING: ["create", None, "configure"],
        State.CONFIGURED: ["create", None, "configure", None],
        State.DRAINING: ["create", None, "configure", None, "drain"],
        State.DELETING: ["create", None, "delete"],
    }
    for step in steps_to[state]:
        getattr(drive, step)(SLOT) if step else drive.wait()
    machine = drive.get(SLOT)
    assert machine.state is state
    with refused():
        getattr(drive, verb)(SLOT)
    assert drive.get(SLOT) is machine


def test_create_of_a_machine_that_started_idle_is_refused() -> None:
    drive = Driver()
    with refused(Code.ALREADY_EXISTS):
        drive.create(IDLE)
