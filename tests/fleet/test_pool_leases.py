"""Tests which machines a lease gets, and when there is no lease."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from conformance.core.errors import Shortage
from conformance.core.lifecycle import State
from conformance.fleet.machine import Machine
from conformance.fleet.needs import Needs
from fake_provider.fleet import fleet
from tests.pools import SLOT, ids, leased, pooled
from tests.runs import provider, states_of

if TYPE_CHECKING:
    from conformance.fleet.context import FleetContext
    from conformance.fleet.pool import Pool
    from fake_provider.core import Core


def test_machines_are_leased_all_or_none() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        first = leased(pool, machines=3, transitions=1)
        assert pool.lease(Needs(machines=2, transitions=1)) is None
        second = leased(pool, machines=1, transitions=1)
        assert len(ids(first.machines) | ids(second.machines)) == 4
        assert pool.lease(Needs(machines=1)) is None
        assert context.client.count == 0, "a lease sends nothing"

    pooled(facts)


def test_a_lease_that_is_released_twice_takes_nothing_from_the_next_one() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        first = leased(pool, machines=1, transitions=1)
        await pool.prepare(first)
        await pool.release(first, wanted={State.IDLE})
        second = leased(pool, machines=1, transitions=1)
        assert second == first
        await pool.release(first, wanted=())
        assert pool.lease(Needs(machines=1, transitions=1)) is None, "the machine is still leased"
        assert states_of(core) == {second.machines[0].id: "IDLE"}
        await asyncio.gather(*(pool.release(second, wanted={State.IDLE}) for _ in range(2)))
        assert leased(pool, machines=1, transitions=1).machines == second.machines
        assert pool.lease(Needs(machines=1, transitions=1)) is None, "it is free once"

    pooled(facts, machines=1, max_alive=1)


def test_a_machine_counts_as_driven_until_it_is_free_and_if_it_was_driven_meanwhile() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        before = pool.resting()
        assert pool.driven_since(before) == frozenset()
        lease = leased(pool, machines=1, transitions=1)
        assert pool.driven_since(before) == frozenset(), "no call was sent yet"
        await pool.prepare(lease)
        assert pool.driven_since(pool.resting()) == ids(lease.machines), "it is leased"
        await pool.release(lease, wanted={State.IDLE})
        assert pool.driven_since(before) == ids(lease.machines), "it was driven meanwhile"
        assert pool.driven_since(pool.resting()) == frozenset(), "it is at rest"
        retired = leased(pool, machines=1, transitions=1)
        pool.quarantine(retired.machines[0], "it is stuck")
        assert pool.driven_since(pool.resting()) == ids(retired.machines), "its state is the run's own doing"

    pooled(facts)


def test_a_lease_without_machines_is_always_available() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        leased(pool, machines=4)
        assert leased(pool).machines == ()

    pooled(facts)


def test_leases_of_live_machines_respect_the_limit_and_slots_do_not_count() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        leased(pool, machines=2, start=SLOT)
        leased(pool, machines=2, transitions=1)
        assert pool.lease(Needs(machines=1, transitions=1)) is None
        assert pool.lease(Needs(machines=1, start=SLOT, creates=True, transitions=1)) is None

    pooled(facts, machines=8, max_alive=2)


def test_a_short_lease_waits_for_a_machine_instead_of_starting_one() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        leased(pool, machines=1, transitions=1)
        assert pool.lease(Needs(machines=1)) is None
        assert pool.lease(Needs(machines=1, transitions=1)) is not None

    pooled(facts)


def test_a_free_live_machine_counts_towards_the_limit() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        warm = leased(pool, machines=1)
        await pool.prepare(warm)
        await pool.release(warm, wanted={State.IDLE})
        assert pool.lease(Needs(machines=3, transitions=1)) is None
        assert pool.lease(Needs(machines=2, transitions=1)) is not None

    pooled(facts, max_alive=2)


def test_a_slot_that_another_client_had_is_leased_last() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        (theirs,) = leased(pool, machines=1, transitions=1).machines
        pool.drop(theirs)
        await pool.refresh(lambda machine_id: Machine(machine_id, context, number=9))
        order = [leased(pool, machines=1, start=SLOT).machines[0].id for _ in range(4)]
        assert order.index(theirs.id) == 3

    pooled(facts)


def test_slots_that_stay_slots_do_not_count_towards_the_limit() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        assert pool.lease(Needs(machines=4, start=SLOT, creates=True, transitions=1)) is None
        assert len(leased(pool, machines=4, start=SLOT).machines) == 4

    pooled(facts, max_alive=1)


def test_a_lease_waits_for_a_slot_that_was_ours_instead_of_taking_another() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        first = leased(pool, machines=1, transitions=1)
        assert pool.lease(Needs(machines=1, start=SLOT)) is None
        await pool.prepare(first)
        await pool.release(first, wanted=())
        assert leased(pool, machines=1, start=SLOT).machines == first.machines

    pooled(facts, machines=8, max_alive=2)


def test_a_machine_that_lives_is_leased_again_before_another_is_started() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        first = leased(pool, machines=1)
        await pool.prepare(first)
        await pool.release(first, wanted={State.IDLE})
        again = leased(pool, machines=1)
        assert again.machines == first.machines
        await pool.prepare(again)
        assert context.meter.bill(0.0).create == 1

    pooled(facts)


def test_a_machine_that_will_be_deleted_counts_until_it_is() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        slot = leased(pool, machines=1, start=SLOT)
        warm = leased(pool, machines=2, transitions=1)
        await pool.prepare(warm)
        await pool.release(warm, wanted={State.IDLE})
        leased(pool, machines=1, start=SLOT)  # one of the warm ones, to be deleted
        await pool.release(slot, wanted={State.IDLE})
        leased(pool, machines=1, transitions=1)  # the other
        assert pool.lease(Needs(machines=1, transitions=1)) is None, "that would be a third live machine"

    pooled(facts, machines=3, max_alive=2)


def test_a_live_machine_is_deleted_for_a_lease_that_needs_slots() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        warm = leased(pool, machines=2)
        await pool.prepare(warm)
        await pool.release(warm, wanted={State.IDLE})
        everything = leased(pool, machines=2, start=SLOT)
        await pool.prepare(everything)
        assert states_of(core) == {}

    pooled(facts, machines=2, max_alive=2)


def test_refresh_adds_new_slots() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        leased(pool, machines=4)
        core.put(fleet(5)[4])
        await pool.refresh(lambda machine_id: Machine(machine_id, context, number=9))
        assert ids(leased(pool, machines=1, transitions=1).machines) == {"machine-0005"}

    pooled(facts, max_alive=5)


def test_refresh_keeps_the_known_machines() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        await pool.prepare(leased(pool, machines=2, transitions=1))
        core.put(fleet(5)[4])
        await pool.refresh(lambda machine_id: Machine(machine_id, context, number=9))
        assert len(ids(leased(pool, machines=3, transitions=1).machines)) == 3
        assert (await pool.clean_up()).clean
        assert states_of(core) == {}

    pooled(facts, max_alive=5)


def test_has_slots_while_enough_are_free() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        assert pool.has_slots(Needs(machines=4, start=SLOT))
        assert not pool.has_slots(Needs(machines=5, start=SLOT))
        await pool.prepare(leased(pool, machines=1))
        assert not pool.has_slots(Needs(machines=4, start=SLOT))

    pooled(facts)


def test_without_delete_no_machine_is_deleted_for_a_slot() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        warm = leased(pool, machines=2)
        await pool.prepare(warm)
        await pool.release(warm, wanted={State.IDLE})
        assert pool.lease(Needs(machines=1, start=SLOT)) is None

    pooled(facts, machines=2, max_alive=2, deletes=False)


def test_deleted_machines_are_replaced_once_a_quarter_is_gone() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        first, second, *_ = [leased(pool, machines=1, transitions=1) for _ in range(8)]
        for lease, replaced in ((first, False), (second, True)):
            await pool.prepare(lease)
            await pool.release(lease, wanted=())
            assert (pool.lease(Needs(machines=1, transitions=1)) is not None) == replaced

    pooled(facts, machines=16, max_alive=8)


def test_a_lease_that_started_no_machine_does_not_count_as_a_start() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        leases = [leased(pool, machines=1, transitions=1) for _ in range(8)]
        await pool.release(leases[0], wanted={State.IDLE})
        assert pool.lease(Needs(machines=1, transitions=1)) is not None
        assert pool.lease(Needs(machines=1, transitions=1)) is None

    pooled(facts, machines=16, max_alive=8)


def test_a_slot_that_stays_a_slot_does_not_count_as_a_start() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        leased(pool, machines=8, start=SLOT)
        for _ in range(8):
            leased(pool, machines=1, transitions=1)

    pooled(facts, machines=16, max_alive=8)


def test_the_surplus_is_the_free_live_machines_except_those_to_keep() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        idle, bound = leased(pool, machines=2), leased(pool, machines=1, start=State.CONFIGURED, transitions=1)
        for lease in (idle, bound):
            await pool.prepare(lease)
            assert pool.surplus(idle=0, bound=False) == [], "neither leased machines nor slots are surplus"
        for lease in (idle, bound):
            await pool.release(lease, wanted={State.IDLE, State.CONFIGURED})

        def spare(*, at_rest: int, bound: bool) -> set[str]:
            return ids(tuple(pool.surplus(idle=at_rest, bound=bound)))

        assert spare(at_rest=0, bound=False) == ids((*idle.machines, *bound.machines))
        assert spare(at_rest=0, bound=True) == ids(idle.machines)
        assert spare(at_rest=2, bound=False) == ids(bound.machines)
        assert spare(at_rest=1, bound=True) < ids(idle.machines)
        assert len(spare(at_rest=1, bound=True)) == 1

    pooled(facts)


def test_a_machine_in_cleanup_counts_until_it_is_clean() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        await pool.release(lease, wanted={State.IDLE})
        retiring = asyncio.create_task(pool.return_surplus(pool.surplus(idle=0, bound=False)))
        await asyncio.sleep(0)
        assert pool.lease(Needs(machines=1, transitions=1)) is None
        await retiring
        assert states_of(core) == {}
        assert pool.lease(Needs(machines=1, transitions=1)) is not None

    pooled(facts, max_alive=1)


def test_a_lease_may_exclude_starts_and_deletions() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        assert pool.lease(Needs(machines=1, transitions=1), may_create=False) is None
        warm = leased(pool, machines=2)
        await pool.prepare(warm)
        await pool.release(warm, wanted={State.IDLE})
        assert pool.lease(Needs(machines=1, start=SLOT), may_delete=False) is None
        assert pool.lease(Needs(machines=2, transitions=1), may_create=False, may_delete=False) == warm

    pooled(facts, machines=2)


def test_a_machine_that_was_found_idle_is_deleted_only_without_alternatives() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        both = leased(pool, machines=2)
        await pool.prepare(both)
        await pool.release(both, wanted={State.IDLE})
        deleted = [leased(pool, machines=1, deletes=True).machines[0].id for _ in both.machines]
        assert deleted == ["machine-0002", "machine-0001"]

    core = provider(0)
    for machine in fleet(2, idle=1):
        core.put(machine)
    pooled(facts, core=core, homes={"machine-0001": State.IDLE})


def test_machines_in_reserved_states_are_left_to_other_leases() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        bound = Needs(machines=1, start=State.CONFIGURED, transitions=1)
        warm, out = leased(pool, machines=1), leased(pool, machines=1, transitions=1)
        await pool.prepare(warm)
        await pool.release(warm, wanted={State.IDLE})
        assert pool.lease(bound, reserved={State.IDLE}) is None, (
            "neither a warm machine nor a slot that passes through IDLE"
        )
        await pool.release(out, wanted=())
        assert pool.lease(bound, reserved={State.IDLE}) is not None, "no lease is left that returns a machine"

    pooled(facts)


def test_surplus_machines_are_not_leased_before_their_clean_up_begins() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        await pool.release(lease, wanted={State.IDLE})
        [machine] = surplus = pool.surplus(idle=0, bound=False)
        returning = asyncio.create_task(pool.return_surplus(surplus))  # it has not run yet
        other = pool.lease(Needs(machines=1, start=State.IDLE))
        assert other is None or machine not in other.machines
        await returning
        assert states_of(core) == {}

    pooled(facts)


def test_a_failed_machine_is_exchanged_within_its_lease() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1, transitions=1)
        await pool.prepare(lease)
        failed = lease.machines[0]
        other = await pool.exchange(lease, failed, State.IDLE)
        assert other is not failed
        assert states_of(core)[other.id] == "IDLE"
        assert list(pool.quarantined) == [failed.id]
        await pool.release(lease, wanted=())
        assert other.id not in states_of(core), "it is released with the lease"

    pooled(facts, machines=2)


def test_there_may_be_no_machine_to_exchange_a_failed_one_for() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1, transitions=1)
        with pytest.raises(Shortage, match="no other machine"):
            await pool.exchange(lease, lease.machines[0], State.IDLE)

    pooled(facts, machines=1)
