"""Each rule of the model: what breaks it, and what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.lifecycle import State, Verb
from conformance.fleet.model import MAX_ACKS, rules
from tests.fleet.model.telling import HOST, REQUESTS, Telling, machine
from tests.values import a_call

if TYPE_CHECKING:
    from collections.abc import Callable

Status = grpc.StatusCode
OTHER_HOST = pb.HostRef(provider="aws", ref="i-2")
FINE: list[str] = []


def test_a_conformant_life_shows_no_breach() -> None:
    told = Telling().configured(shard_metadata={"k": "v"})
    told.did(Verb.DRAIN, shown=machine(State.DRAINING, shard_metadata={"k": "v"}))
    told.got(State.DRAINING, shard_metadata={"k": "v"})
    told.got(State.IDLE)
    told.did(Verb.DELETE)
    told.got(State.DELETING)
    told.got(State.SPECULATIVE)
    told.model.release("m1")
    told.model.take("m1")
    told.idle()
    assert told.found == FINE


@pytest.mark.parametrize(
    ("shown", "behaviours"),
    [
        (machine(State.IDLE), FINE),
        (machine(State.IDLE, host=None), ["LIF-5a"]),
        (machine(State.IDLE, host=pb.HostRef(provider="aws")), ["LIF-5a"]),
        (machine(State.IDLE, cluster="c1"), ["LIF-6a"]),
        (machine(State.IDLE, last_error="e"), ["SHP-4a"]),
        (machine(State.IDLE, shard_metadata={"k": "v"}), ["MET-2a"]),
        (machine(State.FAILED), FINE),
        (machine(State.FAILED, last_error=""), ["SHP-4a"]),
        (machine(State.SPECULATIVE), ["LIF-3a"]),
        (machine(State.CONFIGURING), ["LIF-3a"]),
        (machine(State.IDLE, host=OTHER_HOST), ["LIF-5a"]),
        (machine(State.IDLE, host=pb.HostRef(provider="gcp", ref=HOST[1])), ["LIF-5a"]),
    ],
)
def test_a_machine_at_rest_stays_as_it_is(shown: pb.Machine, behaviours: list[str]) -> None:
    told = Telling().idle()
    told.model.ended(told.looked(), a_call(response=shown))
    assert told.found == behaviours


@pytest.mark.parametrize(
    ("verb", "shown", "behaviours"),
    [
        (Verb.CONFIGURE, machine(State.CONFIGURING), FINE),
        (Verb.CONFIGURE, machine(State.CONFIGURING, cluster="c1"), FINE),
        (Verb.CONFIGURE, machine(State.CONFIGURING, cluster="c2"), ["LIF-6e"]),
        (Verb.CONFIGURE, machine(State.CONFIGURING, shard_metadata={"k": "v"}), ["MET-1c"]),
        (Verb.CONFIGURE, machine(State.CONFIGURED, cluster="c2"), ["LIF-6a"]),
        (Verb.CONFIGURE, machine(State.CONFIGURED, shard_metadata={"k": "v"}), ["MET-1a"]),
        (Verb.CONFIGURE, machine(State.CONFIGURED, host=OTHER_HOST), ["LIF-5a"]),
        (Verb.CONFIGURE, machine(State.IDLE), FINE),  # it may have been given up (FLT-1)
        (Verb.CONFIGURE, machine(State.IDLE, cluster="c1"), ["LIF-1a"]),
        (Verb.CONFIGURE, machine(State.SPECULATIVE), ["LIF-1a"]),
        (Verb.CONFIGURE, machine(State.DRAINING), ["LIF-2b"]),
        (Verb.CONFIGURE, machine(State.FAILED), FINE),
        (Verb.DELETE, machine(State.DELETING), FINE),
        (Verb.DELETE, machine(State.DELETING, host=None), ["LIF-5e"]),
        (Verb.DELETE, machine(State.DELETING, cluster="c1"), ["LIF-6g"]),
        (Verb.DELETE, machine(State.IDLE), ["LIF-1a"]),
        (Verb.DELETE, machine(State.SPECULATIVE, host=OTHER_HOST), ["LIF-5a"]),
        (Verb.DELETE, machine(State.DRAINING), ["LIF-2d"]),
    ],
)
def test_after_an_ack_only_its_edge_shows(verb: Verb, shown: pb.Machine, behaviours: list[str]) -> None:
    told = Telling().idle()
    told.did(verb)
    told.model.ended(told.looked(), a_call(response=shown))
    assert told.found == behaviours


def test_metadata_and_cluster_are_those_of_the_configure_until_the_drain_ends() -> None:
    told = Telling().configured(shard_metadata={"k": "v"})
    told.got(State.CONFIGURED, shard_metadata={"k": "V"})
    told.did(Verb.DRAIN, shown=machine(State.DRAINING, shard_metadata={"k": "v"}))
    told.got(State.DRAINING, cluster="c2", shard_metadata={"k": "v"})
    assert told.found == ["MET-1a", "LIF-6a"]
    assert [call.rpc for call in told.model.breaches[0].calls] == ["Configure", "Get"]


def test_a_list_shows_the_metadata_of_the_binding_that_it_names() -> None:
    told = Telling().configured(shard_metadata={"k": "v"})
    told.listed(machine(State.CONFIGURED, shard_metadata={"k": "v"}), machine(State.IDLE, id="m2", host=None))
    told.listed(machine(State.IDLE))  # a List may lag (LST-10)
    assert told.found == FINE
    told.listed(machine(State.CONFIGURED))
    assert told.found == ["MET-1a"]


@pytest.mark.parametrize(
    ("machines", "request_fields", "behaviours"),
    [
        ([machine(State.IDLE, id="a"), machine(State.IDLE, id="a")], {}, ["LST-3a"]),
        ([machine(State.IDLE, id="a"), machine(State.IDLE, id="b")], {"max_results": 1}, ["LST-2a"]),
        ([machine(State.IDLE, id="a"), machine(State.IDLE, id="b")], {"max_results": 2}, FINE),
        ([machine(State.IDLE, id="a")], {"states": [5, 1]}, ["LST-1a"]),
        ([machine(State.IDLE, id="a")], {"states": [3]}, FINE),
        ([machine(State.IDLE, id="a")], {"states": [99]}, FINE),  # a SHOULD, of WIR-2
    ],
)
def test_a_list_keeps_to_what_was_asked(
    machines: list[pb.Machine], request_fields: dict[str, Any], behaviours: list[str]
) -> None:
    told = Telling(owned=False)
    told.listed(*machines, **request_fields)
    assert told.found == behaviours


# Operation ids.


def test_a_new_transition_has_a_new_operation_id() -> None:
    told = Telling().configured()
    told.did(Verb.DRAIN, operation="op-1")
    assert told.found == ["OPS-3a"]
    assert [call.rpc for call in told.model.breaches[0].calls] == ["Create", "Drain"]


def test_a_retry_returns_the_operation_id_of_its_transition() -> None:
    told = Telling().idle()
    told.did(Verb.CONFIGURE, operation="op-7")
    told.did(Verb.CONFIGURE, operation="op-7")
    told.got(State.CONFIGURED)
    told.did(Verb.CONFIGURE, operation="op-7", shown=machine(State.CONFIGURED))
    assert told.found == FINE
    told.did(Verb.CONFIGURE, operation="op-8", shown=machine(State.CONFIGURED))
    assert told.found == ["OPS-2b"]


def test_a_configure_that_may_have_been_given_up_unseen_is_a_new_operation() -> None:
    told = Telling().idle()
    told.did(Verb.CONFIGURE)
    told.did(Verb.CONFIGURE, shard_metadata={"k": "v"})
    told.got(State.CONFIGURED)
    assert told.found == FINE
    told.did(Verb.CONFIGURE, shown=machine(State.CONFIGURED))
    assert told.found == ["OPS-2b"]


def test_a_configure_for_another_cluster_may_be_answered_with_any_operation() -> None:
    told = Telling().configured()
    told.did(Verb.CONFIGURE, cluster_id="c2", shown=machine(State.CONFIGURED))
    assert told.found == FINE


def test_other_metadata_in_a_retry_may_be_stored() -> None:
    told = Telling().configured()
    told.did(Verb.CONFIGURE, operation="op-2", shard_metadata={"k": "v"}, shown=machine(State.CONFIGURED))
    told.got(State.CONFIGURED, shard_metadata={"k": "v"})
    assert told.found == FINE


def test_an_ack_has_an_operation_id() -> None:
    told = Telling().idle()
    told.did(Verb.CONFIGURE, operation="")
    assert told.found == ["OPS-1a"]


@pytest.mark.parametrize(
    ("shown", "behaviours"),
    [
        (machine(State.CONFIGURED), FINE),
        (machine(State.CONFIGURING, id="m2"), ["LIF-11a"]),
        (machine(State.IDLE), FINE),  # it may have been given up at once (FLT-1)
        (machine(State.IDLE, cluster="c1"), ["LIF-11a"]),
        (machine(State.CONFIGURING, cluster="c2"), ["LIF-6e"]),
        (machine(State.CONFIGURED, shard_metadata={"k": "v"}), ["MET-1b"]),
    ],
)
def test_an_ack_shows_its_machine(shown: pb.Machine, behaviours: list[str]) -> None:
    told = Telling().idle()
    told.did(Verb.CONFIGURE, shown=shown)
    assert told.found == behaviours


@pytest.mark.parametrize(
    ("prepare", "verb", "behaviours"),
    [
        (Telling.configured, Verb.CREATE, ["COD-2b"]),
        (Telling.configured, Verb.DELETE, ["COD-2b"]),
        (Telling.idle, Verb.DRAIN, FINE),
        (Telling.idle, Verb.CREATE, FINE),
    ],
)
def test_a_call_without_an_edge_is_refused(
    prepare: Callable[[Telling], Telling], verb: Verb, behaviours: list[str]
) -> None:
    told = prepare(Telling())
    told.did(verb, operation="op-1", shown=machine(State.IDLE))
    assert told.found == behaviours


def test_a_refused_call_changes_nothing() -> None:
    told = Telling().idle()
    told.did(Verb.DELETE, Status.ABORTED)
    told.did(Verb.CONFIGURE, Status.FAILED_PRECONDITION, token=(1, 1))
    told.got(State.CONFIGURING)
    assert told.found == ["LIF-3a"]


def test_a_retry_is_not_refused() -> None:
    for code, found in ((Status.ABORTED, ["OPS-2b"]), (Status.UNAVAILABLE, FINE), (Status.INVALID_ARGUMENT, FINE)):
        told = Telling().configured()
        told.did(Verb.CONFIGURE, code)
        assert told.found == FINE
        told.got(State.CONFIGURED)
        assert told.found == found


@pytest.mark.parametrize("shown", [State.FAILED, State.IDLE])
def test_a_retry_is_refused_if_the_machine_has_failed_or_the_call_was_given_up(shown: State) -> None:
    told = Telling().idle()
    told.did(Verb.CONFIGURE)
    told.did(Verb.CONFIGURE, Status.ABORTED)
    told.got(shown)
    assert told.found == FINE


def test_another_cluster_or_another_call_explains_a_refused_retry() -> None:
    told = Telling().configured()
    told.did(Verb.CONFIGURE, Status.ABORTED, cluster_id="c2")
    told.got(State.CONFIGURED)
    told.did(Verb.CONFIGURE, Status.ABORTED)
    told.did(Verb.CREATE, Status.ABORTED)
    told.got(State.CONFIGURED)
    assert told.found == FINE


# Nothing is judged that was not observed.


def test_a_machine_that_the_kit_does_not_own_is_not_judged() -> None:
    told = Telling(owned=False)
    told.got(State.IDLE)
    told.got(State.CONFIGURED)
    told.got(State.SPECULATIVE, host=OTHER_HOST)
    told.model.ended(told.looked(), a_call(code=Status.NOT_FOUND))
    assert told.found == FINE


def test_a_machine_that_lives_is_found() -> None:
    told = Telling().idle()
    told.model.ended(told.looked(), a_call(code=Status.NOT_FOUND))
    assert told.found == ["LIF-4a"]


@pytest.mark.parametrize("code", [Status.UNAVAILABLE, Status.CANCELLED, Status.DEADLINE_EXCEEDED, None])
def test_after_a_call_without_an_answer_anything_may_show_until_a_newer_one_passes(code: Status | None) -> None:
    told = Telling().idle()
    sent = told.sent(Verb.CONFIGURE, cluster_id="c9")
    if code is None:
        told.model.ended(sent[2], None)
    else:
        told.answered(sent, code, answered=False)
    told.got(State.IDLE)
    told.got(State.CONFIGURING, cluster="c9")
    told.got(State.IDLE, host=OTHER_HOST)
    assert told.found == FINE
    told.did(Verb.CONFIGURE, Status.ABORTED)
    told.got(State.CONFIGURED)
    told.got(State.CONFIGURED)
    assert told.found == FINE
    told.got(State.IDLE)
    assert told.found == ["LIF-3a"]


def test_a_rejection_for_load_may_have_had_an_effect() -> None:
    told = Telling().idle()
    told.did(Verb.CONFIGURE, Status.UNAVAILABLE)
    told.got(State.CONFIGURING)
    assert told.found == FINE


def test_a_get_during_a_mutating_call_shows_either_state() -> None:
    told = Telling().idle()
    early = told.looked()
    sent = told.sent(Verb.CONFIGURE)
    late = told.looked()
    told.answered(sent)
    told.showed(early, State.CONFIGURED)
    told.showed(late, State.IDLE)
    assert told.found == FINE


def test_concurrent_calls_prove_nothing_about_each_other() -> None:
    told = Telling().idle()
    one, other = told.sent(Verb.CONFIGURE, cluster_id="a"), told.sent(Verb.CONFIGURE, cluster_id="b")
    told.answered(one, shown=machine(State.CONFIGURING, cluster="b"))
    told.answered(other, operation="op-2", shown=machine(State.CONFIGURED, cluster="b"))
    told.got(State.CONFIGURED, cluster="b")
    told.got(State.CONFIGURED, cluster="b")
    assert told.found == FINE
    told.got(State.CONFIGURED, cluster="a")
    assert told.found == ["LIF-6a"]


def test_an_older_get_that_ends_later_proves_nothing() -> None:
    told = Telling().idle()
    told.did(Verb.CONFIGURE)
    early = told.looked()
    told.got(State.CONFIGURED)
    told.showed(early, State.CONFIGURING)
    assert told.found == FINE
    told.got(State.CONFIGURING)
    assert told.found == ["LIF-3a"]


def test_a_failed_machine_is_not_judged_by_its_past() -> None:
    told = Telling().idle()
    told.got(State.FAILED)
    told.got(State.IDLE)
    assert told.found == FINE


@pytest.mark.parametrize(
    ("code", "behaviours"), [(Status.UNIMPLEMENTED, ["LIF-8d"]), (Status.ABORTED, FINE), (Status.OK, FINE)]
)
def test_delete_is_unimplemented_for_all_machines_or_for_none(code: Status, behaviours: list[str]) -> None:
    told = Telling().idle()
    told.did(Verb.DELETE, code)
    told.model.take("m2")
    asked = pb.MachineRef(id="m2")
    host = pb.HostRef(provider="aws", ref="i-9")
    told.model.ended(
        told.model.sending("Get", asked), a_call(request=asked, response=machine(State.IDLE, id="m2", host=host))
    )
    told.did(Verb.DELETE, machine_id="m2", shown=machine(State.DELETING, id="m2", host=host))
    assert told.found == behaviours


# Hosts.


def test_two_living_machines_do_not_show_one_host() -> None:
    told = Telling().idle()
    told.model.take("m2")
    asked = pb.MachineRef(id="m2")
    ticket = told.model.sending("Get", asked)
    told.model.ended(ticket, a_call(request=asked, response=machine(State.IDLE, id="m2")))
    assert told.found == ["LIF-5f"]


def test_a_host_that_may_have_been_given_up_can_be_another_machines() -> None:
    told = Telling().idle()
    told.model.take("m2")
    told.did(Verb.DELETE)
    asked = pb.MachineRef(id="m2")
    ticket = told.model.sending("Get", asked)
    told.model.ended(ticket, a_call(request=asked, response=machine(State.IDLE, id="m2")))
    assert told.found == FINE


def test_a_breach_is_noted_once_for_each_machine() -> None:
    told = Telling().idle()
    for _ in range(3):
        told.got(State.IDLE, last_error="e")
    assert told.found == ["SHP-4a"]


@pytest.mark.parametrize(
    ("fields", "behaviours"),
    [
        ({}, FINE),
        ({"allocatable": pb.Resources()}, FINE),
        ({"price_per_hour": 2.0, "labels": {"a": "b"}}, FINE),
        ({"zone": "elsewhere"}, ["LST-4a"]),
        ({"resources": pb.Resources(resources={"cpu": "1"})}, ["LST-4a"]),
        (
            {"zone": "elsewhere", "host": pb.HostRef(provider="aws", ref="i-0")},
            FINE,
        ),  # an earlier life, in a List that lags
    ],
)
def test_a_list_shows_the_fixed_fields_of_a_get_before_it(fields: dict[str, Any], behaviours: list[str]) -> None:
    told = Telling().idle()
    told.listed(machine(State.IDLE, **fields), since_revision=b"7", states=[State.IDLE])
    assert told.found == behaviours


@pytest.mark.parametrize(
    ("verb", "codes", "behaviours"),
    [
        (Verb.CONFIGURE, (Status.ABORTED, Status.ABORTED), ["LIF-1a"]),
        (Verb.CONFIGURE, (Status.INVALID_ARGUMENT, Status.INVALID_ARGUMENT), ["LIF-1a"]),
        (Verb.CONFIGURE, (Status.ABORTED, Status.OK), FINE),
        (Verb.CONFIGURE, (Status.ABORTED, Status.NOT_FOUND), FINE),
        (Verb.CONFIGURE, (Status.UNAVAILABLE, Status.UNAVAILABLE), FINE),
        (Verb.CONFIGURE, (Status.FAILED_PRECONDITION, Status.FAILED_PRECONDITION), FINE),  # the marks judge it
        (Verb.DRAIN, (Status.ABORTED, Status.ABORTED), FINE),  # it is IDLE
        (Verb.DELETE, (Status.UNIMPLEMENTED, Status.UNIMPLEMENTED), FINE),
    ],
)
def test_a_default_call_that_has_an_edge_is_not_refused_twice(
    verb: Verb, codes: tuple[Status, Status], behaviours: list[str]
) -> None:
    told = Telling().idle()
    call, again = (a_call(verb.value, REQUESTS[verb](machine_id="m1"), code=code) for code in codes)
    told.model.refused(verb, call, again)
    assert told.found == behaviours


def test_a_refusal_says_nothing_about_a_machine_that_is_not_known_or_not_owned() -> None:
    refused = a_call("Configure", REQUESTS[Verb.CONFIGURE](machine_id="m1"), code=Status.ABORTED)
    for told in (Telling(), Telling(owned=False).idle()):
        told.model.refused(Verb.CONFIGURE, refused, refused)
        assert told.found == FINE
    told = Telling().idle()
    told.did(Verb.CONFIGURE, Status.ABORTED, answered=False)  # it may still arrive
    told.model.refused(Verb.CONFIGURE, refused, refused)
    assert told.found == FINE


@pytest.mark.parametrize(
    ("shown", "behaviours"), [(State.DRAINING, ["LIF-1a"]), (State.IDLE, FINE), (State.FAILED, FINE)]
)
def test_a_transition_that_was_awaited_with_patience_has_ended(shown: State, behaviours: list[str]) -> None:
    told = Telling().configured()
    told.did(Verb.DRAIN)
    drain = a_call("Drain", REQUESTS[Verb.DRAIN](machine_id="m1"))
    told.model.waited(Verb.DRAIN, drain, machine(shown), 300.0)
    assert told.found == behaviours


def test_a_transition_that_another_call_may_have_started_is_not_stuck() -> None:
    told = Telling().configured()
    told.did(Verb.DRAIN)
    told.did(Verb.CONFIGURE, Status.ABORTED, answered=False)
    drain = a_call("Drain", REQUESTS[Verb.DRAIN](machine_id="m1"))
    told.model.waited(Verb.DRAIN, drain, machine(State.DRAINING), 300.0)
    assert told.found == FINE


@pytest.mark.parametrize(("between", "rpcs"), [(1, ["Create", "Create"]), (MAX_ACKS, ["Create"])])
def test_an_operation_id_that_comes_back_is_found_also_when_its_ack_is_not_kept(between: int, rpcs: list[str]) -> None:
    told = Telling()
    for number in range(between + 1):
        told.got(State.SPECULATIVE)
        told.did(Verb.CREATE, operation=f"op-{number}")
        told.model.release("m1")
        told.model.take("m1")
    told.got(State.SPECULATIVE)
    told.did(Verb.CREATE, operation="op-0")
    [found] = told.model.breaches
    assert (found.behaviour, found.got) == ("OPS-3a", "'op-0', the id of Create of m1")
    assert [call.rpc for call in found.calls] == rpcs
    assert told.model.has_used_twice("op-0")
    assert not told.model.has_used_twice("op-1")


def test_an_operation_is_untouched_until_another_call_is_sent() -> None:
    told = Telling().configured(operation="op-of-configure")
    operation = told.model.untouched_operation("m1")
    assert operation is not None
    assert operation.id == "op-of-configure"
    told.did(Verb.CREATE, Status.ALREADY_EXISTS)
    assert told.model.untouched_operation("m1") is None
    assert told.model.resting("m1") is not None


def test_nothing_rests_that_is_in_doubt_or_not_owned() -> None:
    told = Telling().configured()
    told.did(Verb.DRAIN, Status.UNAVAILABLE, answered=False)
    assert told.model.resting("m1") is None
    assert Telling(owned=False).configured().model.resting("m1") is None
    assert told.model.untouched_operation("unknown") is None


def test_configures_that_were_all_given_up_are_a_breach_with_the_last_ones() -> None:
    calls = [a_call("Configure", pb.ConfigureRequest(machine_id=f"m{number}")) for number in range(5)]
    breach = rules.of_configures_given_up(calls)
    assert (breach.behaviour, breach.machine, breach.got) == ("LIF-1a", "m4", "IDLE, as the last 5 Configures")
    assert breach.calls == tuple(calls[-3:])
