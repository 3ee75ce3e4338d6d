"""Tests the record of a machine: what each call and each reading changes. Pure functions need no provider."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.fencing import Token
from conformance.core.lifecycle import State, Verb
from conformance.fleet.machine_record import LastSeen, MachineRecord, Reading, Transition, read
from conformance.fleet.ownership import Owner, Ownership
from tests.values import a_call

RUN = "cpc-test"
SLOT = MachineRecord(seen=LastSeen(state=State.SPECULATIVE), ownership=Ownership())
OURS = MachineRecord(seen=LastSeen(state=State.IDLE, host="h1"), ownership=Ownership(owner=Owner.OURS, won=True))


def shown(state: State, *, host: str = "", cluster: str = "") -> pb.Machine:
    return pb.Machine(id="m", state=f"MACHINE_STATE_{state.name}", host=pb.HostRef(ref=host), cluster=cluster)


def reading(record: MachineRecord, machine: pb.Machine, *, blames: bool = False, **given: Any) -> Reading:
    return read(record, "m", machine, run=RUN, blames_provider=blames, **{"home": State.SPECULATIVE, **given})


def test_a_machine_that_was_started_without_our_create_belongs_to_another_client() -> None:
    seen = reading(SLOT, shown(State.IDLE, host="h"))
    assert (seen.disowned, seen.disturbance) == (True, "m is IDLE: another client has started it")
    assert seen.record.ownership.owner is Owner.OTHER_CLIENT
    assert seen.record.seen.state is State.SPECULATIVE, "the reading is not about the kit's machine"


@pytest.mark.parametrize(
    "record",
    [
        SLOT.create_begun(),
        SLOT.not_answered(Verb.CREATE, Token("s", 1, 1)),
    ],
)
def test_a_machine_that_was_started_may_be_ours_while_a_create_is_in_flight_or_unanswered(
    record: MachineRecord,
) -> None:
    assert not reading(record, shown(State.CREATING)).disowned


def test_a_slot_that_is_bound_to_a_cluster_of_this_run_is_not_another_clients() -> None:
    assert not reading(SLOT, shown(State.CONFIGURED, host="h", cluster=f"{RUN}-m1-b0")).disowned


def test_a_change_that_the_provider_is_blamed_for_is_recorded_without_a_disturbance() -> None:
    seen = reading(SLOT, shown(State.IDLE, host="h"), blames=True)
    assert (seen.disowned, seen.disturbance, seen.record.seen.state) == (True, "", State.IDLE)


def test_a_machine_that_was_deleted_and_shows_another_host_is_another_clients() -> None:
    deleting = OURS.sent(Verb.DELETE, begins_life=False)
    assert deleting.ownership.deleting
    assert not reading(deleting, shown(State.IDLE, host="h1")).disowned
    assert reading(deleting, shown(State.IDLE, host="h2")).disowned
    assert reading(deleting, shown(State.CREATING)).disowned
    assert not reading(OURS, shown(State.IDLE, host="h2")).disowned, "without a Delete a new host is a violation"


def test_a_machine_that_is_a_slot_again_is_returned_and_its_host_is_recorded() -> None:
    seen = reading(OURS.sent(Verb.DELETE, begins_life=False), shown(State.SPECULATIVE))
    assert (seen.returned, seen.at_rest, seen.record.live) == (True, True, False)
    assert (seen.record.seen.returned_host, seen.record.seen.host) == ("h1", "")
    assert not seen.record.ownership.deleting
    assert seen.record.ownership.won, "it was the kit's, so other kits use other slots"


def test_a_slot_with_a_create_in_flight_is_not_at_rest() -> None:
    for record in (OURS.create_begun(), SLOT.not_answered(Verb.CREATE, Token("s", 1, 1))):
        seen = reading(record, shown(State.SPECULATIVE))
        assert (seen.at_rest, seen.returned) == (False, False)


def test_a_transition_ends_only_at_its_target() -> None:
    running = replace(OURS, calls=replace(OURS.calls, transition=Transition(sent=0.0, verb=Verb.CONFIGURE, since=3.0)))
    assert reading(running, shown(State.CONFIGURING, host="h1")).record.calls.transition is not None
    at_target = reading(running, shown(State.CONFIGURED, host="h1", cluster=f"{RUN}-m1-b0"))
    assert at_target.ended == Transition(sent=0.0, verb=Verb.CONFIGURE, since=3.0)
    failed = reading(running, shown(State.FAILED, host="h1"))
    assert (failed.ended, failed.record.calls.transition) == (None, None)


def test_a_foreign_binding_disturbs_once_and_the_machine_stays_ours() -> None:
    foreign = shown(State.CONFIGURED, host="h1", cluster="theirs")
    seen = reading(OURS, foreign)
    assert (seen.disturbance, seen.disowned) == ("another client has bound m to 'theirs'", False)
    assert (seen.record.live, reading(seen.record, foreign).disturbance) == (True, "")


@pytest.mark.parametrize(("last", "disowned"), [(None, True), (Verb.DRAIN, True), (Verb.CONFIGURE, False)])
def test_a_machine_that_was_found_idle_is_given_up_if_another_client_binds_it(
    last: Verb | None, disowned: bool
) -> None:
    record = replace(OURS, calls=replace(OURS.calls, last_ok=last))
    seen = reading(record, shown(State.CONFIGURED, host="h1", cluster="theirs"), home=State.IDLE)
    assert seen.disowned == disowned


# Calls.


def acked(machine_id: str, *, host: str = "", operation: str = "op") -> Any:
    machine = pb.Machine(id=machine_id, host=pb.HostRef(ref=host))
    return a_call("Create", response=pb.TransitionAck(operation_id=operation, machine=machine))


def test_an_ack_of_another_machine_names_a_machine_that_may_have_been_started() -> None:
    record = SLOT.answered("m", Verb.CREATE, acked("other"), new=True, begins_life=True)
    assert record.calls.other_machines == {"other"}
    assert record.calls.last_ok is Verb.CREATE


def test_the_ack_of_a_create_shows_the_new_host_or_none_yet() -> None:
    old = replace(SLOT, seen=LastSeen(state=State.SPECULATIVE, host="old"))
    for host in ("new", ""):
        record = old.answered("m", Verb.CREATE, acked("m", host=host), new=True, begins_life=True)
        assert record.seen.host == host
    record = old.answered("m", Verb.CREATE, acked("m"), new=True, begins_life=False)
    assert record.seen.host == "old"


def test_only_the_first_of_several_transitions_is_timed() -> None:
    first = SLOT.answered("m", Verb.CREATE, acked("m"), new=True, begins_life=True)
    second = first.answered("m", Verb.DELETE, acked("m"), new=True, begins_life=False)
    assert second.calls.transition == first.calls.transition is not None


# Ownership.


def test_a_claim_is_contested_until_it_is_decided() -> None:
    contested = SLOT.contested()
    assert (contested.live, contested.ownership.owner) == (True, Owner.CONTESTED)
    won, lost = contested.claimed(), contested.claim_lost()
    assert (won.live, won.ownership.won, lost.live, lost.ownership.won) == (True, True, False, False)
    assert (lost.ownership.lost_race, lost.ownership.owner) == (True, Owner.OTHER_CLIENT)


def test_a_machine_of_another_client_is_possibly_ours_if_a_create_was_sent() -> None:
    assert not SLOT.disowned().ownership.possibly_ours
    sent = SLOT.sent(Verb.CREATE, begins_life=True)
    assert sent.disowned().ownership.possibly_ours
    assert not sent.disowned().contested().claimed().ownership.possibly_ours


def test_a_record_without_history_keeps_what_earlier_calls_may_still_cause() -> None:
    past = (
        OURS.about_to_send()
        .sent(Verb.CREATE, begins_life=True)
        .not_answered(Verb.CREATE, Token("s", 1, 1))
        .answered("m", Verb.CREATE, acked("other"), new=True, begins_life=True)
    )
    past = replace(past, clusters=past.clusters | {"many"})
    fresh = past.without_history(live=False)
    assert (fresh.unanswered, fresh.calls.other_machines) == (past.unanswered, frozenset({"other"}))
    assert (fresh.calls.touched, fresh.calls.create_sent, fresh.seen.state) == (True, True, State.IDLE)
    assert (fresh.live, fresh.clusters, fresh.calls.sent) == (False, frozenset({""}), 0)
