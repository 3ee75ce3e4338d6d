"""Machines, and the four edges of their life (contract section 2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum


class State(IntEnum):
    """Where a machine is in its life, under the wire's numbers."""

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
    """How a machine is paid for, under the wire's numbers."""

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
    """One way through the lifecycle: from a stable state, via a transitional one, to a stable one."""

    source: State
    via: State
    target: State


EDGES: Mapping[Verb, Edge] = {
    Verb.CREATE: Edge(source=State.SPECULATIVE, via=State.CREATING, target=State.IDLE),
    Verb.CONFIGURE: Edge(source=State.IDLE, via=State.CONFIGURING, target=State.CONFIGURED),
    Verb.DRAIN: Edge(source=State.CONFIGURED, via=State.DRAINING, target=State.IDLE),
    Verb.DELETE: Edge(source=State.IDLE, via=State.DELETING, target=State.SPECULATIVE),
}
"""The only edges there are (LIF-1)."""

TRANSITIONAL = frozenset(edge.via for edge in EDGES.values())
"""The states that a machine leaves by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The host behind a machine, in the provider's own terms."""

    provider: str
    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The transition that a machine is in, or that brought it to where it rests."""

    verb: Verb
    id: str
    cluster: str = ""
    due: float = 0.0
    """When it settles, by the caller's clock, in seconds."""
    error: str = ""
    """Why it will end in FAILED; empty where it succeeds."""
    late: float | None = None
    """When a success arrives that nobody waits for any more (FLT-2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine, or the quota slot for one. The first block is what the wire shows."""

    id: str
    state: State = State.SPECULATIVE
    host: Host | None = None
    instance_type: str
    zone: str = ""
    capacity_type: CapacityType
    price_per_hour: float = 0.0
    interruption_probability: float = 0.0
    resources: Mapping[str, str] = field(default_factory=dict)
    allocatable: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    last_error: str = ""
    cluster: str = ""
    shard_metadata: Mapping[str, str] = field(default_factory=dict)

    operation: Operation | None = None
    """The last transition; None in a slot or on a host that nobody has touched yet."""
    created_by: str = ""
    """The operation id of this life's Create; empty where the host was there from the start."""
    revision: int = 0
    """The revision of the last change (LST-6)."""

    @property
    def moving(self) -> bool:
        """Whether a transition is under way."""
        return self.state in TRANSITIONAL
