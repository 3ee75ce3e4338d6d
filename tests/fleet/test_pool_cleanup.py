"""Providers that say one thing and do another, on the way home: nothing that was started is forgotten."""

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


class Shouts(Core):
    """Tells of every cluster in capitals."""

    def shown_in_get(self, machine: TheirMachine) -> TheirMachine:
        return replace(machine, cluster=machine.cluster.upper())


def test_what_somebody_else_seems_to_have_bound_at_the_last_moment_is_ours_and_goes_home() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        await lease.machines[0].configure()
        assert (await pool.clean_up()).clean
        assert states_of(core) == {}

    pooled(facts, core=Shouts(fleet(1), latency=Latency.parse("0")))


class Blinks(Core):
    """Shows a slot at just one look at what is IDLE, each time it is told to."""

    blinks = 0

    def shown_in_get(self, machine: TheirMachine) -> TheirMachine:
        if not self.blinks or machine.state.name != "IDLE":
            return machine
        self.blinks -= 1
        return replace(machine, state=type(machine.state)["SPECULATIVE"], host=None)


@pytest.mark.parametrize("when", ["release", "home"])
def test_one_look_that_shows_a_slot_lets_no_machine_be_forgotten(when: str) -> None:
    served = Blinks(fleet(1), latency=Latency.parse("0"))

    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        if when == "release":
            served.blinks = 1
            await pool.release(lease, wanted={State.IDLE})
            served.blinks = 1  # and once more when it is looked after
        else:
            await pool.release(lease, wanted={State.IDLE})
            served.blinks = 1
        home = await pool.clean_up()
        assert states_of(core).keys() == named(home) == ids(lease.machines)

    pooled(facts, core=served)


class Misplaces(Core):
    """Starts another machine than the one that it is asked for, and says so."""

    def start(self, verb: Verb, machine: TheirMachine, *more: Any) -> TheirMachine:
        others = [other for other in self.machines.values() if other.id != machine.id]
        return super().start(verb, others[0] if verb.value == "create" else machine, *more)


def test_a_machine_that_was_started_instead_of_ours_is_named_and_not_touched() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        with pytest.raises(Unprepared):
            await pool.prepare(leased(pool, machines=1))
        home = await pool.clean_up()
        assert states_of(core) == {"machine-0002": "IDLE"}
        assert [machine for machine, _ in home.taken] == ["machine-0002"]

    pooled(facts, core=Misplaces(fleet(2), latency=Latency.parse("0")))
