from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from conformance.behaviour import Needs
from conformance.errors import BudgetSpent, Unprepared
from conformance.lifecycle import State
from conformance.machine import Machine
from conformance.pool import Lease, Pool
from fake_provider.core import Core
from fake_provider.faults import Faults
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.server import serving
from tests.runs import machines_of, provider, states_of, yard_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.yard import Yard
    from fake_provider.fence import Token
    from fake_provider.machine import Machine as TheirMachine
    from fake_provider.machine import Verb

SLOT = State.SPECULATIVE


def pooled(
    facts: Callable[[Pool, Core, Yard], Awaitable[None]],
    *,
    machines: int = 4,
    most: int = 4,
    core: Core | None = None,
    max_creates: int | None = None,
    deletes: bool = True,
    homes: dict[str, State] | None = None,
) -> None:
    async def go() -> None:
        served = core or provider(machines, deletes=deletes)
        async with serving(served) as address, yard_at(address, max_creates=max_creates, deletes=deletes) as yard:
            known = [
                Machine(machine.id, yard, number=machine_number, home=(homes or {}).get(machine.id, SLOT))
                for machine_number, machine in enumerate(machines_of(yard, served), 1)
            ]
            await facts(Pool(known, yard, most=most), served, yard)

    asyncio.run(go())


def leased(pool: Pool, **needs: Any) -> Lease:
    lease = pool.lease(Needs(**needs))
    assert lease is not None
    return lease


def ids(machines: tuple[Machine, ...]) -> set[str]:
    return {machine.id for machine in machines}


def test_machines_are_leased_all_or_none() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        first = leased(pool, machines=3, transitions=1)
        assert pool.lease(Needs(machines=2, transitions=1)) is None
        second = leased(pool, machines=1, transitions=1)
        assert len(ids(first.machines) | ids(second.machines)) == 4
        assert pool.lease(Needs(machines=1)) is None
        assert yard.client.count == 0, "a lease sends nothing"

    pooled(facts)


def test_a_behaviour_without_machines_can_always_be_had() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        leased(pool, machines=4)
        assert leased(pool).machines == ()

    pooled(facts)


def test_no_more_are_leased_to_live_than_may_live_and_slots_are_free() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        leased(pool, machines=2, start=SLOT)
        leased(pool, machines=2, transitions=1)
        assert pool.lease(Needs(machines=1, transitions=1)) is None
        assert pool.lease(Needs(machines=1, start=SLOT, creates=True, transitions=1)) is None

    pooled(facts, machines=8, most=2)


def test_a_slot_that_was_ours_is_waited_for_rather_than_take_one_that_may_be_anybodys() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        first = leased(pool, machines=1, transitions=1)
        assert pool.lease(Needs(machines=1, start=SLOT)) is None
        await pool.prepare(first)
        await pool.release(first, wanted=())
        assert leased(pool, machines=1, start=SLOT).machines == first.machines

    pooled(facts, machines=8, most=2)


def test_a_machine_that_lives_is_leased_again_before_another_is_started() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        first = leased(pool, machines=1)
        await pool.prepare(first)
        await pool.release(first, wanted={State.IDLE})
        again = leased(pool, machines=1)
        assert again.machines == first.machines
        await pool.prepare(again)
        assert yard.meter.bill(0.0).create == 1

    pooled(facts)


def test_a_machine_that_no_lease_wants_goes_home_at_once() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        lease = leased(pool, machines=2)
        await pool.prepare(lease)
        assert set(states_of(core).values()) == {"IDLE"}
        await pool.release(lease, wanted=())
        assert states_of(core) == {}
        assert not yard.ledger.open

    pooled(facts)


def test_a_machine_that_is_left_on_its_way_is_restored_before_the_next_lease() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        await lease.machines[0].configure(cluster="a-behaviours-own")
        await pool.release(lease, wanted={State.IDLE})
        assert states_of(core) == {lease.machines[0].id: "IDLE"}

    pooled(facts)


def test_a_machine_that_is_to_be_given_back_counts_until_it_is() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        slot = leased(pool, machines=1, start=SLOT)
        warm = leased(pool, machines=2, transitions=1)
        await pool.prepare(warm)
        await pool.release(warm, wanted={State.IDLE})
        leased(pool, machines=1, start=SLOT)  # one of the warm ones, on its way back
        await pool.release(slot, wanted={State.IDLE})
        leased(pool, machines=1, transitions=1)  # the other
        assert pool.lease(Needs(machines=1, transitions=1)) is None, "that would be a third one alive"

    pooled(facts, machines=3, most=2)


