"""The pure parts of the rollout lane: its plan, and what an older client sends and reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.lifecycle import Verb
from conformance.engine.dry_run import TargetSpeed, dry_run
from conformance.engine.options import Options
from conformance.lanes.rollout import LANE
from conformance.lanes.rollout.older_client import as_released, released_messages
from conformance.lanes.rollout.settings import RolloutSettings
from conformance.lanes.rollout.stops import Interrupted
from conformance.lanes.rollout.test_stop import was_cut_off
from conformance.results.result import Status, Verdict
from conformance.testkit.outcome import check_state
from tests.values import a_call, a_found

NEW_FIELD = b"\x82\x01\x05rack1"
"""Field 16, which no released contract has."""


class Named:
    """A machine, by its name only."""

    id = "m1"


# The lane.


def test_every_entry_has_a_behaviour_and_every_behaviour_an_entry() -> None:
    plan = LANE.plan(RolloutSettings())
    assert [behaviour.id for behaviour in plan] == [entry.id for entry in LANE.entries()]
    assert all(behaviour.needs.restarts for behaviour in plan)


def test_every_clause_of_rollout_is_judged() -> None:
    assert {entry.clause.id for entry in LANE.entries()} == {f"ROL-{number}" for number in range(1, 6)}


def test_the_limit_of_a_failover_is_a_duration() -> None:
    assert LANE.configure({"failover_within": "90s"}).failover_within == 90.0
    assert LANE.configure({"failover_within": None}).failover_within is None


def test_only_the_behaviours_of_a_newer_version_start_one() -> None:
    upgrades = {behaviour.id for behaviour in LANE.plan(RolloutSettings()) if behaviour.needs.upgrades}
    assert upgrades == {entry.id for entry in LANE.entries() if entry.clause.id == "ROL-3"}


@pytest.mark.timeout(300)
def test_a_dry_run_knows_what_the_lane_costs() -> None:
    found = a_found(speculative=tuple(f"m{number}" for number in range(12)), idle=())
    speed = TargetSpeed(transitions=dict.fromkeys(Verb, 0.2), call=0.001)
    report = dry_run(LANE.plan(RolloutSettings()), found, speed=speed, options=Options(seed=1))
    assert report.verdict is Verdict.CONFORMANT
    skipped = {result.entry.clause.id for result in report.with_status(Status.SKIPPED)}
    assert skipped == {"ROL-4", "ROL-5"}, "a dry run has one replica"
    assert report.bill.create <= 20
    assert report.time.wall < 60


# After an orderly stop.


@pytest.mark.parametrize("state", ["SPECULATIVE", "IDLE", "DRAINING", "CONFIGURED", "FAILED"])
def test_a_transition_that_a_stop_has_interrupted_may_be_cleaned_up(state: str) -> None:
    shown = pb.Machine(id="m1", state=getattr(pb, f"MACHINE_STATE_{state}"))
    machine: Any = Named()
    check_state(machine, Interrupted(when="a stop", verb=Verb.DRAIN), shown, at_end=False)


def test_a_stop_is_named_with_the_retry() -> None:
    assert str(Interrupted(when="a stop", verb=Verb.DRAIN)) == "a stop"
    assert str(Interrupted(when="a stop", verb=Verb.DRAIN, retry=True)) == "a stop and a retry of Drain"


# Calls that are cut off.


@pytest.mark.parametrize(
    ("fields", "cut"),
    [
        ({"code": grpc.StatusCode.UNAVAILABLE, "answered": False, "details": "Socket closed"}, True),
        ({"code": grpc.StatusCode.UNAVAILABLE, "answered": False, "details": "recvmsg:Connection reset by peer"}, True),
        ({"code": grpc.StatusCode.CANCELLED, "details": "CANCELLED"}, True),
        ({"code": grpc.StatusCode.UNAVAILABLE, "answered": False, "details": "the provider is stopping"}, False),
        ({"code": grpc.StatusCode.UNAVAILABLE, "details": "the provider is stopping"}, False),
        ({"code": grpc.StatusCode.ABORTED, "details": "no edge"}, False),
        (
            {"code": grpc.StatusCode.UNAVAILABLE, "answered": False, "details": "Socket closed", "retried": True},
            False,
        ),
    ],
    ids=["closed", "reset", "cancelled", "refused with the end", "refused", "no edge", "refused before"],
)
def test_a_call_is_cut_off_if_the_connection_ended_before_an_answer(fields: dict[str, Any], cut: bool) -> None:
    assert was_cut_off(replace(a_call("Drain"), **fields)) is cut


# The older client.


def test_an_older_client_knows_all_messages_of_the_released_contract() -> None:
    assert {"bigfleet.v1alpha1.Machine", "bigfleet.v1alpha1.ConfigureRequest"} <= released_messages().keys()


def test_an_older_client_sends_what_the_released_contract_has() -> None:
    request = pb.ConfigureRequest(machine_id="m1", cluster_id="c", shard_metadata={"a": ""}, shard_id="s")
    assert as_released(request) == request
    request.MergeFromString(NEW_FIELD)
    assert as_released(request).SerializeToString(deterministic=True) == pb.ConfigureRequest(
        machine_id="m1", cluster_id="c", shard_metadata={"a": ""}, shard_id="s"
    ).SerializeToString(deterministic=True)


def test_an_older_client_reads_no_newer_field() -> None:
    shown = pb.Machine(id="m1", state=pb.MACHINE_STATE_IDLE, host=pb.HostRef(provider="p", ref="r"))
    newer = pb.Machine.FromString(shown.SerializeToString() + NEW_FIELD)
    assert newer != shown
    assert as_released(newer) == shown
