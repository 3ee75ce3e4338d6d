from __future__ import annotations

import itertools
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from conformance.core.errors import BudgetSpent, Disturbed, Unprepared
from conformance.core.fencing import Shard
from conformance.core.lifecycle import State
from conformance.fleet.machine import Machine
from conformance.fleet.needs import Needs
from fake_provider.core import Core
from fake_provider.faults import Faults
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.servicer import Servicer
from tests.pools import SLOT, ids, leased, pooled
from tests.runs import provider, states_of

if TYPE_CHECKING:
    from conformance.fleet.context import FleetContext
    from conformance.fleet.pool import Pool
    from fake_provider.fence import Token
    from fake_provider.machine import Machine as TheirMachine
    from fake_provider.machine import Verb


def test_a_machine_that_no_lease_wants_is_cleaned_up_at_once() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=2)
        await pool.prepare(lease)
        assert set(states_of(core).values()) == {"IDLE"}
        await pool.release(lease, wanted=())
        assert states_of(core) == {}
        assert not context.ledger.open

    pooled(facts)


def test_a_machine_that_is_released_in_transition_is_restored_before_the_next_lease() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        await lease.machines[0].configure(cluster="a-behaviours-own")
        await pool.release(lease, wanted={State.IDLE})
        assert states_of(core) == {lease.machines[0].id: "IDLE"}

    pooled(facts)


def test_a_machine_that_fails_is_never_leased_again_and_reported_at_the_end() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1)
        with pytest.raises(Unprepared, match="is FAILED after Create"):
            await pool.prepare(lease)
        await pool.release(lease, wanted={State.IDLE})
        assert list(pool.quarantined) == ["faulty-0001"]
        assert pool.lease(Needs(machines=1)) is None
        home = await pool.clean_up()
        assert [machine for machine, _ in home.failed] == ["faulty-0001"]
        assert home.clean

    core = provider(0)
    for machine in fleet(0, faulty=1):
        core.put(machine)
    core.faults = Faults(min_delay=0.0)
    pooled(facts, core=core)


def test_a_need_is_unavailable_after_three_failures_in_a_row() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        needs = Needs(machines=1)
        for number in range(3):
            assert pool.unavailable_reason(needs) is None, number
            lease = leased(pool, machines=1)
            with pytest.raises(Unprepared):
                await pool.prepare(lease)
            await pool.release(lease, wanted={State.IDLE})
        assert "is FAILED after Create" in str(pool.unavailable_reason(needs))
        assert pool.unavailable_reason(Needs()) is None
        assert pool.unavailable_reason(Needs(machines=1, start=SLOT)) is None

    core = provider(0, latency=0.0)
    core.latency = Latency()
    for machine in fleet(0, faulty=5):
        core.put(machine)
    core.faults = Faults(timeout=0.0, min_delay=0.0)
    pooled(facts, core=core)


def test_a_spent_budget_retires_no_machine() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=2)
        with pytest.raises(BudgetSpent):
            await pool.prepare(lease)
        await pool.release(lease, wanted={State.IDLE})
        assert pool.quarantined == {}
        await pool.clean_up()
        assert states_of(core) == {}

    pooled(facts, max_creates=1)


def test_a_machine_is_returned_to_the_state_in_which_it_was_found() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=2, start=State.CONFIGURED)
        await pool.prepare(lease)
        assert set(states_of(core).values()) == {"CONFIGURED"}
        assert (await pool.clean_up()).clean
        assert states_of(core) == {"machine-0001": "IDLE"}

    core = provider(0)
    for machine in fleet(2, idle=1):
        core.put(machine)
    pooled(facts, core=core, homes={"machine-0001": State.IDLE})