def test_a_machine_that_lives_is_given_back_where_only_slots_will_do() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        warm = leased(pool, machines=2)
        await pool.prepare(warm)
        await pool.release(warm, wanted={State.IDLE})
        everything = leased(pool, machines=2, start=SLOT)
        await pool.prepare(everything)
        assert states_of(core) == {}

    pooled(facts, machines=2, most=2)


def test_a_machine_that_fails_is_never_leased_again_and_named_at_the_end() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        lease = leased(pool, machines=1)
        with pytest.raises(Unprepared, match="the cloud refused"):
            await pool.prepare(lease)
        await pool.release(lease, wanted={State.IDLE})
        assert list(pool.quarantined) == ["faulty-0001"]
        assert pool.lease(Needs(machines=1)) is None
        home = await pool.home()
        assert [machine for machine, _ in home.left] == ["faulty-0001"]
        assert not home.clean

    core = provider(0)
    for machine in fleet(0, faulty=1):
        core.put(machine)
    core.faults = Faults(notice=0.0)
    pooled(facts, core=core)


def test_one_failure_gives_up_no_hope_and_three_in_a_row_do() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        needs = Needs(machines=1)
        for number in range(3):
            assert pool.hopeless(needs) is None, number
            lease = leased(pool, machines=1)
            with pytest.raises(Unprepared):
                await pool.prepare(lease)
            await pool.release(lease, wanted={State.IDLE})
        assert "the cloud refused" in str(pool.hopeless(needs))
        assert pool.hopeless(Needs()) is None
        assert pool.hopeless(Needs(machines=1, start=SLOT)) is None

    core = provider(0, latency=0.0)
    core.latency = Latency()
    for machine in fleet(0, faulty=5):
        core.put(machine)
    core.faults = Faults(notice=0.0)
    pooled(facts, core=core)


def test_a_budget_that_is_spent_takes_no_machine_out_of_the_game() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        lease = leased(pool, machines=2)
        with pytest.raises(BudgetSpent):
            await pool.prepare(lease)
        await pool.release(lease, wanted={State.IDLE})
        assert pool.quarantined == {}
        await pool.home()
        assert states_of(core) == {}

    pooled(facts, max_creates=1)


def test_home_is_where_a_machine_was_found() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        lease = leased(pool, machines=2, start=State.CONFIGURED)
        await pool.prepare(lease)
        assert set(states_of(core).values()) == {"CONFIGURED"}
        assert (await pool.home()).clean
        assert states_of(core) == {"machine-0001": "IDLE"}

    core = provider(0)
    for machine in fleet(2, idle=1):
        core.put(machine)
    pooled(facts, core=core, homes={"machine-0001": State.IDLE})


