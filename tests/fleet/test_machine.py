from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.errors import BudgetSpent, Disturbed, NoAnswer, Unprepared
from conformance.core.fencing import Shard
from conformance.core.lifecycle import State, Verb
from conformance.core.timeouts import Patience
from conformance.fleet.ledger import read
from conformance.fleet.machine import FIRST_POLL, Machine
from conformance.fleet.ownership import Owner
from conformance.fleet.policy import Policy
from fake_provider.server import serving
from fake_provider.servicer import Servicer
from tests.clockwork import SettlingClient, with_virtual_clock
from tests.runs import fleet_context, machines_of, provider, states_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.fleet.context import FleetContext
    from fake_provider.core import Core


def on_a_machine(
    facts: Callable[[Machine, FleetContext, Core], Awaitable[None]], *, serve: Any = None, **options: Any
) -> None:
    async def go() -> None:
        core = provider(1, **options)
        async with serving(core, **(serve or {})) as address, fleet_context(address) as context:
            await facts(machines_of(context, core)[0], context, core)

    asyncio.run(go())


def test_a_machine_is_driven_by_the_shortest_path() -> None:
    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        for state in (State.IDLE, State.CONFIGURED, State.SPECULATIVE, State.CONFIGURED, State.IDLE):
            await machine.drive_to(state)
            assert machine.state is state
        bill = context.meter.bill(context.client.now())
        assert (bill.create, bill.configure, bill.drain, bill.delete) == (2, 2, 2, 1)
        assert context.meter.alive == 1
        await machine.drive_to(State.SPECULATIVE)
        assert not machine.live
        assert context.meter.alive == 0

    on_a_machine(facts, latency=0.002)


def test_a_delete_that_is_unimplemented_counts_if_the_machine_certainly_rested_in_idle() -> None:
    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        await machine.drive_to(State.CONFIGURED)
        await machine.delete()
        await machine.drive_to(State.IDLE)
        await asyncio.gather(machine.delete(), machine.drain())
        await machine.configure()
        await machine.delete()  # no Get has shown what the Configure did
        await machine.drive_to(State.IDLE)
        assert not machine.record.calls.delete_unimplemented
        await machine.delete()
        assert machine.record.calls.delete_unimplemented

    on_a_machine(facts, latency=0.002, deletes=False)


def test_every_mutating_call_is_in_the_ledger_before_it_is_sent() -> None:
    written: list[bool] = []

    class ReadsLedger(Servicer):
        """Reads the ledger at every call."""

        def mutate(self, request: Any) -> pb.TransitionAck:
            if not request.token.shard.startswith("claim-"):
                line = f'"intend": "{request.verb.capitalize()}", "machine": "{request.machine_id}"'
                written.append(line in ledgers[0].read_text(encoding="utf-8"))
            return super().mutate(request)

    ledgers: list[Any] = []

    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        ledgers.append(context.ledger.path)
        await machine.drive_to(State.CONFIGURED)
        await machine.drive_to(State.SPECULATIVE)

    on_a_machine(facts, serve={"servicer": ReadsLedger})
    assert written == [True] * 4


def test_a_create_beyond_the_budget_is_never_sent() -> None:
    async def go() -> None:
        core = provider(1)
        async with serving(core) as address, fleet_context(address, max_creates=0) as context:
            with pytest.raises(BudgetSpent):
                await machines_of(context, core)[0].create()
            assert context.client.count == 0
            assert read(context.ledger.path).entries == ()

    asyncio.run(go())


def test_of_two_runs_that_race_for_a_slot_one_wins_and_the_other_gives_it_up() -> None:
    async def go(latency: float) -> None:
        core = provider(1, latency=latency)
        async with (
            serving(core) as address,
            fleet_context(address, run="cpc-one") as one,
            fleet_context(address, run="cpc-two") as two,
        ):
            rivals = [machines_of(context, core)[0] for context in (one, two)]
            for rival in rivals:
                await rival.settle()
            outcomes = await asyncio.gather(*(rival.create() for rival in rivals), return_exceptions=True)
            lost = [rival for rival, outcome in zip(rivals, outcomes, strict=True) if isinstance(outcome, Disturbed)]
            (winner,) = [rival for rival in rivals if rival not in lost]
            (loser,) = lost
            assert winner.live
            assert not loser.live
            assert [context.meter.alive for context in (one, two)] == [int(r is winner) for r in rivals]
            contexts = dict(zip(rivals, (one, two), strict=True))
            assert not contexts[loser].ledger.open, "a sweep must not touch it"
            assert contexts[winner].ledger.open == {"machine-0001"}
            await winner.drive_to(State.CONFIGURED)
            assert states_of(core) == {"machine-0001": "CONFIGURED"}

    for _ in range(5):
        asyncio.run(go(latency=0.02))


