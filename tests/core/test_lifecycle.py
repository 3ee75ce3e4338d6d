from __future__ import annotations

import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.lifecycle import (
    EDGES,
    SHOWN,
    Presence,
    State,
    Verb,
    next_verb,
    state_of,
    verb_in_progress,
)


def test_states_have_the_numbers_of_the_proto() -> None:
    wire = {name.removeprefix("MACHINE_STATE_"): number for name, number in pb.MachineState.items()}
    assert wire == {state.name: int(state) for state in State}


def test_four_states_are_stable() -> None:
    assert {s for s in State if s.stable} == {State.SPECULATIVE, State.IDLE, State.CONFIGURED, State.FAILED}


def test_each_verb_leads_from_a_stable_state_through_its_transitional_state_to_a_stable_one() -> None:
    assert set(EDGES) == set(Verb)
    assert all(edge.source.stable and edge.target.stable and not edge.via.stable for edge in EDGES.values())
    assert len({edge.via for edge in EDGES.values()}) == 4


@pytest.mark.parametrize("state", list(State))
def test_a_transitional_state_belongs_to_one_verb_and_a_stable_one_to_none(state: State) -> None:
    verb = verb_in_progress(state)
    if state.stable or state is State.UNSPECIFIED:
        assert verb is None
    else:
        assert verb is not None
        assert EDGES[verb].via is state


@pytest.mark.parametrize("number", [9, 99, -1, 2**31 - 1])
def test_a_number_outside_the_contract_is_unspecified(number: int) -> None:
    assert state_of(number) is State.UNSPECIFIED


def test_every_number_in_the_contract_is_its_state() -> None:
    assert [state_of(int(state)) for state in State] == list(State)


@pytest.mark.parametrize(
    ("state", "to", "verb"),
    [
        (State.SPECULATIVE, State.CONFIGURED, Verb.CREATE),
        (State.IDLE, State.CONFIGURED, Verb.CONFIGURE),
        (State.IDLE, State.SPECULATIVE, Verb.DELETE),
        (State.CONFIGURED, State.SPECULATIVE, Verb.DRAIN),
        (State.FAILED, State.SPECULATIVE, None),
    ],
)
def test_the_next_verb_is_the_first_step_of_the_path(state: State, to: State, verb: Verb | None) -> None:
    assert next_verb(state, to) is verb


def test_the_table_of_shown_fields_covers_every_state() -> None:
    assert set(SHOWN) == set(State)


def test_a_machine_has_a_host_from_idle_until_delete_ends() -> None:
    with_host = {state for state, shown in SHOWN.items() if shown.host is Presence.SET}
    assert with_host == {State.IDLE, State.CONFIGURING, State.CONFIGURED, State.DRAINING, State.DELETING}


def test_a_host_or_cluster_appears_and_disappears_only_while_an_edge_is_taken() -> None:
    for edge in EDGES.values():
        for field in ("host", "cluster"):
            ends = {getattr(SHOWN[edge.source], field), getattr(SHOWN[edge.target], field)}
            assert getattr(SHOWN[edge.via], field) in {*ends, Presence.ANY}


def test_only_failed_has_an_error() -> None:
    assert {state for state, shown in SHOWN.items() if shown.last_error is Presence.SET} == {State.FAILED}


@pytest.mark.parametrize(
    ("presence", "empty", "filled"),
    [(Presence.EMPTY, True, False), (Presence.SET, False, True), (Presence.ANY, True, True)],
)
def test_a_presence_allows_empty_or_set_values(presence: Presence, empty: bool, filled: bool) -> None:
    assert (presence.allows(""), presence.allows("x")) == (empty, filled)
