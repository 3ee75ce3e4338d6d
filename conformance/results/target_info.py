"""Properties of the target: its fleet and its capabilities. Values only; `fleet.probe` finds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.core.lifecycle import State

if TYPE_CHECKING:
    import random


LARGE_FLEET_MACHINES = 5000
"""A fleet with more machines is large: the kit lists all of it only if necessary."""
CROWDED_STATE_MACHINES = 1000
"""If a large fleet has more machines in one state, the kit lists that state only if necessary."""
CAPABILITIES = ("delete", "revisions", "create", "health", "reflection", "spot", "zones", "tls", "client-certificate")
SHARD, SHARD_MACHINE = "shard", "shard-machine"


# More than 15 attributes: one for each property that the probe finds.
@dataclass(frozen=True, slots=True, kw_only=True)
class TargetInfo:
    """The target's fleet by state, and its capabilities."""

    fleet: dict[str, int]
    delete: bool
    revisions: bool
    fence_scope: str | None
    """`shard`, `shard-machine`, or None if the answers match neither."""
    tls: bool
    client_certificate: bool
    """True if the run presents a client certificate. Otherwise client authentication is not checked."""
    health: str | None
    """The answer of `grpc.health.v1`; None if it is not served."""
    reflection: bool
    spot: bool
    """True if any machine is SPOT."""
    zones: tuple[str, ...]
    speculative: tuple[str, ...] = field(repr=False)
    idle: tuple[str, ...] = field(repr=False)
    unusable: dict[str, int] = field(default_factory=dict, repr=False)
    """The number of machines that the kit cannot drive, by reason: an unusable id, or a Create that must fail."""
    prices: tuple[float, ...] = field(default=(), repr=False)
    """The price per hour of each `speculative` machine that has a finite one."""
    capacity_types: tuple[str, ...] = ()
    """The capacity types in the inventory, sorted: `ON_DEMAND`. Empty in records of older releases."""
    revision: bytes = field(default=b"", repr=False)
    """The revision of the List response that these values are from."""

    @property
    def large(self) -> bool:
        """True if a List of all machines is expensive."""
        return sum(self.fleet.values()) > LARGE_FLEET_MACHINES

    @property
    def crowded(self) -> frozenset[State]:
        """The states of a large fleet that have too many machines to list them unless necessary."""
        return frozenset(s for s in State if self.large and self.fleet.get(s.name, 0) > CROWDED_STATE_MACHINES)

    @property
    def since(self) -> bytes:
        """The cursor for a List of this run's changes (LST-6). Empty in a small fleet: List then shows all machines."""
        return self.revision if self.large else b""

    def states_to_list(self, *needed: State) -> tuple[State, ...]:
        """Returns the filter for List: `needed` and the uncrowded states of a large fleet, or () for all states."""
        return tuple(s for s in State if s and (s in needed or s not in self.crowded)) if self.large else ()

    def has(self, capability: str) -> bool:
        """Returns whether the target has a capability. Raises KeyError for an unknown one."""
        return {
            "delete": self.delete,
            "revisions": self.revisions,
            "create": bool(self.speculative),
            "health": self.health is not None,
            "reflection": self.reflection,
            "spot": self.spot,
            "zones": bool(self.zones),
            "tls": self.tls,
            "client-certificate": self.client_certificate,
        }[capability]

    def lines(self) -> list[str]:
        """Returns the properties as lines of text."""
        fleet = ", ".join(f"{count} {state}" for state, count in sorted(self.fleet.items())) or "no machines"
        yes = {True: "yes", False: "no"}
        return [
            f"fleet      {fleet}",
            f"features   delete {yes[self.delete]} · revisions {yes[self.revisions]}"
            f" · fence scope {self.fence_scope or 'unclear'} · spot {yes[self.spot]} · zones {len(self.zones)}",
            f"connection TLS {yes[self.tls]} · health {self.health or 'not served'}"
            f" · reflection {yes[self.reflection]}",
        ]

    def slots(self, *, use_idle: bool, rng: random.Random) -> list[tuple[str, State]]:
        """Returns the machines that may be driven, with their original states. Slots are in random order."""
        slots = [(machine, State.SPECULATIVE) for machine in self.speculative]
        rng.shuffle(slots)
        return [(machine, State.IDLE) for machine in self.idle] + slots if use_idle else slots
