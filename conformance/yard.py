"""What the machines of one run share, and what is seen of one while it settles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.lifecycle import State, state_of

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.bill import Meter
    from conformance.client import Client
    from conformance.ledger import Ledger
    from conformance.patience import Patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Yard:
    """What all machines of one run share."""

    run: str
    client: Client
    ledger: Ledger
    meter: Meter
    patience: Patience
    deletes: bool
    """Whether the provider can Delete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What was seen while a machine settled: its states in order without repeats, and the last reading."""

    states: tuple[State, ...]
    machine: pb.Machine
    seconds: float

    @property
    def state(self) -> State:
        """Where the machine was seen last."""
        return state_of(self.machine.state)


def mistaken(shown: pb.Machine, machine_id: str) -> bool:
    """Whether a slot is shown that has another id: that it is at home says nothing of the machine asked for."""
    return shown.id != machine_id and state_of(shown.state) is State.SPECULATIVE
