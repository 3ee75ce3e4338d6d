"""The rules about Lists: which machines they must contain, and how they must show machines at rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb
from grpc import StatusCode as Code

from conformance.core.lifecycle import EDGES, State, Verb
from conformance.fleet.model import MAX_BINDINGS, lists, rules
from tests.fleet.model.telling import REQUESTS, Telling, machine
from tests.values import a_call

if TYPE_CHECKING:
    from conformance.rpc.call import Call

FINE: list[str] = []
OTHER_HOST = pb.HostRef(provider="aws", ref="i-2")


def a_list(*ids: str, **request: Any) -> Call:
    """Returns a List that shows IDLE machines."""
    shown = [machine(State.IDLE, id=each) for each in ids]
    return a_call("List", pb.ListFilter(**request), response=pb.MachineList(machines=shown))


def bound(name: str, **fields: Any) -> pb.Machine:
    """Returns one of the machines of `two_bound`, by default with its own binding."""
    host = pb.HostRef(provider="aws", ref=f"i-{name}")
    own = {"host": host, "cluster": f"c-{name}", "shard_metadata": {"owner": name}}
    return machine(State.CONFIGURING, id=name, **(own | fields))


def two_bound() -> Telling:
    """Tells of two machines that are being bound, each with its own cluster and metadata."""
    told = Telling()
    for name in ("m1", "m2"):
        told.model.take(name)
        asked = pb.MachineRef(id=name)
        ticket = told.model.sending("Get", asked)
        idle = machine(State.IDLE, id=name, host=bound(name).host)
        told.model.ended(ticket, a_call("Get", asked, response=idle))
        binding: dict[str, Any] = {"cluster_id": f"c-{name}", "shard_metadata": {"owner": name}}
        told.did(Verb.CONFIGURE, shown=bound(name), machine_id=name, **binding)
    return told


@pytest.mark.parametrize(
    ("request_fields", "behaviours"),
    [({}, ["LST-1d"]), ({"max_results": 5}, FINE), ({"since_revision": b"1"}, FINE), ({"states": [5]}, FINE)],
)
def test_a_whole_list_contains_every_machine_of_the_kit(request_fields: dict[str, Any], behaviours: list[str]) -> None:
    told = Telling()
    told.listed(machine(State.SPECULATIVE), machine(State.IDLE, id="theirs"), **request_fields | {"states": []})
    assert told.found == FINE
    told.listed(machine(State.CONFIGURED, id="theirs"), **request_fields)
    assert told.found == behaviours
    told.model.release("m1")
    told.listed()
    assert told.found == behaviours


@pytest.mark.parametrize(
    ("fields", "behaviours"),
    [
        ({}, FINE),
        ({"cluster": "c-m2"}, ["LIF-6a"]),
        ({"shard_metadata": {"owner": "m2"}}, ["MET-3a"]),
        ({"cluster": "theirs"}, FINE),  # another client's, perhaps
    ],
)
def test_no_machine_shows_what_was_sent_to_another_even_while_it_moves(
    fields: dict[str, Any], behaviours: list[str]
) -> None:
    told = two_bound()
    told.sent(Verb.DRAIN)
    told.listed(bound("m1", **fields), bound("m2"))
    assert told.found == behaviours
    if behaviours:
        assert [call.rpc for call in told.model.breaches[0].calls] == ["Configure", "List"]


def test_a_get_that_shows_anothers_metadata_breaks_met_3() -> None:
    told = Telling().configured(shard_metadata={"k": "v"})
    told.model.take("m2")
    told.did(Verb.CONFIGURE, machine_id="m2", shard_metadata={"owner": "m2"}, shown=machine(State.CONFIGURING, id="m2"))
    told.got(State.CONFIGURED, shard_metadata={"owner": "m2"})
    assert told.found == ["MET-3a"]


def test_a_configure_without_an_answer_explains_what_is_shown() -> None:
    told = two_bound()
    told.did(Verb.CONFIGURE, answered=False, cluster_id="c-m2", shard_metadata={"owner": "m2"})
    told.listed(bound("m1", cluster="c-m2", shard_metadata={"owner": "m2"}), bound("m2"))
    assert told.found == FINE


def test_only_the_last_bindings_are_kept() -> None:
    told = Telling().idle()
    for number in range(MAX_BINDINGS + 5):
        told.did(Verb.CONFIGURE, cluster_id=f"c{number}")
        told.got(State.CONFIGURED, cluster=f"c{number}")
        told.did(Verb.DRAIN, shown=machine(State.DRAINING, cluster=f"c{number}"))
        told.got(State.IDLE)
    track = told.model._tracks["m1"]
    assert (len(track.sent), len(track.bindings)) == (MAX_BINDINGS, MAX_BINDINGS)
    assert told.found == FINE


@pytest.mark.parametrize(
    ("shown", "got"),
    [
        (machine(State.CONFIGURED, shard_metadata={"k": "v"}), None),
        (machine(State.IDLE), "IDLE host i-1"),
        (machine(State.CONFIGURED, shard_metadata={"k": "v"}, host=OTHER_HOST), "host i-2"),
        (machine(State.CONFIGURED, shard_metadata={"k": "v"}, cluster="c2"), "cluster c2"),
        (machine(State.CONFIGURED), "metadata {}"),
    ],
)
def test_a_view_shows_machines_at_rest_as_get_does(shown: pb.Machine, got: str | None) -> None:
    told = Telling().configured(shard_metadata={"k": "v"})
    found = told.model.disagreement("LST-6a", "the sequence of deltas", shown, a_list())
    assert (found and found.got) == got
    if found is not None:
        assert found.wanted.startswith("the sequence of deltas to show m1")
        assert [call.rpc for call in found.calls] == ["Get", "List"]
    assert told.found == FINE  # the caller decides how long a view may lag


@pytest.mark.parametrize("verb", [Verb.DRAIN, None])
def test_a_view_of_a_machine_that_moves_or_may_move_is_not_judged(verb: Verb | None) -> None:
    told = Telling().configured()
    if verb is None:
        told.did(Verb.DRAIN, answered=False)
    else:
        told.sent(verb)
    assert told.model.disagreement("LST-4a", "List", machine(State.IDLE), a_list()) is None


def test_a_view_does_not_show_the_host_of_a_life_that_has_ended() -> None:
    told = Telling().idle()
    told.did(Verb.DELETE)
    told.got(State.SPECULATIVE)
    told.model.release("m1")
    [stale, new] = [
        told.model.disagreement("LST-4a", "List", shown, a_list())
        for shown in (machine(State.IDLE), machine(State.IDLE, host=OTHER_HOST))
    ]
    assert stale is not None
    assert new is None  # another client may have the slot


def test_pages_and_deltas_contain_every_change() -> None:
    pages = [a_list("m1", "m2", max_results=2), a_list("m3", max_results=2), a_list()]
    assert lists.of_pages(pages, {"m1", "m3"}) is None
    lost = lists.of_pages(pages, {"m1", "m4"})
    assert lost is not None
    assert (lost.behaviour, lost.machine, lost.got) == ("LST-9a", "m4", "3 pages without m4")
    assert lists.of_delta(pages[0], {"m1"}) is None
    missing = lists.of_delta(pages[0], {"m1", "m3", "m4", "m5", "m6"})
    assert missing is not None
    assert missing.got == "2 machines without m3, m4, m5 and 1 more"


@pytest.mark.parametrize(("name", "rpcs"), [("m1", ["Get", "List"]), ("unknown", ["List"])])
def test_a_change_that_is_missing_is_noted_with_the_call_that_tells_of_it(name: str, rpcs: list[str]) -> None:
    told = Telling().idle()
    told.model.note_missing(lists.of_delta(a_list(), ()))
    assert told.found == FINE
    told.model.note_missing(lists.of_delta(a_list(), {name}))
    assert [call.rpc for call in told.model.breaches[0].calls] == rpcs


@pytest.mark.parametrize("verb", list(Verb))
def test_a_call_that_is_refused_each_time_breaks_lif_1(verb: Verb) -> None:
    found = rules.of_refusals(verb, [a_call(verb.value, REQUESTS[verb](machine_id="m1"))] * 3)
    assert found.wanted == f"{verb.value} of m1, {EDGES[verb].source.name}, to be accepted"
    assert len(found.calls) == 3


def by_state(*machines: tuple[str, State], **request: Any) -> Call:
    """Returns a List that shows machines in these states."""
    shown = [machine(state, id=each) for each, state in machines]
    return a_call("List", pb.ListFilter(**request), response=pb.MachineList(machines=shown))


FREE, BOUND = State.SPECULATIVE, State.CONFIGURED


@pytest.mark.parametrize(
    ("before", "singles", "after", "found"),
    [
        ({"a": FREE, "b": BOUND}, {FREE: ["a"], BOUND: ["b"]}, {"a": FREE, "b": BOUND}, []),
        ({"a": FREE, "b": FREE}, {FREE: ["a"], BOUND: []}, {"a": FREE, "b": FREE}, [("LST-1a", "b")]),
        ({"a": FREE}, {FREE: ["a", "b"], BOUND: []}, {"a": FREE}, [("LST-1d", "b")]),
        ({"a": FREE}, {FREE: ["a", "b"], BOUND: []}, {"a": FREE, "b": FREE}, []),  # it is new
        ({"a": FREE}, {FREE: [], BOUND: []}, {"a": BOUND}, []),  # it has changed meanwhile
        ({"a": FREE}, {FREE: [], BOUND: ["a"]}, {"a": FREE}, []),  # so has this one
        ({"a": FREE}, {FREE: [], BOUND: []}, {}, []),
        ({"a": State.FAILED}, {FREE: [], BOUND: []}, {"a": State.FAILED}, []),  # that state was not asked for
    ],
)
def test_the_lists_of_single_states_add_up_to_the_whole_list(
    before: dict[str, State], singles: dict[State, list[str]], after: dict[str, State], found: list[tuple[str, str]]
) -> None:
    around = [by_state(*shown.items()) for shown in (before, after)]
    each = [by_state(*((name, state) for name in names), states=[state]) for state, names in singles.items()]
    breaches = list(lists.of_union(around[0], each, around[1]))
    assert [(breach.behaviour, breach.machine) for breach in breaches] == found
    assert all(len(breach.calls) == 3 for breach in breaches)


@pytest.mark.parametrize(
    ("before", "page", "after", "broken"),
    [(3, 3, 3, False), (3, 2, 3, True), (3, 2, 2, False), (4, 3, 4, False)],
)
def test_a_page_with_room_for_the_whole_fleet_contains_it(before: int, page: int, after: int, broken: bool) -> None:
    shown = [a_list(*(f"m{number}" for number in range(count))) for count in (before, after)]
    capped = a_list(*(f"m{number}" for number in range(page)), max_results=3)
    assert bool(list(lists.of_whole_page(shown[0], capped, shown[1]))) is broken


@pytest.mark.parametrize(
    ("asked", "shown", "code", "answered", "broken"),
    [
        ("m1", "m1", Code.OK, True, False),
        ("m1", "m2", Code.OK, True, True),
        ("m1", "", Code.NOT_FOUND, True, True),
        ("m1", "", Code.UNAVAILABLE, True, False),
        ("m1", "", Code.NOT_FOUND, False, False),
        ("m3", "", Code.NOT_FOUND, True, False),  # it was not in the List before
    ],
)
def test_get_finds_every_machine_that_list_shows(
    asked: str, shown: str, code: Code, answered: bool, broken: bool
) -> None:
    response = machine(State.IDLE, id=shown) if code is Code.OK else None
    get = a_call("Get", pb.MachineRef(id=asked), code=code, response=response, answered=answered)
    found = list(lists.of_unread(a_list("m1"), [get], a_list("m1", "m3")))
    assert [breach.behaviour for breach in found] == ["LST-4a"] * broken


def test_a_list_may_lag_behind_by_a_binding_of_the_same_cluster() -> None:
    told = Telling().configured(shard_metadata={"k": "v"})
    told.did(Verb.DRAIN, shown=machine(State.DRAINING, shard_metadata={"k": "v"}))
    told.got(State.IDLE)
    told.did(Verb.CONFIGURE, shard_metadata={"k": "w"})
    told.got(State.CONFIGURED, shard_metadata={"k": "w"})
    told.listed(machine(State.CONFIGURED, shard_metadata={"k": "v"}))
    assert told.found == FINE
    told.listed(machine(State.CONFIGURED, shard_metadata={"k": "x"}))
    assert told.found == ["MET-1a"]


def test_a_list_that_lags_may_show_the_resources_of_an_earlier_binding() -> None:
    told = Telling().configured()
    told.did(Verb.DRAIN, shown=machine(State.DRAINING))
    told.got(State.IDLE)
    told.did(Verb.CONFIGURE)
    told.got(State.CONFIGURED)
    told.listed(machine(State.CONFIGURED, resources=pb.Resources(resources={"cpu": "1"})))
    assert told.found == FINE
