"""The model of the fleet notes breaches while the pool drives machines, and they change the results."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core import catalogue
from conformance.core.errors import ConformanceError, Unprepared
from conformance.core.lifecycle import State
from conformance.results.breach import Breach, credible, with_breaches
from conformance.results.causes import causes
from conformance.results.result import Result, Status, Verdict, judge
from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.faults import Faults
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from tests.pools import leased, pooled
from tests.values import a_call

if TYPE_CHECKING:
    from conformance.fleet.context import FleetContext
    from conformance.fleet.pool import Pool
    from fake_provider.fence import Token
    from fake_provider.machine import Machine as TheirMachine
    from fake_provider.machine import Verb as TheirVerb
    from fake_provider.request import Request

IDLE = a_call(response=pb.Machine(id="m1", state=3))  # type: ignore[arg-type]


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
        found.extend(breach.behaviour for breach in context.model.breaches)

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


def test_the_pool_notes_a_configure_that_is_refused_twice() -> None:
    class Refuses(Core):
        """Refuses the first so many Configures."""

        times = 2

        def check_edge(self, verb: TheirVerb, machine: TheirMachine, request: Request) -> None:
            super().check_edge(verb, machine, request)
            if verb == "configure" and self.times:
                self.times -= 1
                raise Rejected(Code.ABORTED, "not now")

    refuses = Refuses(fleet(1), latency=Latency.parse("0"))
    assert breaches_of({}, core=refuses) == ["LIF-1a"]
    refuses = Refuses(fleet(1), latency=Latency.parse("0"))
    refuses.times = 1
    assert breaches_of({}, core=refuses) == []


def test_the_pool_notes_a_drain_that_does_not_end() -> None:
    class Stuck(Core):
        """Never ends a Drain."""

        def is_running(self, machine: TheirMachine, operation_id: str) -> bool:
            return machine.state.name != "DRAINING" and super().is_running(machine, operation_id)

    assert breaches_of({}, core=Stuck(fleet(1), latency=Latency.parse("0"))) == ["LIF-1a"]


def result(behaviour_id: str, status: Status) -> Result:
    return Result(entry=catalogue.load()[behaviour_id], status=status)


def breach(behaviour_id: str, *, wanted: str = "one thing", got: str = "another") -> Breach:
    return Breach(behaviour=behaviour_id, machine="m1", wanted=wanted, got=got, calls=(IDLE,))


def test_a_breach_fails_the_behaviour_that_judges_the_same() -> None:
    results = [result("LIF-1a", Status.PASSED), result("MET-1a", Status.PASSED)]
    found = with_breaches(results, [breach("LIF-1a"), breach("LIF-1a"), breach("LIF-5a")], catalogue.load())
    assert [(r.id, r.status.value) for r in found] == [
        ("MET-1a", "passed"),
        ("LIF-1a", "failed"),
        ("LIF-5a", "failed"),
    ]
    assert judge(found) is Verdict.NON_CONFORMANT
    assert found[1].calls
    assert found[1].decisive == (0,)


def test_a_failure_explains_breaches_that_show_the_same() -> None:
    failed = replace(result("LIF-6a", Status.FAILED), wanted="m1 to show cluster c", got="cluster d")
    found = breach("LIF-6e", wanted="m1, CONFIGURING, to show cluster c", got="cluster d")
    assert with_breaches([failed], [found], catalogue.load()) == (failed,)


def test_a_breach_that_no_failure_explains_is_a_cause_of_its_own_and_comes_last() -> None:
    failed = replace(result("FEN-1a", Status.FAILED), wanted="Drain to be fenced", got="OK")
    found = breach("MET-1a", wanted="metadata of m1: {}", got="{'k': 'v'}")
    results = with_breaches([result("MET-1a", Status.PASSED), failed], [found], catalogue.load())
    assert [(r.id, r.status) for r in results] == [("FEN-1a", Status.FAILED), ("MET-1a", Status.FAILED)]
    assert [cause.root.id for cause in causes(results)] == ["FEN-1a", "MET-1a"]


def test_a_breach_of_a_should_is_a_warning() -> None:
    (found,) = with_breaches([], [breach("LIF-5f")], catalogue.load())
    assert found.status is Status.WARNED


def test_a_machine_that_moves_by_itself_is_the_providers_doing_from_the_third_on() -> None:
    moved = [replace(breach("LIF-3a"), machine=f"m{n}", other_client_possible=True) for n in range(3)]
    assert credible(moved[:2], other_client=False) == ()
    assert credible(moved[:1] * 3, other_client=False) == ()
    assert credible(moved, other_client=False) == tuple(moved)
    assert credible(moved, other_client=True) == ()
    assert credible([breach("LIF-6a")], other_client=True) == (breach("LIF-6a"),)


def test_the_pool_notes_a_create_that_is_fenced_at_first_contact() -> None:
    class Fences(Core):
        """Fences the first call of each shard."""

        def validate_first_token(self, verb: TheirVerb, token: Token) -> None:
            raise self.fenced(verb, token)

    assert breaches_of({}, core=Fences(fleet(1), latency=Latency.parse("0"))) == ["FEN-2a"]
