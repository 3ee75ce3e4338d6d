"""Tests unanswered Creates: their machines are cleaned up or reported, and those of other clients are not touched."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar
from unittest.mock import patch

import grpc
import pytest

from conformance.core.errors import NoAnswer, Unprepared
from conformance.core.fencing import MAX_TOKEN_NUMBER, Shard, Token
from conformance.core.lifecycle import State, Verb
from conformance.core.stop import Stop
from conformance.fleet.machine_record import LastSeen, MachineRecord
from conformance.fleet.ownership import Ownership
from conformance.fleet.pool import MAX_FAILURES_IN_A_ROW
from conformance.fleet.recovery import any_applied, ask_fence, fence_off
from conformance.fleet.unanswered import UnansweredCalls
from conformance.results.result import Status
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.servicer import Servicer
from tests.pools import SLOT, leased, named, pooled
from tests.runs import judged, proof, provider, states_of
from tests.values import a_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.fleet.context import FleetContext
    from conformance.fleet.machine import Machine
    from conformance.fleet.pool import Pool
    from conformance.results.report import Report
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

CREATE_TIMEOUT_S = 0.05
"""The timeout of a Create, in seconds."""


class Late(Servicer):
    """Applies a Create at once, and answers after its timeout."""

    async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        done = await super().Create(request, context)
        await asyncio.sleep(4 * CREATE_TIMEOUT_S)
        return done


class LosesCreates(Servicer):
    """Does not answer the Creates of a run while the last value of `losing` is true."""

    losing: ClassVar[list[bool]] = [True]

    async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.losing[-1] and request.shard_id.startswith("cpc-"):
            await asyncio.sleep(60)
        return await super().Create(request, context)


@pytest.fixture
def losing() -> list[bool]:
    LosesCreates.losing = [True]
    return LosesCreates.losing


async def taken_by_a_tenant(context: FleetContext, machine: Machine, *, bound: bool = False) -> None:
    tenant = Shard("tenant")
    assert (await context.client.create(machine.id, tenant.next())).ok
    if bound:
        assert (await context.client.configure(machine.id, tenant.next(), cluster="theirs")).ok


def a_slot(facts: Callable[[Pool, Machine, Core, FleetContext], Awaitable[None]], **options: Any) -> None:
    """Runs `facts` with a leased slot in which a machine may be created."""

    async def go(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1, start=SLOT, creates=True, transitions=1)
        await facts(pool, lease.machines[0], core, context)

    pooled(go, **options)


def test_the_oldest_token_and_the_newest_epoch_of_each_shard_are_known() -> None:
    unanswered_calls = UnansweredCalls()
    for epoch, sequence in ((2, 5), (1, 9), (2, 1)):
        unanswered_calls = unanswered_calls.plus(Verb.DRAIN, Token("s", epoch, sequence))
    assert (unanswered_calls.oldest, unanswered_calls.epochs, unanswered_calls.create) == (
        [Token("s", 1, 9)],
        {"s": 2},
        False,
    )
    unanswered_calls = unanswered_calls.plus(Verb.CREATE, Token("t", 1, 1))
    assert unanswered_calls.create
    record = MachineRecord(seen=LastSeen(state=SLOT), ownership=Ownership(), unanswered=unanswered_calls)
    assert not record.claimed().unanswered.create
    assert record.claimed().unanswered.epochs == {"s": 2, "t": 1}
    unanswered_calls = record.fenced_off(live=False).unanswered
    assert (bool(unanswered_calls), unanswered_calls.oldest, unanswered_calls.create) == (False, [], False)
    assert UnansweredCalls.of_dead_run({"s": 4}).oldest == [Token("s", 0, 0)], "the tokens of a dead run are unknown"


def test_a_machine_that_a_tenant_has_bound_is_not_drained_to_determine_its_owner(losing: list[bool]) -> None:
    async def facts(pool: Pool, machine: Machine, core: Core, context: FleetContext) -> None:
        await machine.create(timeout=CREATE_TIMEOUT_S)
        await taken_by_a_tenant(context, machine, bound=True)
        home = await pool.clean_up()
        assert states_of(core) == {machine.id: "CONFIGURED"}
        assert named(home) == {machine.id}

    a_slot(facts, servicer=LosesCreates)


def test_a_tenants_machine_is_not_ours_because_of_an_earlier_life_of_its_slot(losing: list[bool]) -> None:
    async def facts(pool: Pool, machine: Machine, core: Core, context: FleetContext) -> None:
        losing.append(False)
        await machine.drive_to(State.IDLE)
        await machine.drive_to(SLOT)
        losing.append(True)
        await machine.create(timeout=CREATE_TIMEOUT_S)
        await taken_by_a_tenant(context, machine)
        await pool.clean_up()
        assert states_of(core) == {machine.id: "IDLE"}

    a_slot(facts, servicer=LosesCreates)


def test_a_tenants_machine_is_not_taken_over_in_the_middle_of_a_run(losing: list[bool]) -> None:
    async def facts(pool: Pool, machine: Machine, core: Core, context: FleetContext) -> None:
        await machine.create(timeout=CREATE_TIMEOUT_S)
        await taken_by_a_tenant(context, machine)
        losing.append(False)
        with pytest.raises(Exception, match="the kit's unanswered calls were not applied"):
            await machine.drive_to(State.CONFIGURED)
        assert states_of(core) == {machine.id: "IDLE"}

    a_slot(facts, servicer=LosesCreates)


class RejectsOnce(Servicer):
    """Rejects the first Drain of the last epoch with UNAVAILABLE."""

    asked = False

    async def Drain(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.shard_epoch == MAX_TOKEN_NUMBER and not self.asked:
            self.asked = True
            await context.abort(grpc.StatusCode.UNAVAILABLE, "come back later")
        return await super().Drain(request, context)


def test_an_unanswered_call_of_the_last_epoch_is_fenced_off_despite_an_overload() -> None:
    async def facts(pool: Pool, machine: Machine, core: Core, context: FleetContext) -> None:
        await machine.drive_to(State.IDLE)
        machine.record = machine.record.not_answered(Verb.CONFIGURE, Token("of the last epoch", MAX_TOKEN_NUMBER, 7))
        assert (await pool.clean_up()).clean
        assert states_of(core) == {}

    a_slot(facts, servicer=RejectsOnce)


def test_a_slot_with_a_create_in_flight_is_not_clean() -> None:
    arrived: list[str] = []

    class Later(Servicer):
        """Applies a Create later, after its caller has given up."""

        async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
            async def apply_later() -> None:
                await over.wait()
                try:
                    self.mutate(self.create(request))
                except Exception as refused:
                    arrived.append(str(refused))

            works.append(asyncio.create_task(apply_later()))
            await asyncio.sleep(60)

    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1, start=SLOT, creates=True, transitions=1)
        await lease.machines[0].create(timeout=CREATE_TIMEOUT_S)
        await pool.release(lease, wanted={State.IDLE})
        assert pool.surplus(idle=0, bound=True) == [], "no machine lives that needs a cleanup"
        assert (await pool.clean_up()).clean
        over.set()
        await asyncio.gather(*works)
        assert states_of(core) == {}
        assert "is not newer than its mark" in arrived[0]

    over, works = asyncio.Event(), list[asyncio.Task[None]]()
    pooled(facts, servicer=Later)


def test_without_a_fence_the_machine_of_an_unanswered_create_is_reported() -> None:
    class WithoutFence(Core):
        def fence(self, *call: Any) -> None:
            pass

    async def facts(pool: Pool, machine: Machine, core: Core, context: FleetContext) -> None:
        await machine.create(timeout=CREATE_TIMEOUT_S)
        home = await pool.clean_up()
        assert states_of(core) == {machine.id: "IDLE"}
        assert named(home) == {machine.id}

    a_slot(facts, core=WithoutFence(fleet(1), latency=Latency.parse("0")), servicer=Late)


@pytest.mark.parametrize("code", [grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED])
def test_a_machine_whose_create_was_applied_and_answered_with_an_error_is_clean_or_reported(
    code: grpc.StatusCode,
) -> None:
    class AppliesAndFails(Servicer):
        async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
            await super().Create(request, context)
            await context.abort(code, "not in time")

    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1)
        with pytest.raises(Unprepared):
            await pool.prepare(lease)
        home = await pool.clean_up()
        assert states_of(core).keys() == named(home)
        # An expired deadline is not an answer. A rejection is one, so the machine may belong to another client.
        assert bool(named(home)) == (code is grpc.StatusCode.ABORTED)

    pooled(facts, servicer=AppliesAndFails)


def test_a_create_whose_connection_a_stop_has_closed_is_unanswered() -> None:
    core = provider(4)

    async def creates(trial: Trial) -> None:
        async with trial.connections(1) as [other]:
            await trial.machine.create(client=other)

    async def go() -> Report:
        stop = Stop()

        class Stopped(Late):
            async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
                stop("interrupted")
                return await super().Create(request, context)

        plan = [proof(creates, machines=1, start=SLOT, creates=True, transitions=2)]
        return await judged(plan, core, stop=stop, serve={"servicer": Stopped})

    report = asyncio.run(go())
    assert (report.stopped, report.exit_code) == ("interrupted", 3)
    assert report.home.clean
    assert (states_of(core), named(report.home)) == ({}, set())


@pytest.mark.parametrize("deletes", [True, False])
def test_a_machine_in_its_original_state_with_an_unanswered_call_is_left_to_the_final_cleanup(deletes: bool) -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        (machine,) = lease.machines
        await pool.release(lease, wanted={State.IDLE})
        machine.record = machine.record.not_answered(Verb.CONFIGURE, machine.shard.next())
        # If the run returned it now, it would be surplus again at once, and the run would not end.
        assert pool.surplus(idle=0, bound=False) == ([machine] if deletes else [])
        assert (await pool.clean_up()).clean

    pooled(facts, deletes=deletes)


def test_a_lost_call_is_fenced_off_before_the_machine_is_leased_again() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        (machine,) = lease.machines
        late = Shard("late").token(epoch=4, sequence=1)
        machine.record = machine.record.not_answered(Verb.CONFIGURE, late)
        await pool.release(lease, wanted={State.IDLE})
        assert not machine.unanswered
        arrives_late = await context.client.configure(machine.id, late, cluster="c")
        assert arrives_late.fenced
        assert (await pool.clean_up()).clean

    pooled(facts)


def test_a_provider_that_never_answers_creates_is_found_with_few_machines(losing: list[bool]) -> None:
    tried = set[str]()

    class Counts(LosesCreates):
        """Notes the machines of all Creates."""

        async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
            tried.add(request.machine_id)
            return await super().Create(request, context)

    plan = [proof(behaviour_id=f"TST-1{letter}", machines=1) for letter in "abcde"]
    report = asyncio.run(judged(plan, jobs=1, rpc_timeout=CREATE_TIMEOUT_S, serve={"servicer": Counts}))
    assert {result.status for result in report.results} == {Status.ERROR}
    assert len(tried) == MAX_FAILURES_IN_A_ROW
    assert report.home.clean


class LostFence:
    """Answers a Drain after its connection was lost a few times."""

    def __init__(self, *, losses: int) -> None:
        self.losses = losses
        self.tokens: list[Token] = []

    async def drain(self, token: Token) -> Call:
        self.tokens.append(token)
        lost = len(self.tokens) <= self.losses
        code = grpc.StatusCode.UNAVAILABLE if lost else grpc.StatusCode.NOT_FOUND
        return replace(a_call("Drain", code=code), token=token, answered=not lost)


def test_a_call_that_fences_off_is_sent_again_after_a_lost_connection() -> None:
    fence = LostFence(losses=2)
    call = asyncio.run(ask_fence("m1", fence.drain, Shard("s").next, delays=()))
    assert call.answered
    assert len({token.numbers for token in fence.tokens}) == 3


class BusyFence:
    """Rejects the first Drain with each token for load, and answers the next one with `then`."""

    def __init__(self, then: grpc.StatusCode) -> None:
        self.then = then
        self.tokens: list[Token] = []

    async def drain(self, token: Token) -> Call:
        known = token in self.tokens
        self.tokens.append(token)
        return replace(a_call("Drain", code=self.then if known else grpc.StatusCode.UNAVAILABLE), token=token)


def lost_create() -> UnansweredCalls:
    return UnansweredCalls().plus(Verb.CREATE, Token("s", 1, 1))


def asks(fence: BusyFence | LostFence) -> Callable[[Callable[[], Token]], Awaitable[Call]]:
    async def ask(token: Callable[[], Token]) -> Call:
        return await ask_fence("m1", fence.drain, token, delays=())

    return ask


def test_a_question_that_was_rejected_for_load_and_then_fenced_proves_nothing() -> None:
    with pytest.raises(NoAnswer, match="its retry was fenced"):
        asyncio.run(any_applied(lost_create(), asks(BusyFence(grpc.StatusCode.FAILED_PRECONDITION))))


def test_a_call_that_the_fence_knows_is_fenced_off() -> None:
    fence, shard = BusyFence(grpc.StatusCode.FAILED_PRECONDITION), Shard("s")
    asyncio.run(fence_off(lost_create(), asks(fence), own=(shard,)))
    assert len(set(fence.tokens)) == 1


def test_another_shard_may_prove_that_a_call_was_applied() -> None:
    async def ask(token: Callable[[], Token]) -> Call:
        code = grpc.StatusCode.FAILED_PRECONDITION
        if token().shard == "s":
            return replace(a_call("Drain", code=grpc.StatusCode.UNAVAILABLE), token=token(), token_spent=True)
        return replace(a_call("Drain", code=code), token=token())

    assert asyncio.run(any_applied(lost_create().plus(Verb.CREATE, Token("t", 1, 1)), ask))


def test_a_machine_of_unknown_owner_is_reported_and_not_touched(losing: list[bool]) -> None:
    async def facts(pool: Pool, machine: Machine, core: Core, context: FleetContext) -> None:
        await machine.create(timeout=CREATE_TIMEOUT_S)
        await taken_by_a_tenant(context, machine)
        machine.record = machine.record.asked_in_vain()
        home = await pool.clean_up()
        assert states_of(core) == {machine.id: "IDLE"}
        assert named(home) == {machine.id}

    a_slot(facts, servicer=LosesCreates)


def test_a_lost_question_is_remembered(losing: list[bool]) -> None:
    async def facts(pool: Pool, machine: Machine, core: Core, context: FleetContext) -> None:
        await machine.create(timeout=CREATE_TIMEOUT_S)
        await taken_by_a_tenant(context, machine)
        lost = NoAnswer("Drain was not answered")
        with patch("conformance.fleet.machine.any_applied", side_effect=lost), pytest.raises(NoAnswer):
            await machine.may_be_ours()
        with pytest.raises(NoAnswer, match="before"):
            await machine.may_be_ours()
        assert machine.unanswered.plus(Verb.DRAIN, Token("s", 1, 9)).asked_in_vain
        assert not machine.record.fenced_off(live=False).unanswered.asked_in_vain

    a_slot(facts, servicer=LosesCreates)


def test_a_question_about_one_token_is_not_repeated_after_a_lost_connection() -> None:
    fence = LostFence(losses=1)
    with pytest.raises(NoAnswer):  # a second answer could be the consequence of the lost call
        asyncio.run(ask_fence("m1", fence.drain, lambda: Token("s", 1, 1), delays=()))
    assert fence.tokens == [Token("s", 1, 1)]
