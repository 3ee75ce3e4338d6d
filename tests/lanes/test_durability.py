"""The pure parts of the durability lane: its moments, and the comparison before and after a kill."""

from __future__ import annotations

import random
from typing import Any

import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.lifecycle import State, Verb
from conformance.engine.dry_run import TargetSpeed, dry_run
from conformance.engine.options import Options
from conformance.lanes.durability import LANE
from conformance.lanes.durability.moments import CIRCLE, DELAYS_S, Moment, Phase, circle, every_moment
from conformance.results.result import Status, Verdict
from conformance.testkit.snapshot import Snapshot, changes, differences
from tests.fleet.model.telling import machine
from tests.values import a_found


def fleet(*machines: pb.Machine) -> Snapshot:
    return Snapshot.of(pb.MachineList(machines=machines, revision=b"7"))


def found(before: Snapshot, after: Snapshot, *own: str, moving: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [(each.machine, each.got) for each in differences(before, after, own=own, moving=moving)]


# Moments.


def test_every_verb_meets_every_phase() -> None:
    moments = every_moment(random.Random(1), deletes=True)
    assert {(moment.verb, moment.phase) for moment in moments} == {(verb, phase) for verb in Verb for phase in Phase}
    assert len(moments) == len(Verb) * len(Phase)


@pytest.mark.parametrize("verb", list(Verb))
def test_every_verb_is_killed_with_and_without_a_retry(verb: Verb) -> None:
    assert {m.retry for m in every_moment(random.Random(1), deletes=True) if m.verb is verb} == {True, False}


def test_the_moments_are_the_same_for_the_same_seed() -> None:
    assert circle(Phase.BEFORE_ACK, random.Random(3), deletes=True) == circle(
        Phase.BEFORE_ACK, random.Random(3), deletes=True
    )
    orders = {tuple(m.delay for m in circle(Phase.BEFORE_ACK, random.Random(seed), deletes=True)) for seed in range(20)}
    assert len(orders) > 1
    assert {delay for order in orders for delay in order} == set(DELAYS_S)


def test_the_circle_leads_an_idle_machine_back_to_idle() -> None:
    assert [m.verb for m in circle(Phase.MIDDLE, random.Random(1), deletes=True)] == list(CIRCLE)
    assert [m.verb for m in circle(Phase.MIDDLE, random.Random(1), deletes=False)] == [Verb.CONFIGURE, Verb.DRAIN]


def test_a_moment_is_named() -> None:
    moment = Moment(verb=Verb.DRAIN, phase=Phase.MIDDLE, retry=True)
    assert str(moment) == "a kill in the middle of the transition of Drain and a retry"


# Comparison.


def test_a_fleet_that_is_as_it_was_has_no_differences() -> None:
    one = fleet(machine(State.IDLE), machine(State.CONFIGURED, id="m2", shard_metadata={"a": ""}))
    assert found(one, one, "m1", "m2") == []


def test_prices_and_labels_may_move() -> None:
    before = fleet(machine(State.IDLE, price_per_hour=1.0, labels={"a": "1"}))
    assert found(before, fleet(machine(State.IDLE, price_per_hour=2.0)), "m1") == []


def test_a_lost_machine_and_a_new_one_are_named() -> None:
    before = fleet(machine(State.IDLE), machine(State.SPECULATIVE, id="m2"))
    after = fleet(machine(State.IDLE), machine(State.SPECULATIVE, id="m3"))
    assert found(before, after, "m1") == [
        ("m2", "an inventory without m2"),
        ("m3", "an inventory with the new m3"),
    ]


@pytest.mark.parametrize(
    ("after", "got"),
    [
        (machine(State.IDLE), "m1 IDLE host i-1"),
        (machine(State.CONFIGURED, shard_metadata={}), "shard_metadata {'a': ''} and then {}"),
        (machine(State.CONFIGURED, cluster="c2", shard_metadata={"a": ""}), "cluster c1 and then c2"),
    ],
    ids=["state", "metadata", "cluster"],
)
def test_a_machine_at_rest_that_was_changed_is_named(after: pb.Machine, got: str) -> None:
    before = machine(State.CONFIGURED, shard_metadata={"a": ""})
    assert found(fleet(before), fleet(after), "m1") == [("m1", got)]
    assert found(fleet(before), fleet(after), "m1", moving=("m1",)) == []
    assert found(fleet(before), fleet(after)) == [], "another client may have driven it"


def test_the_fixed_fields_of_other_machines_are_compared_in_the_same_life() -> None:
    before = fleet(machine(State.IDLE, zone="a"))
    assert found(before, fleet(machine(State.IDLE, zone="b"))) == [("m1", "zone a and then b")]
    assert found(before, fleet(machine(State.SPECULATIVE, zone="b"))) == []


def test_a_machine_in_transition_is_not_compared() -> None:
    before = fleet(machine(State.DRAINING))
    assert found(before, fleet(machine(State.IDLE)), "m1") == []


FAILED: dict[str, Any] = {"host": pb.HostRef(provider="aws", ref="i-1")}


@pytest.mark.parametrize(
    "after",
    [
        machine(State.FAILED),
        machine(State.FAILED, last_error="another text"),
        machine(State.SPECULATIVE),
        machine(State.IDLE),
    ],
    ids=["as it was", "other words", "cleaned up", "cleaned up with its host"],
)
def test_a_failed_machine_rests_or_is_cleaned_up(after: pb.Machine) -> None:
    assert list(changes(machine(State.FAILED, **FAILED), after)) == []


@pytest.mark.parametrize(
    "after",
    [
        machine(State.FAILED, last_error=""),
        machine(State.CONFIGURED),
        machine(State.IDLE, host=pb.HostRef(provider="aws", ref="i-2")),
        machine(State.SPECULATIVE, host=pb.HostRef(provider="aws", ref="i-1")),
        machine(State.CREATING),
    ],
    ids=["no error", "healed", "another host", "a slot with a host", "begun again"],
)
def test_a_failed_machine_becomes_nothing_else(after: pb.Machine) -> None:
    assert len(list(changes(machine(State.FAILED, **FAILED), after))) == 1


# The lane.


def test_every_entry_has_a_behaviour_and_every_behaviour_an_entry() -> None:
    plan = LANE.plan(None)
    assert [behaviour.id for behaviour in plan] == [entry.id for entry in LANE.entries()]
    assert all(behaviour.needs.restarts for behaviour in plan)


def test_every_clause_of_durability_is_judged() -> None:
    assert {entry.clause.id for entry in LANE.entries()} == {f"DUR-{number}" for number in range(1, 8)}


@pytest.mark.timeout(300)
def test_a_dry_run_knows_what_the_lane_costs() -> None:
    plan = tuple(behaviour for behaviour in LANE.plan(None) if "backend" not in behaviour.entry.needs)
    found = a_found(speculative=tuple(f"m{number}" for number in range(12)), idle=())
    speed = TargetSpeed(transitions=dict.fromkeys(Verb, 0.2), call=0.001)
    report = dry_run(plan, found, speed=speed, options=Options(seed=1))
    skipped = [result.id for result in report.with_status(Status.SKIPPED)]
    assert report.verdict is Verdict.CONFORMANT
    assert skipped in ([], ["DUR-1i"])
    assert report.bill.create <= 20
    assert report.time.wall < 60
