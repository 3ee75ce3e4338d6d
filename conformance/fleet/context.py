"""The context that all machines of a run share, and the result of waiting until a machine has settled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.core.lifecycle import State, state_of
from conformance.fleet.hosts import FleetHosts
from conformance.fleet.model import FleetModel
from conformance.fleet.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.core.timeouts import Patience
    from conformance.fleet.backend import Backend
    from conformance.fleet.ledger import Ledger
    from conformance.fleet.provider import Provider
    from conformance.fleet.repair import Repair
    from conformance.fleet.restarts import Restarts
    from conformance.results.bill import Meter
    from conformance.rpc.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetContext:
    """The context of a run's machines: its client, ledger and bill."""

    run: str
    client: Client
    ledger: Ledger
    meter: Meter
    patience: Patience
    deletes: bool
    """True if the provider has Delete."""
    provider: Provider | None = None
    """The provider, if the kit may stop and start it."""
    backend: Backend | None = None
    """The provider's backend, if the kit may ask it for its hosts."""
    repair: Repair | None = None
    """The way to clean FAILED machines up, if the user gave one."""
    settings: object = None
    """The settings of the lane, which only its behaviours know."""
    hosts_before: FleetHosts = field(default_factory=FleetHosts)
    """The hosts when the run began, if the backend can be asked."""
    restarts: Restarts | None = None
    """The restarts of that provider."""
    note: Callable[[str], None] = lambda text: None
    """Adds a line to the report."""
    pace: Pace = field(default_factory=Pace)
    model: FleetModel = field(default_factory=lambda: FleetModel("cpc-"))
    """The model of the fleet, if it observes the client's calls: every answer of the run passes through it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleResult:
    """The states that a machine showed while it settled, in order and without repeats, and the last reading."""

    states: tuple[State, ...]
    machine: pb.Machine
    seconds: float

    @property
    def state(self) -> State:
        """The state that it showed last."""
        return state_of(self.machine.state)


def is_other_machine(shown: pb.Machine, machine_id: str) -> bool:
    """Returns whether `shown` is a slot with another id: a reading that is not about the requested machine."""
    return shown.id != machine_id and state_of(shown.state) is State.SPECULATIVE
