"""The rules that the pool applies outside the behaviours, and the effect of a breach on the results."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb
from grpc import StatusCode

from conformance.core import catalogue
from conformance.core.errors import ConformanceError, Unprepared
from conformance.core.lifecycle import State, Verb
from conformance.fleet import rules
from conformance.fleet.ownership import Owner, Ownership
from conformance.fleet.policy import Policy
from conformance.results.breach import Breach, credible, with_breaches
from conformance.results.result import Result, Status, Verdict, judge
from fake_provider.core import Core
from fake_provider.faults import Faults
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from tests.pools import leased, pooled
from tests.values import a_call

if TYPE_CHECKING:
    from conformance.fleet.context import FleetContext
    from conformance.fleet.pool import Pool
    from conformance.rpc.call import Call
    from fake_provider.fence import Token
    from fake_provider.machine import Machine as TheirMachine
    from fake_provider.machine import Verb as TheirVerb

HOST = pb.HostRef(provider="p", ref="r")
IDLE = a_call(response=pb.Machine(id="m1", state=3))  # type: ignore[arg-type]


def get(state: State, **fields: object) -> Call:
    machine = pb.Machine(id="m1", state=int(state), **fields)  # type: ignore[arg-type]
    return a_call(rpc="Get", response=machine)


def ack() -> Call:
    return a_call(rpc="Drain", response=pb.TransitionAck(operation_id="op", machine=pb.Machine(id="m1")))


@pytest.mark.parametrize(
    ("verb", "end", "breach"),
    [
        (Verb.DRAIN, get(State.CONFIGURED, cluster="c"), True),
        (Verb.CREATE, get(State.SPECULATIVE), True),
        (Verb.DELETE, get(State.IDLE), True),
        (Verb.CONFIGURE, get(State.SPECULATIVE), True),
        (Verb.CONFIGURE, get(State.IDLE, cluster="c"), True),
        (Verb.CONFIGURE, get(State.IDLE), False),  # it may have been given up (FLT-1)
        (Verb.DRAIN, get(State.FAILED, last_error="stuck"), False),
        (Verb.DRAIN, get(State.DRAINING), False),  # how long it may take is not for the pool to say
        (Verb.DRAIN, get(State.IDLE), False),
    ],
)
def test_an_acknowledged_call_settles_at_its_end_or_fails(verb: Verb, end: Call, breach: bool) -> None:
    found = rules.after_call("m1", verb, ack(), end)
    assert (found is not None) is breach
    assert found is None or (found.behaviour, len(found.calls)) == ("LIF-1a", 2)


@pytest.mark.parametrize(
    ("shown", "behaviour"),
    [
        (get(State.SPECULATIVE), None),
        (get(State.SPECULATIVE, host=HOST), "LIF-5a"),
        (get(State.SPECULATIVE, cluster="c"), "LIF-6a"),
        (get(State.SPECULATIVE, last_error="e"), "SHP-4a"),
        (get(State.IDLE, host=HOST), None),
        (get(State.IDLE), "LIF-5a"),
        (get(State.IDLE, host=pb.HostRef(provider="p")), "LIF-5a"),
        (get(State.IDLE, host=HOST, cluster="c"), "LIF-6a"),
        (get(State.CONFIGURED, host=HOST), "LIF-6a"),
        (get(State.CONFIGURED, host=HOST, cluster="c"), None),
        (get(State.FAILED, last_error="e"), None),
        (get(State.FAILED, host=HOST, cluster="c", last_error="e"), None),
        (get(State.FAILED), "SHP-4a"),
        (get(State.DRAINING), None),
    ],
)
def test_a_machine_at_rest_is_as_the_table_says(shown: Call, behaviour: str | None) -> None:
    found = rules.at_rest("m1", shown)
    assert (found.behaviour if found else None) == behaviour


def test_a_machine_at_rest_stays_where_it_is() -> None:
    assert rules.moved_at_rest("m1", State.CONFIGURED, get(State.CONFIGURED)) is None
    assert rules.moved_at_rest("m1", State.CONFIGURED, get(State.FAILED)) is None
    assert rules.moved_at_rest("m1", State.CONFIGURED, get(State.IDLE)) is not None


def test_a_machine_that_lives_keeps_its_id() -> None:
    assert rules.lost_id("m1", get(State.IDLE)) is None
    assert rules.lost_id("m2", get(State.IDLE)) is not None
    assert rules.lost_id("m1", a_call(rpc="Get", code=StatusCode.NOT_FOUND)) is not None
    assert rules.lost_id("m1", a_call(rpc="Get", code=StatusCode.UNAVAILABLE)) is None


class _Ends(Core):
    """Ends one transitional state in another state than usual."""

    def settle(self, machine: TheirMachine) -> TheirMachine:
        settled = super().settle(machine)
        ends: dict[str, str] = self.__dict__.get("ends", {})
        return replace(settled, state=type(settled.state)[ends.get(machine.state.name, settled.state.name)])


def breaches_of(ends: dict[str, str], *, core: Core | None = None) -> list[str]:
    """Returns what a lease that starts CONFIGURED and is returned shows."""
    found: list[str] = []

    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        core.__dict__["ends"] = ends
        lease = leased(pool, machines=1, start=State.CONFIGURED)
        try:
            await pool.prepare(lease)
        except Unprepared:
            pass
        else:
            await lease.machines[0].create()  # so that the pool restores it
        try:
            await pool.release(lease, wanted=())
        except ConformanceError as error:
            raise AssertionError(error) from error
        found.extend(breach.behaviour for breach in context.breaches)

    pooled(facts, machines=1, core=core or _Ends(fleet(1), latency=Latency.parse("0")))
    return found


def test_the_pool_notes_a_drain_that_ends_configured() -> None:
    assert "LIF-1a" in breaches_of({"DRAINING": "CONFIGURED"})


def test_the_pool_notes_a_create_that_ends_in_a_slot() -> None:
    assert "LIF-1a" in breaches_of({"CREATING": "SPECULATIVE"})


def test_the_pool_notes_nothing_of_a_conformant_provider() -> None:
    assert breaches_of({}) == []


def test_a_failure_with_an_error_is_not_a_breach() -> None:
    class Fails(Core):
        """Fails every Drain."""

        def settle(self, machine: TheirMachine) -> TheirMachine:
            if machine.state.name == "DRAINING":
                return self.failed(machine, "it does not stop")
            return super().settle(machine)

    assert breaches_of({}, core=Fails(fleet(1), latency=Latency.parse("0"), faults=Faults())) == []


@pytest.mark.parametrize(("won", "breaches"), [(True, ["LIF-4a"]), (False, [])])
def test_only_a_machine_that_the_kit_has_claimed_must_be_found(won: bool, breaches: list[str]) -> None:
    found: list[str] = []

    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        (machine,) = leased(pool, machines=1).machines
        machine.policy = Policy(applies_rules=True)
        machine.record = replace(machine.record, ownership=Ownership(owner=Owner.OURS, won=won))
        machine.witness.read(a_call(code=StatusCode.NOT_FOUND))
        found.extend(breach.behaviour for breach in context.breaches)

    pooled(facts, machines=1)
    assert found == breaches


def result(behaviour_id: str, status: Status) -> Result:
    return Result(entry=catalogue.load()[behaviour_id], status=status)


def breach(behaviour_id: str) -> Breach:
    return Breach(behaviour=behaviour_id, machine="m1", wanted="one thing", got="another", calls=(IDLE,))


def test_a_breach_fails_the_behaviour_that_judges_the_same() -> None:
    results = [result("LIF-1a", Status.PASSED), result("MET-1a", Status.PASSED)]
    found = with_breaches(results, [breach("LIF-1a"), breach("LIF-1a"), breach("LIF-5a")], catalogue.load())
    assert [(r.id, r.status.value) for r in found] == [
        ("LIF-1a", "failed"),
        ("MET-1a", "passed"),
        ("LIF-5a", "failed"),
    ]
    assert judge(found) is Verdict.NON_CONFORMANT
    assert found[0].calls
    assert found[0].decisive == (0,)


def test_a_failure_that_was_seen_already_decides() -> None:
    results = (result("LIF-1a", Status.PASSED), result("MET-1a", Status.FAILED))
    assert with_breaches(results, [breach("LIF-1a")], catalogue.load()) == results
    tolerated = with_breaches(results, [breach("LIF-1a")], catalogue.load(), tolerates=lambda each: True)
    assert [r.status for r in tolerated] == [Status.FAILED, Status.FAILED]


def test_a_machine_that_moves_by_itself_is_the_providers_doing_from_the_third_on() -> None:
    moved = [replace(breach("LIF-3a"), machine=f"m{n}", other_client_possible=True) for n in range(3)]
    assert credible(moved[:2], other_client=False) == ()
    assert credible(moved[:1] * 3, other_client=False) == ()
    assert credible(moved, other_client=False) == tuple(moved)
    assert credible(moved, other_client=True) == ()
    assert credible([breach("LIF-6a")], other_client=True) == (breach("LIF-6a"),)


@pytest.mark.parametrize(("first", "behaviour"), [(True, "FEN-2a"), (False, "FEN-1a")])
def test_the_newest_token_of_a_shard_is_not_fenced(first: bool, behaviour: str) -> None:
    fenced = a_call(rpc="Create", code=StatusCode.FAILED_PRECONDITION)
    found = rules.fenced_newer("m1", fenced, first=first)
    assert found is not None
    assert found.behaviour == behaviour
    assert rules.fenced_newer("m1", replace(fenced, retried=True), first=first) is None
    assert rules.fenced_newer("m1", ack(), first=first) is None
    assert rules.fenced_newer("m1", replace(fenced, answered=False), first=first) is None


def test_the_pool_notes_a_create_that_is_fenced_at_first_contact() -> None:
    class Fences(Core):
        """Fences the first call of each shard."""

        def validate_first_token(self, verb: TheirVerb, token: Token) -> None:
            raise self.fenced(verb, token)

    assert breaches_of({}, core=Fences(fleet(1), latency=Latency.parse("0"))) == ["FEN-2a"]
