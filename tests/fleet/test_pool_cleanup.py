"""Tests the cleanup with providers that show wrong states: no started machine is forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from conformance.core.errors import Unprepared
from conformance.core.lifecycle import State
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from tests.pools import ids, leased, named, pooled
from tests.runs import states_of

if TYPE_CHECKING:
    from conformance.fleet.context import FleetContext
    from conformance.fleet.pool import Pool
    from fake_provider.machine import Machine as TheirMachine
    from fake_provider.machine import Verb


class UppercasesClusters(Core):
    """Shows every cluster name in capitals."""

    def shown_in_get(self, machine: TheirMachine) -> TheirMachine:
        return replace(machine, cluster=machine.cluster.upper())


def test_our_machine_that_seems_to_be_bound_by_another_client_is_cleaned_up() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        await lease.machines[0].configure()
        assert (await pool.clean_up()).clean
        assert states_of(core) == {}

    pooled(facts, core=UppercasesClusters(fleet(1), latency=Latency.parse("0")))


class FlickersAsSlot(Core):
    """Shows an IDLE machine as a slot in the next `blinks` Gets."""

    blinks = 0

    def shown_in_get(self, machine: TheirMachine) -> TheirMachine:
        if not self.blinks or machine.state.name != "IDLE":
            return machine
        self.blinks -= 1
        return replace(machine, state=type(machine.state)["SPECULATIVE"], host=None)


@pytest.mark.parametrize("when", ["release", "home"])
def test_one_reading_as_a_slot_does_not_count_as_clean(when: str) -> None:
    served = FlickersAsSlot(fleet(1), latency=Latency.parse("0"))

    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        if when == "release":
            served.blinks = 1
            await pool.release(lease, wanted={State.IDLE})
            served.blinks = 1  # and once more during the final cleanup
        else:
            await pool.release(lease, wanted={State.IDLE})
            served.blinks = 1
        home = await pool.clean_up()
        assert states_of(core).keys() == named(home) == ids(lease.machines)

    pooled(facts, core=served)


class StartsAnotherMachine(Core):
    """Starts another machine than the one in the call, and shows that one in the ack."""

    def start(self, verb: Verb, machine: TheirMachine, *more: Any) -> TheirMachine:
        others = [other for other in self.machines.values() if other.id != machine.id]
        return super().start(verb, others[0] if verb.value == "create" else machine, *more)


def test_a_machine_that_was_started_instead_of_ours_is_reported_and_not_touched() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        with pytest.raises(Unprepared):
            await pool.prepare(leased(pool, machines=1))
        home = await pool.clean_up()
        assert states_of(core) == {"machine-0002": "IDLE"}
        assert [machine for machine, _ in home.taken] == ["machine-0002"]

    pooled(facts, core=StartsAnotherMachine(fleet(2), latency=Latency.parse("0")))