def test_concurrent_creates_of_one_run_start_one_machine_that_the_run_owns() -> None:
    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        calls = await asyncio.gather(*(machine.create() for _ in range(8)))
        assert len({call.operation_id for call in calls if call.ok}) == 1
        assert machine.live
        assert context.meter.bill(0.0).create == 1

    on_a_machine(facts, latency=0.01)


def test_a_machine_that_another_client_started_is_not_ours() -> None:
    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        await machine.settle()
        async with context.client.another() as foreign:
            await foreign.create(machine.id, machine.shard.token(epoch=9, sequence=1))
        with pytest.raises(Disturbed, match="is IDLE: another client has started it"):
            await machine.drive_to(State.IDLE)
        assert states_of(core) == {machine.id: "IDLE"}

    on_a_machine(facts)


def test_if_the_provider_is_blamed_the_change_is_shown() -> None:
    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        await machine.settle()
        machine.policy = Policy(blames_provider=True)
        async with context.client.another() as foreign:
            await foreign.create(machine.id, machine.shard.token(epoch=9, sequence=1))
        assert (await machine.read()).state == pb.MACHINE_STATE_IDLE

    on_a_machine(facts)


@pytest.mark.parametrize("verb", list(Verb))
def test_a_machine_of_another_client_is_not_driven_even_if_the_provider_is_blamed(verb: Verb) -> None:
    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        await machine.settle()
        machine.policy = Policy(blames_provider=True)
        await context.client.create(machine.id, Shard("foreign").next())
        theirs = core.machines[machine.id]
        with pytest.raises(Disturbed, match="is IDLE: another client has started it"):
            await machine.call(verb)
        assert (core.machines[machine.id], machine.live) == (theirs, False)

    on_a_machine(facts)


def test_our_machine_that_another_client_has_bound_is_reported_once_and_cleaned_up() -> None:
    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        await machine.drive_to(State.IDLE)
        async with context.client.another() as foreign:
            await foreign.configure(machine.id, Shard("foreign").next(), cluster="theirs")
        with pytest.raises(Disturbed, match=r"another client has bound .* to 'theirs'"):
            await machine.settle()
        await machine.drive_to(State.SPECULATIVE)
        assert (states_of(core), machine.ownership.owner is Owner.OTHER_CLIENT) == ({}, False), (
            "states_of leaves slots out"
        )

    on_a_machine(facts)


def test_a_machine_that_was_found_idle_and_bound_by_another_client_is_given_up() -> None:
    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        await machine.drive_to(State.IDLE)
        found = Machine(machine.id, context, number=2, home=State.IDLE)
        await found.drain()
        async with context.client.another() as foreign:
            await foreign.configure(machine.id, Shard("foreign").next(), cluster="theirs")
        with pytest.raises(Disturbed, match="another client has bound"):
            await found.settle()
        assert (states_of(core), found.ownership.owner is Owner.OTHER_CLIENT) == ({machine.id: "CONFIGURED"}, True)

    on_a_machine(facts)


def test_a_binding_to_any_cluster_that_we_used_is_ours() -> None:
    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        await machine.drive_to(State.IDLE)
        await machine.configure(cluster="ours, oddly named")
        assert (await machine.settle()).state is State.CONFIGURED

    on_a_machine(facts)


def test_a_slot_that_another_client_takes_during_the_ledger_write_is_not_driven() -> None:
    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        await machine.settle()
        intend = context.ledger.write_intent

        async def slow(*given: Any, **named: Any) -> None:
            await intend(*given, **named)
            await context.client.create(machine.id, Shard("foreign").next())  # while the disk is busy

        object.__setattr__(context.ledger, "write_intent", slow)
        with pytest.raises(Disturbed, match="is IDLE: another client has started it"):
            await machine.configure()
        assert states_of(core) == {machine.id: "IDLE"}

    on_a_machine(facts)


def test_a_machine_that_another_client_starts_after_our_delete_is_not_ours() -> None:
    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        await machine.settle()
        await machine.create()
        await machine.delete()  # instant, without a read in between
        await context.client.create(machine.id, Shard("foreign").next())
        with pytest.raises(Disturbed, match="is IDLE: another client has started it"):
            await machine.settle()

    on_a_machine(facts)


def test_a_machine_that_cannot_reach_the_state_is_unprepared() -> None:
    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        await machine.drive_to(State.IDLE)
        with pytest.raises(Unprepared, match="Delete of machine-0001, IDLE, answered UNIMPLEMENTED"):
            await machine.drive_to(State.SPECULATIVE)

    on_a_machine(facts, deletes=False)


def test_a_cancelled_call_is_still_awaited_and_recorded() -> None:
    sent = asyncio.Event()

    class Slow(Servicer):
        """Answers after 20 ms."""

        async def answer(self, context: Any, work: Any) -> Any:
            sent.set()
            await asyncio.sleep(0.02)
            return await super().answer(context, work)

    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        task = asyncio.create_task(machine.create())
        await sent.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await context.client.wait_until_idle()
        assert machine.live
        assert context.meter.alive == 1

    on_a_machine(facts, serve={"servicer": Slow})