class FencesEverything(Core):
    """Rejects every token of every shard once a machine is bound."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        if token.shard and any(machine.state.name == "CONFIGURED" for machine in self.machines.values()):
            raise self.fenced(verb, token)
        super().fence(verb, machine_id, token)


def test_if_the_fence_rejects_every_token_the_cleanup_sends_none() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        await pool.prepare(leased(pool, machines=1, start=State.CONFIGURED))
        assert (await pool.clean_up()).clean
        assert states_of(core) == {}

    pooled(facts, core=FencesEverything(fleet(2), latency=Latency.parse("0")))


class AnswersNoGet(Core):
    """Answers no Get while `mute` is set."""

    mute = False

    def get(self, machine_id: str, now: float) -> TheirMachine:
        if self.mute:
            raise KeyError(machine_id)
        return super().get(machine_id, now)


def test_a_machine_that_cannot_be_read_is_not_leased_again_and_cleaned_up_later() -> None:
    served = AnswersNoGet(fleet(2), latency=Latency.parse("0"))

    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=2)
        await pool.prepare(lease)
        served.mute = True
        await pool.release(lease, wanted={State.IDLE})
        reason = "the target did not answer while the machine was being restored"
        assert pool.quarantined == dict.fromkeys(ids(lease.machines), reason)
        assert pool.lease(Needs(machines=1)) is None
        served.mute = False
        assert (await pool.clean_up()).clean
        assert states_of(core) == {}

    pooled(facts, core=served)


def test_without_delete_machines_are_returned_to_idle() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1, start=State.CONFIGURED)
        await pool.prepare(lease)
        assert (await pool.clean_up()).clean
        assert states_of(core) == {lease.machines[0].id: "IDLE"}

    pooled(facts, deletes=False)


def test_a_kept_machine_is_reported_with_its_state_and_stays_in_the_ledger() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        home = await pool.clean_up(keep=True)
        (machine,) = lease.machines
        assert home.left == ((machine.id, "kept, IDLE"),)
        assert home.kept
        assert context.ledger.open == {machine.id}
        assert states_of(core) == {machine.id: "IDLE"}

    pooled(facts)


def test_the_cleanup_does_not_read_untouched_machines() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        leased(pool, machines=4)
        assert (await pool.clean_up()).clean
        assert context.client.count == 0

    pooled(facts)


def test_one_lost_claim_shows_that_there_is_another_client() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        assert not pool.lost_claim
        machine = leased(pool, machines=2).machines[0]
        machine.record = machine.record.claim_lost()
        assert pool.lost_claim

    pooled(facts)


@pytest.mark.parametrize("unknown_id", ["no-such-machine", ""])
def test_a_nonexistent_machine_is_clean_if_the_provider_does_not_know_it(unknown_id: str) -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        stranger = Machine(unknown_id, context, number=9, home=State.UNSPECIFIED)
        pool.add_unleased(stranger)
        await stranger.create()
        assert context.ledger.open == {unknown_id}
        assert (await pool.clean_up()).clean
        assert not context.ledger.open

    pooled(facts)


def test_a_machine_is_bound_again_only_if_it_does_not_have_the_default_binding() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1, start=State.CONFIGURED)
        (machine,) = lease.machines
        for _ in range(2):
            await pool.prepare(lease)
        assert (context.meter.bill(0.0).configure, context.meter.bill(0.0).drain) == (1, 0)
        usual = core.machines[machine.id].cluster
        await machine.drive_to(State.IDLE)
        await machine.configure(cluster="a-behaviours-own")
        await pool.prepare(lease)
        assert core.machines[machine.id].cluster == machine.cluster
        assert machine.cluster not in (usual, "a-behaviours-own")

    pooled(facts)


def test_prepare_reports_a_failure_only_after_all_machines_are_at_rest() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        with pytest.raises(BudgetSpent):
            await pool.prepare(leased(pool, machines=2))
        assert list(states_of(core).values()) == ["IDLE"]

    pooled(facts, core=provider(2, latency=0.02), max_creates=1)


class StartsSometimes(Core):
    """Completes transitions only while `willing` is set."""

    willing = True

    def settle(self, machine: TheirMachine) -> TheirMachine:
        return super().settle(machine) if self.willing else self.failed(machine, "not today")


def test_a_success_resets_the_count_of_failures_in_a_row() -> None:
    served = StartsSometimes(fleet(8), latency=Latency.parse("1ms"))

    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        for served.willing in (False, False, True, False, False):
            lease = leased(pool, machines=1)
            with nullcontext() if served.willing else pytest.raises(Unprepared, match="not today"):
                await pool.prepare(lease)
            await pool.release(lease, wanted=())
            assert pool.unavailable_reason(Needs(machines=1)) is None
        with pytest.raises(Unprepared):
            await pool.prepare(leased(pool, machines=1))
        assert "no machine reaches IDLE: " in str(pool.unavailable_reason(Needs(machines=1)))

    pooled(facts, core=served)


def test_a_machine_is_clean_in_the_state_in_which_it_was_found_and_as_a_slot() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        both = leased(pool, machines=2, start=State.CONFIGURED)
        await pool.prepare(both)
        await pool.release(both, wanted=())
        assert states_of(core) == {"machine-0001": "IDLE"}
        assert not context.ledger.open
        again = leased(pool, machines=2)
        await pool.prepare(again)
        for machine in again.machines:
            await machine.drive_to(SLOT)
        await pool.release(again, wanted={State.IDLE})
        assert not context.ledger.open

    core = provider(0)
    for machine in fleet(2, idle=1):
        core.put(machine)
    pooled(facts, core=core, homes={"machine-0001": State.IDLE})


@pytest.mark.parametrize("keep", [False, True])
def test_the_cleanup_does_not_start_a_slot_that_was_found_idle(keep: bool) -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        both = leased(pool, machines=2)
        await pool.prepare(both)
        for machine in both.machines:
            await machine.drive_to(SLOT)
        home = await pool.clean_up(keep=keep)
        assert home.left == ((("machine-0001", "kept, SPECULATIVE"),) if keep else ())
        assert states_of(core) == {}
        assert context.meter.bill(0.0).create == 1

    core = provider(0)
    for machine in fleet(2, idle=1):
        core.put(machine)
    pooled(facts, core=core, homes={"machine-0001": State.IDLE})


class InventsMachines(Core):
    """Creates an unknown machine when it is called with its id."""

    def find(self, machine_id: str) -> TheirMachine:
        if machine_id not in self.machines:
            self.put(replace(fleet(1)[0], id=machine_id))
        return super().find(machine_id)


def test_a_machine_that_the_provider_invented_is_cleaned_up() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        stranger = Machine("made-up", context, number=9, home=State.UNSPECIFIED)
        pool.add_unleased(stranger)
        await stranger.create()
        assert states_of(core) == {"made-up": "IDLE"}
        home = await pool.clean_up()
        assert (home.clean, states_of(core)) == (True, {})
        assert not context.ledger.open
        assert context.meter.bill(0.0).create == 1, "one Delete is enough, without another Create"

    pooled(facts, core=InventsMachines(fleet(1), latency=Latency.parse("0")))


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE])
def test_the_cleanup_retries_while_the_provider_is_overloaded(code: grpc.StatusCode) -> None:
    calls, moods = itertools.count(), set[str]()

    class Moody(Servicer):
        """Rejects every second call once `moods` is not empty."""

        async def answer(self, context: Any, work: Any) -> Any:
            if moods and next(calls) % 2:
                await context.abort(code, "come back later")
            return await super().answer(context, work)

    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        await pool.prepare(leased(pool, machines=1, start=State.IDLE))
        moods.add("busy")
        assert (await pool.clean_up()).clean
        assert states_of(core) == {}

    pooled(facts, servicer=Moody)


def test_a_bug_in_the_kit_with_one_machine_does_not_prevent_the_cleanup_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=2, start=State.IDLE)
        await pool.prepare(lease)
        one, _ = lease.machines
        monkeypatch.setattr(one, "settle", None)
        assert [machine for machine, _ in (await pool.clean_up()).left] == [one.id]
        assert states_of(core) == {one.id: "IDLE"}
        assert context.ledger.open == {one.id}

    pooled(facts)


@pytest.mark.parametrize("given_back", [False, True])
def test_our_machine_that_another_client_seems_to_have_taken_is_reported_and_not_touched(given_back: bool) -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        (machine,) = lease.machines
        assert (await machine.delete()).ok
        other = Shard("another-client")
        assert (await context.client.create(machine.id, other.next())).ok
        with pytest.raises(Disturbed):
            await machine.read()
        pool.drop(machine)
        if given_back:
            assert (await context.client.delete(machine.id, other.next())).ok
        home = await pool.clean_up()
        assert home.left == ()
        assert [name for name, _ in home.taken] == ([] if given_back else [machine.id])
        assert all("IDLE host" in shown for _, shown in home.taken)
        assert home.clean
        assert states_of(core) == ({} if given_back else {machine.id: "IDLE"})

    pooled(facts, core=provider(1))
