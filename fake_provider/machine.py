"""Machines, and the four edges of their lifecycle (contract section 2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum


class State(IntEnum):
    """The state of a machine, with the numbers of the protobuf enum."""

    UNSPECIFIED = 0
    SPECULATIVE = 1
    CREATING = 2
    IDLE = 3
    CONFIGURING = 4
    CONFIGURED = 5
    DRAINING = 6
    DELETING = 7
    FAILED = 8


class CapacityType(IntEnum):
    """The pricing model of a machine, with the numbers of the protobuf enum."""

    UNSPECIFIED = 0
    BARE_METAL = 1
    RESERVED = 2
    ON_DEMAND = 3
    SPOT = 4


class Verb(StrEnum):
    """The four mutating RPCs."""

    CREATE = "create"
    CONFIGURE = "configure"
    DRAIN = "drain"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A transition of the lifecycle: from a stable state, via a transitional state, to a stable state."""

    source: State
    via: State
    target: State


EDGES: Mapping[Verb, Edge] = {
    Verb.CREATE: Edge(source=State.SPECULATIVE, via=State.CREATING, target=State.IDLE),
    Verb.CONFIGURE: Edge(source=State.IDLE, via=State.CONFIGURING, target=State.CONFIGURED),
    Verb.DRAIN: Edge(source=State.CONFIGURED, via=State.DRAINING, target=State.IDLE),
    Verb.DELETE: Edge(source=State.IDLE, via=State.DELETING, target=State.SPECULATIVE),
}
"""All edges of the lifecycle (LIF-1)."""

TRANSITIONAL = frozenset(edge.via for edge in EDGES.values())
"""The states that a machine leaves without a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The host of a machine, as the provider names it."""

    provider: str
    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """The type of a machine's host and its resources."""

    name: str
    resources: Mapping[str, str] = field(default_factory=dict)
    allocatable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The current or last transition of a machine."""

    verb: Verb
    id: str
    cluster: str = ""
    due: float = 0.0
    """The time at which it ends, in seconds on the caller's clock."""
    error: str = ""
    """The reason for which it ends in FAILED; empty if it succeeds."""
    late_due: float | None = None
    """The time of a success that comes after the operation has failed, and is ignored (FLT-2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine, or the quota slot for one. Clients see the fields of the first block."""

    id: str
    state: State = State.SPECULATIVE
    host: Host | None = None
    instance_type: InstanceType
    zone: str = ""
    capacity_type: CapacityType
    price_per_hour: float = 0.0
    interruption_probability: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    last_error: str = ""
    cluster: str = ""
    shard_metadata: Mapping[str, str] = field(default_factory=dict)

    operation: Operation | None = None
    """The current or last transition; None if the machine has not had one yet."""
    created_by: str = ""
    """The operation id of the Create that attached the current host; empty if the host was there from the start."""
    revision: int = 0
    """The revision of the last change (LST-6)."""

    @property
    def moving(self) -> bool:
        """True if the machine is in a transitional state."""
        return self.state in TRANSITIONAL
