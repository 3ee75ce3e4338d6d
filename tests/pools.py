"""A pool of the fake provider's machines, for tests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from conformance.core.lifecycle import State
from conformance.fleet.machine import Machine
from conformance.fleet.needs import Needs
from conformance.fleet.pool import Lease, Pool
from fake_provider.server import serving
from fake_provider.servicer import Servicer
from tests.runs import fleet_context, machines_of, provider

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.fleet.context import FleetContext
    from conformance.results.report import Home
    from fake_provider.core import Core

SLOT = State.SPECULATIVE


def pooled(
    facts: Callable[[Pool, Core, FleetContext], Awaitable[None]],
    *,
    machines: int = 4,
    max_alive: int = 4,
    core: Core | None = None,
    max_creates: int | None = None,
    deletes: bool = True,
    homes: dict[str, State] | None = None,
    servicer: type[Servicer] = Servicer,
) -> None:
    """Runs `facts` with a pool of all machines, which were found as slots, or in the states of `homes`."""

    async def go() -> None:
        served = core or provider(machines, deletes=deletes)
        async with (
            serving(served, servicer=servicer) as address,
            fleet_context(address, max_creates=max_creates, deletes=deletes) as context,
        ):
            known = [
                Machine(machine.id, context, number=machine_number, home=(homes or {}).get(machine.id, SLOT))
                for machine_number, machine in enumerate(machines_of(context, served), 1)
            ]
            await facts(Pool(known, context, max_alive=max_alive), served, context)

    asyncio.run(go())


def leased(pool: Pool, **needs: Any) -> Lease:
    """Returns a lease that must be available."""
    lease = pool.lease(Needs(**needs))
    assert lease is not None
    return lease


def ids(machines: tuple[Machine, ...]) -> set[str]:
    """Returns the machines' ids."""
    return {machine.id for machine in machines}


def named(home: Home) -> set[str]:
    """Returns the ids that the user has to check."""
    return {machine for machine, _ in (*home.left, *home.taken, *home.failed)}
