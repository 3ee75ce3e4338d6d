from dataclasses import replace

import pytest

from fake_provider.errors import Code
from fake_provider.latency import Latency
from fake_provider.machine import EDGES, State, Verb
from tests.fake_provider.driver import IDLE, OTHER, SLOT, Driver, refused


def test_each_verb_takes_its_edge_and_settles_at_its_far_end() -> None:
    drive = Driver()
    for verb in (Verb.CREATE, Verb.CONFIGURE, Verb.DRAIN, Verb.DELETE):
        assert drive.state(SLOT) is EDGES[verb].source
        ack = getattr(drive, verb)(SLOT)
        assert ack.machine.state is EDGES[verb].via
        drive.wait(0.99)
        assert drive.state(SLOT) is EDGES[verb].via
        drive.wait(0.01)
        assert drive.state(SLOT) is EDGES[verb].target


def test_a_transition_without_latency_is_over_before_its_ack() -> None:
    drive = Driver(latency=Latency())
    assert drive.create().machine.state is State.IDLE
    assert drive.core.next_due() is None


def test_reads_settle_what_is_due_though_nobody_advanced() -> None:
    drive = Driver()
    drive.create()
    drive.now += 1
    assert drive.list(states=frozenset({State.IDLE})).machines[-1].id == SLOT


def test_a_settled_machine_stays() -> None:
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


def test_a_fake_with_a_seed_takes_as_long_as_the_last_one_with_it() -> None:
    def due(seed: int) -> float | None:
        drive = Driver(latency=Latency.parse("1s..9s"), seed=seed)
        drive.create()
        return drive.core.next_due()

    assert due(1) == due(1) != due(2)


def test_a_host_is_there_from_idle_to_idle_and_the_same() -> None:
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


def test_a_new_life_has_a_new_host() -> None:
    drive = Driver()
    first = drive.settled(drive.create()).host
    drive.settled(drive.delete(SLOT))
    assert drive.settled(drive.create()).host != first


def test_a_cluster_shows_in_configuring_configured_and_draining_only() -> None:
    drive = Driver()
    assert drive.configure().machine.cluster == "blue"
    drive.wait()
    assert drive.get(IDLE).cluster == "blue"
    assert drive.drain().machine.cluster == "blue"
    drive.wait()
    assert drive.get(IDLE).cluster == ""


def test_rounds_leave_no_trace_at_idle() -> None:
    drive = Driver()
    for cluster in ("blue", "green"):
        drive.bound(cluster=cluster, metadata={"key": cluster})
        machine = drive.settled(drive.drain())
        assert (machine.cluster, machine.shard_metadata, machine.last_error) == ("", {}, "")


def test_delete_clears_the_life_and_keeps_the_slot() -> None:
    drive = Driver()
    before = drive.get(SLOT)
    drive.settled(drive.create())
    drive.bound(SLOT, metadata={"key": "value"})
    drive.settled(drive.drain(SLOT))
    machine = drive.settled(drive.delete(SLOT))
    assert machine.state is State.SPECULATIVE
    assert (machine.id, machine.host, machine.cluster, machine.shard_metadata) == (SLOT, None, "", {})
    assert machine.labels == before.labels


def test_what_clears_a_machine_leaves_no_trace_whatever_it_went_through() -> None:
    core = Driver().core
    idle = replace(core.machines[IDLE], created_by="op-1")
    bound = replace(idle, cluster="blue", shard_metadata={"key": "value"}, last_error="the node could not be drained")
    assert core.cleared_by_drain(bound) == idle
    assert core.cleared_by_delete(bound) == replace(idle, host=None, created_by="")


def test_a_provider_without_delete_says_so_for_every_id() -> None:
    drive = Driver(deletes=False)
    for machine_id in (IDLE, SLOT, "nobody", ""):
        with refused(Code.UNIMPLEMENTED):
            drive.delete(machine_id)
    assert drive.state(IDLE) is State.IDLE


def test_a_driven_machine_moves_no_other() -> None:
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
    ways: dict[State, list[str | None]] = {
        State.SPECULATIVE: [],
        State.CREATING: ["create"],
        State.IDLE: ["create", None],
        State.CONFIGURING: ["create", None, "configure"],
        State.CONFIGURED: ["create", None, "configure", None],
        State.DRAINING: ["create", None, "configure", None, "drain"],
        State.DELETING: ["create", None, "delete"],
    }
    for step in ways[state]:
        getattr(drive, step)(SLOT) if step else drive.wait()
    machine = drive.get(SLOT)
    assert machine.state is state
    with refused():
        getattr(drive, verb)(SLOT)
    assert drive.get(SLOT) is machine


def test_create_of_a_host_that_nobody_created_is_refused() -> None:
    drive = Driver()
    with refused(Code.ALREADY_EXISTS):
        drive.create(IDLE)
