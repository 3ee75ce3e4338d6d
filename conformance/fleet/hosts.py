"""The hosts of the backend and of the machines when a run begins, with which its end is compared (HST-2)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.core.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.fleet.backend import Backend
    from conformance.rpc.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetHosts:
    """The hosts that the backend runs, and what the machines show, at one time."""

    running: frozenset[str] = frozenset()
    """The refs of the hosts that the backend runs."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """The machine that shows each host, by the host's ref."""
    states: Mapping[str, int] = field(default_factory=dict)
    """The state of each machine, by its id."""

    @property
    def matched(self) -> bool:
        """True if the backend runs at least one host that a machine shows, so that both name hosts in the same way."""
        return not self.running.isdisjoint(self.shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRecord:
    """The machine that has shown a host during the run, and its price per hour."""

    machine: str
    price: float

    @classmethod
    def of(cls, shown: pb.Machine) -> HostRecord:
        """Returns the record of a machine that shows a host."""
        price = shown.price_per_hour
        return cls(machine=shown.id, price=price if math.isfinite(price) else 0.0)


async def look(backend: Backend, client: Client) -> FleetHosts:
    """Asks the backend for its hosts, and then the provider for its machines. Raises TargetError if either fails."""
    running = await backend.hosts()
    listing = await client.list()
    if not listing.answered_ok:
        raise TargetError(f"List was not answered while hosts were compared: {listing.outcome()}")
    return of_machines(listing.response.machines, running)


def of_machines(machines: Iterable[pb.Machine], running: frozenset[str]) -> FleetHosts:
    """Returns what these machines show, with the hosts that run."""
    found = tuple(machines)
    return FleetHosts(
        running=running,
        shown={machine.host.ref: machine.id for machine in found if machine.host.ref},
        states={machine.id: machine.state for machine in found},
    )