class Late(Servicer):
    """Applies calls at once and answers 100 ms later."""

    async def answer(self, context: Any, work: Any) -> Any:
        done = await super().answer(context, work)
        await asyncio.sleep(0.1)
        return done


def test_an_unanswered_call_is_recorded_and_fenced_off() -> None:
    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        await machine.settle()
        call = await machine.create(timeout=0.02)
        assert not call.answered
        assert machine.unanswered.epochs == {machine.shard.id: 1}
        await machine.fence_off()
        assert not machine.unanswered
        assert machine.live, "the machine that it started is ours"
        late = await context.client.create(machine.id, machine.shard.token(epoch=1, sequence=99))
        assert late.fenced, "calls of the old epoch are fenced"
        await machine.drive_to(State.SPECULATIVE)  # calls of the next epoch are not fenced

    on_a_machine(facts, serve={"servicer": Late})


# The pauses between reads, on a virtual clock.


@pytest.mark.parametrize("seconds", [0.001, 0.05, 0.2, 1.0, 7.3, 60.0, 300.0, 3600.0])
def test_the_end_of_a_transition_is_seen_at_most_5_percent_late(seconds: float) -> None:
    client = SettlingClient(settles_at=seconds)

    async def facts(machine: Machine) -> None:
        watch = await machine.settle()
        assert watch.state is State.IDLE
        assert seconds <= watch.seconds <= seconds * 1.05 + FIRST_POLL

    with_virtual_clock(client, facts)


def test_a_long_transition_needs_few_reads() -> None:
    client = SettlingClient(settles_at=3600.0)

    async def facts(machine: Machine) -> None:
        await machine.settle()

    with_virtual_clock(client, facts)
    assert len(client.looks) < 400


def test_reads_of_one_machine_do_not_overlap() -> None:
    client = SettlingClient(settles_at=5.0, answers_in=0.3)

    async def facts(machine: Machine) -> None:
        await asyncio.gather(*(machine.settle() for _ in range(10)), *(machine.get() for _ in range(10)))

    with_virtual_clock(client, facts)
    assert client.max_gets == 1


def test_settle_ends_after_its_patience_without_an_error() -> None:
    client = SettlingClient(settles_at=1e9)

    async def facts(machine: Machine) -> None:
        watch = await machine.settle(patience=20.0)
        assert watch.state is State.CREATING
        assert 20.0 <= watch.seconds <= 21.0

    with_virtual_clock(client, facts)


def test_a_machine_that_does_not_settle_is_unprepared_after_its_patience() -> None:
    client = SettlingClient(settles_at=1e9)

    async def facts(machine: Machine) -> None:
        with pytest.raises(Unprepared, match=r"is still CREATING after 300\.0 s"):
            await machine.drive_to(State.IDLE)

    with_virtual_clock(client, facts, patience=Patience(create=300.0))


@pytest.mark.parametrize("verb", list(Verb))
def test_a_machine_has_a_call_for_each_verb_with_a_token_of_its_shard(verb: Verb) -> None:
    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        call = await machine.call(verb)
        assert call.rpc == verb.value
        assert call.token is not None
        assert call.token.shard == machine.shard.id
        assert call.token.sequence < (await machine.call(verb)).request.sequence_number

    on_a_machine(facts)


def test_a_machine_whose_acks_are_empty_is_ours_and_cleaned_up() -> None:
    class Nameless(Servicer):
        """Applies calls and answers with empty acks."""

        def ack(self, ack: Any) -> pb.TransitionAck:
            return pb.TransitionAck()

    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        for _ in range(2):
            await machine.drive_to(State.IDLE)
            assert machine.live
            await machine.drive_to(State.SPECULATIVE)
        assert context.meter.bill(context.client.now()).create == 2
        assert states_of(core) == {}

    on_a_machine(facts, serve={"servicer": Nameless})


def test_a_reading_of_another_machine_does_not_change_this_one() -> None:
    class Confused(Servicer):
        """Shows another slot for every Get of a live machine."""

        async def Get(self, request: pb.MachineRef, context: Any) -> pb.Machine:  # noqa: N802
            shown = await super().Get(request, context)
            slot = pb.Machine(id="another", state=pb.MACHINE_STATE_SPECULATIVE)
            return shown if shown.state == pb.MACHINE_STATE_SPECULATIVE else slot

    async def facts(machine: Machine, context: FleetContext, core: Core) -> None:
        await machine.create()
        with pytest.raises(NoAnswer, match="Get of machine-0001 showed another machine, 'another'"):
            await machine.settle()
        assert machine.live
        assert context.ledger.open == {"machine-0001"}

    on_a_machine(facts, serve={"servicer": Confused})
