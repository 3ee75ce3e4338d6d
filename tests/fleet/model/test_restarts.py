"""The model of the fleet goes on across a restart of the provider: what was acknowledged at rest stays judged."""

from __future__ import annotations

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.lifecycle import EDGES, State, Verb
from conformance.fleet.model.restarts import Ending
from tests.fleet.model.telling import Telling, machine

ABORTED = grpc.StatusCode.ABORTED


def test_a_machine_at_rest_must_be_as_it_was() -> None:
    told = Telling().configured(shard_metadata={"owner": "a"})
    told.restarts()
    told.got(State.CONFIGURED, shard_metadata={"owner": "a"})
    assert told.found == []


@pytest.mark.parametrize(
    ("state", "fields"),
    [
        (State.IDLE, {}),
        (State.CONFIGURED, {"shard_metadata": {}}),
        (State.CONFIGURED, {"cluster": "c2", "shard_metadata": {"owner": "a"}}),
        (State.CONFIGURED, {"host": pb.HostRef(provider="aws", ref="i-2"), "shard_metadata": {"owner": "a"}}),
    ],
    ids=["state", "metadata", "cluster", "host"],
)
def test_a_machine_at_rest_that_was_changed_by_a_restart_breaks_durability(
    state: State, fields: dict[str, object]
) -> None:
    told = Telling().configured(shard_metadata={"owner": "a"})
    told.restarts()
    told.got(state, **fields)
    assert told.found == ["DUR-1a"]
    assert "after a restart" in told.model.breaches[0].wanted


def test_a_change_after_the_restart_is_not_a_breach_of_durability() -> None:
    told = Telling().configured()
    told.restarts()
    told.got(State.CONFIGURED)
    told.did(Verb.DRAIN)
    told.got(State.IDLE)
    told.got(State.CONFIGURED)
    assert told.found == ["LIF-3a"]


def test_a_mark_outlives_a_restart() -> None:
    told = Telling().idle()
    told.did(Verb.DRAIN, ABORTED, token=(1, 40))
    told.restarts()
    told.did(Verb.DRAIN, ABORTED, token=(1, 40))
    assert told.found == ["DUR-1b"]


def test_an_operation_id_outlives_a_restart() -> None:
    told = Telling().configured()
    told.restarts()
    told.got(State.CONFIGURED)
    told.did(Verb.CONFIGURE, operation="another")
    assert told.found == ["DUR-1c"]


def test_a_new_operation_has_no_id_of_before() -> None:
    told = Telling().idle()
    told.restarts()
    told.got(State.IDLE)
    told.did(Verb.CONFIGURE, operation="op-1")
    assert told.found == ["DUR-2a"]


@pytest.mark.parametrize("verb", list(Verb))
@pytest.mark.parametrize("end", ["source", "via", "target"])
def test_a_transition_that_was_cut_short_may_end_in_any_way(verb: Verb, end: str) -> None:
    told = Telling()
    told.got(State.SPECULATIVE)
    if verb is not Verb.CREATE:
        told.idle()
    if verb is Verb.DRAIN:
        told.did(Verb.CONFIGURE)
        told.got(State.CONFIGURED)
    told.did(verb)
    told.restarts()
    shown = getattr(EDGES[verb], end)
    told.got(shown)
    told.did(verb, operation="op-9")  # a retry, and a new operation where it was undone
    if end != "target":
        told.got(EDGES[verb].via)
    told.got(EDGES[verb].source if end == "via" else EDGES[verb].target)
    told.got(State.FAILED)
    assert told.found == []


def test_a_transition_that_was_cut_short_ends_nowhere_else() -> None:
    told = Telling().idle()
    told.did(Verb.CONFIGURE)
    told.restarts()
    told.got(State.SPECULATIVE)
    assert told.found == ["DUR-3b"]


def test_a_configure_that_was_undone_may_be_repeated_with_the_same_id() -> None:
    told = Telling().idle()
    told.did(Verb.CONFIGURE, operation="op-of-m1")
    told.restarts()
    told.got(State.IDLE)
    told.did(Verb.CONFIGURE, operation="op-of-m1")
    assert told.found == []


def test_a_configure_that_goes_on_keeps_its_binding_and_its_host() -> None:
    told = Telling().idle()
    told.did(Verb.CONFIGURE, shard_metadata={"owner": "a"})
    told.restarts()
    told.got(State.CONFIGURED)
    assert told.found == ["DUR-1a"]


def test_a_call_that_a_kill_has_cut_leaves_no_doubt() -> None:
    told = Telling().idle()
    sent = told.sent(Verb.DRAIN, shard="other")
    told.restarts()
    told.answered(sent, answered=False)
    told.got(State.IDLE)
    told.got(State.CONFIGURED)
    assert told.found == ["LIF-3a"]


def test_a_machine_that_is_not_listed_after_a_restart_is_lost() -> None:
    told = Telling(owned=False).idle()
    told.model.take("m1")
    told.restarts()
    told.listed(machine(State.SPECULATIVE, id="m2"))
    assert told.found == ["DUR-1a"]


def test_what_is_shown_during_a_start_is_not_judged() -> None:
    told = Telling().idle()
    told.model.restarted(told.now)
    told.got(State.SPECULATIVE)
    told.listed()
    told.model.recovered()
    told.got(State.IDLE)
    assert told.found == []


@pytest.mark.parametrize(("ending", "judge"), [(Ending.STOP, "ROL-1a"), (Ending.UPGRADE, "ROL-3a")])
def test_what_an_orderly_stop_has_changed_at_rest_breaks_rollout(ending: Ending, judge: str) -> None:
    told = Telling().configured(shard_metadata={"owner": "a"})
    told.restarts(ending)
    told.got(State.CONFIGURED)
    assert told.found == [judge]


def test_the_last_restart_decides_which_behaviour_a_breach_names() -> None:
    told = Telling().configured()
    told.restarts()
    told.restarts(Ending.STOP)
    told.got(State.IDLE)
    assert told.found == ["ROL-1a"]


def test_a_mark_outlives_an_orderly_stop() -> None:
    told = Telling().idle()
    told.did(Verb.DRAIN, ABORTED, token=(1, 40))
    told.restarts(Ending.STOP)
    told.did(Verb.DRAIN, ABORTED, token=(1, 40))
    assert told.found == ["ROL-1b"]


def test_a_transition_that_failed_in_an_orderly_stop_may_be_cleaned_up() -> None:
    told = Telling().idle()
    told.did(Verb.CONFIGURE)
    told.restarts(Ending.STOP)
    told.got(State.SPECULATIVE)
    assert told.found == []
