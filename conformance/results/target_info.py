"""What the target is: its fleet, and what it has and lacks. Values only; `probe` finds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.core.lifecycle import State

if TYPE_CHECKING:
    import random


LARGE = 5000
"""A fleet of more machines than this is large: the kit lists all of it only when it must."""
CROWD = 1000
"""If more machines of a large fleet than this are in one state, the kit does not list that state without need."""
CAPABILITIES = ("delete", "revisions", "create", "health", "reflection", "spot", "zones", "tls", "client-certificate")
SHARD, SHARD_MACHINE = "shard", "shard-machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetInfo:
    """The target's shape: its fleet by state, and what it has and lacks."""

    fleet: dict[str, int]
    delete: bool
    revisions: bool
    fence_scope: str | None
    """`shard`, `shard-machine`, or None if the answers fit neither."""
    tls: bool
    client_certificate: bool
    """Whether the run presents a client certificate. Only then is it known that the provider asks for one."""
    health: str | None
    """What `grpc.health.v1` answers; None if it is not served."""
    reflection: bool
    spot: bool
    """Whether any machine is SPOT."""
    zones: tuple[str, ...]
    speculative: tuple[str, ...] = field(repr=False)
    idle: tuple[str, ...] = field(repr=False)
    unusable: dict[str, int] = field(default_factory=dict, repr=False)
    """The number of machines that the kit cannot drive, by the reason: an unusable id, or a Create made to fail."""
    prices: tuple[float, ...] = field(default=(), repr=False)
    """The price per hour of each `speculative` machine that has a finite one."""
    revision: bytes = field(default=b"", repr=False)
    """The revision of the List from which all this was read."""

    @property
    def large(self) -> bool:
        """Whether a List of everything is expensive."""
        return sum(self.fleet.values()) > LARGE

    @property
    def crowded(self) -> frozenset[State]:
        """The states of a large fleet that have too many machines to list them without need."""
        return frozenset(s for s in State if self.large and self.fleet.get(s.name, 0) > CROWD)

    @property
    def since(self) -> bytes:
        """The cursor from which List shows what this run changed (LST-6); empty, for everything, in a small fleet."""
        return self.revision if self.large else b""

    def few(self, *ours: State) -> tuple[State, ...]:
        """The states to list if any machines will do: (), for all; of a large fleet `ours`, and the uncrowded ones."""
        return tuple(s for s in State if s and (s in ours or s not in self.crowded)) if self.large else ()

    def has(self, capability: str) -> bool:
        """Whether the target has what a behaviour `needs`. Raises KeyError for an unknown capability."""
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
        """Returns what was found, as text."""
        fleet = ", ".join(f"{count} {state}" for state, count in sorted(self.fleet.items())) or "no machine"
        yes = {True: "yes", False: "no"}
        return [
            f"fleet      {fleet}",
            f"delete {yes[self.delete]} · revisions {yes[self.revisions]} · fence scope {self.fence_scope or 'unclear'}"
            f" · spot {yes[self.spot]} · zones {len(self.zones)}",
            f"TLS {yes[self.tls]} · health {self.health or 'not served'} · reflection {yes[self.reflection]}",
        ]

    def slots(self, *, use_idle: bool, luck: random.Random) -> list[tuple[str, State]]:
        """Returns the machines that may be driven, with their original states, in an order that no two runs share."""
        slots = [(machine, State.SPECULATIVE) for machine in self.speculative]
        luck.shuffle(slots)
        return [(machine, State.IDLE) for machine in self.idle] + slots if use_idle else slots