class Jammed(Core):
    """Refuses every token of every shard, once somebody has bound a machine."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        if token.shard and any(machine.state.name == "CONFIGURED" for machine in self.machines.values()):
            raise self.fenced(verb, token)
        super().fence(verb, machine_id, token)


def test_who_is_refused_whatever_the_token_comes_home_without_one() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        await pool.prepare(leased(pool, machines=1, start=State.CONFIGURED))
        assert (await pool.home()).clean
        assert states_of(core) == {}

    pooled(facts, core=Jammed(fleet(2), latency=Latency.parse("0")))


class Mute(Core):
    """Answers no Get while it is mute."""

    mute = False

    def get(self, machine_id: str, now: float) -> TheirMachine:
        if self.mute:
            raise KeyError(machine_id)
        return super().get(machine_id, now)


def test_what_cannot_be_looked_at_is_leased_no_more_and_comes_home_when_it_can() -> None:
    served = Mute(fleet(2), latency=Latency.parse("0"))

    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        lease = leased(pool, machines=2)
        await pool.prepare(lease)
        served.mute = True
        await pool.release(lease, wanted={State.IDLE})
        reason = "the target did not answer when it was to be brought back"
        assert pool.quarantined == dict.fromkeys(ids(lease.machines), reason)
        assert pool.lease(Needs(machines=1)) is None
        served.mute = False
        assert (await pool.home()).clean
        assert states_of(core) == {}

    pooled(facts, core=served)


def test_home_of_a_provider_without_delete_is_idle() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        lease = leased(pool, machines=1, start=State.CONFIGURED)
        await pool.prepare(lease)
        assert (await pool.home()).clean
        assert states_of(core) == {lease.machines[0].id: "IDLE"}

    pooled(facts, deletes=False)


def test_what_is_kept_is_named_with_its_state_and_stays_in_the_ledger() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        home = await pool.home(keep=True)
        (machine,) = lease.machines
        assert home.left == ((machine.id, "kept, IDLE"),)
        assert home.kept
        assert yard.ledger.open == {machine.id}
        assert states_of(core) == {machine.id: "IDLE"}

    pooled(facts)


def test_what_was_never_touched_is_not_asked_for_at_the_end() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        leased(pool, machines=4)
        assert (await pool.home()).clean
        assert yard.client.count == 0

    pooled(facts)


def test_one_machine_at_which_somebody_else_was_faster_is_enough_to_know_of_them() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        assert not pool.lost
        leased(pool, machines=2).machines[0].beaten = True
        assert pool.lost

    pooled(facts)


@pytest.mark.parametrize("nobody", ["no-such-machine", ""])
def test_a_machine_that_never_was_is_home_when_nobody_knows_it(nobody: str) -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        stranger = Machine(nobody, yard, number=9, home=State.UNSPECIFIED)
        pool.stranger(stranger)
        await stranger.create()
        assert yard.ledger.open == {nobody}
        assert (await pool.home()).clean
        assert not yard.ledger.open

    pooled(facts)


def test_slots_that_somebody_gave_back_are_found_again() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        leased(pool, machines=4)
        core.put(fleet(5)[4])
        await pool.refresh(lambda machine_id: Machine(machine_id, yard, number=9))
        assert ids(leased(pool, machines=1, transitions=1).machines) == {"machine-0005"}

    pooled(facts, most=5)


def test_what_is_found_again_comes_to_what_there_was() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        await pool.prepare(leased(pool, machines=2, transitions=1))
        core.put(fleet(5)[4])
        await pool.refresh(lambda machine_id: Machine(machine_id, yard, number=9))
        assert len(ids(leased(pool, machines=3, transitions=1).machines)) == 3
        assert (await pool.home()).clean
        assert states_of(core) == {}

    pooled(facts, most=5)


def test_there_are_slots_as_long_as_enough_are_free() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        assert pool.has_slots(Needs(machines=4, start=SLOT))
        assert not pool.has_slots(Needs(machines=5, start=SLOT))
        await pool.prepare(leased(pool, machines=1))
        assert not pool.has_slots(Needs(machines=4, start=SLOT))

    pooled(facts)


def test_where_nothing_can_be_deleted_no_machine_makes_place_for_a_slot() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        warm = leased(pool, machines=2)
        await pool.prepare(warm)
        await pool.release(warm, wanted={State.IDLE})
        assert pool.lease(Needs(machines=1, start=SLOT)) is None

    pooled(facts, machines=2, most=2, deletes=False)


def test_machines_that_went_home_are_replaced_when_a_quarter_is_gone() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        first, second, *_ = [leased(pool, machines=1, transitions=1) for _ in range(8)]
        for lease, replaced in ((first, False), (second, True)):
            await pool.prepare(lease)
            await pool.release(lease, wanted=())
            assert (pool.lease(Needs(machines=1, transitions=1)) is not None) == replaced

    pooled(facts, machines=16, most=8)


def test_a_lease_that_came_to_nothing_was_no_life() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        leases = [leased(pool, machines=1, transitions=1) for _ in range(8)]
        await pool.release(leases[0], wanted={State.IDLE})
        assert pool.lease(Needs(machines=1, transitions=1)) is not None
        assert pool.lease(Needs(machines=1, transitions=1)) is None

    pooled(facts, machines=16, most=8)


def test_what_is_spare_are_the_machines_that_live_but_for_those_that_are_asked_for() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        idle, bound = leased(pool, machines=2), leased(pool, machines=1, start=State.CONFIGURED, transitions=1)
        for lease in (idle, bound):
            await pool.prepare(lease)
            assert pool.spare(idle=0, bound=False) == [], "what is leased is not spare, and slots are not at all"
        for lease in (idle, bound):
            await pool.release(lease, wanted={State.IDLE, State.CONFIGURED})

        def spare(*, at_rest: int, bound: bool) -> set[str]:
            return ids(tuple(pool.spare(idle=at_rest, bound=bound)))

        assert spare(at_rest=0, bound=False) == ids((*idle.machines, *bound.machines))
        assert spare(at_rest=0, bound=True) == ids(idle.machines)
        assert spare(at_rest=2, bound=False) == ids(bound.machines)
        assert spare(at_rest=1, bound=True) < ids(idle.machines)
        assert len(spare(at_rest=1, bound=True)) == 1

    pooled(facts)


def test_a_machine_on_its_way_home_counts_until_it_is_there() -> None:
    async def facts(pool: Pool, core: Core, yard: Yard) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        await pool.release(lease, wanted={State.IDLE})
        retiring = asyncio.create_task(pool.retire(pool.spare(idle=0, bound=False)))
        await asyncio.sleep(0)
        assert pool.lease(Needs(machines=1, transitions=1)) is None
        await retiring
        assert states_of(core) == {}
        assert pool.lease(Needs(machines=1, transitions=1)) is not None

    pooled(facts, most=1)
