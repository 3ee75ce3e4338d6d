"""The states of a machine, the four edges between them (contract §2), and what each state shows (contract §12)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(IntEnum):
    """`MachineState` of the proto, without its prefix."""

    UNSPECIFIED = 0
    SPECULATIVE = 1
    CREATING = 2
    IDLE = 3
    CONFIGURING = 4
    CONFIGURED = 5
    DRAINING = 6
    DELETING = 7
    FAILED = 8

    @property
    def stable(self) -> bool:
        """True if a machine stays in this state until a client makes a call."""
        return self in _STABLE


_STABLE: Final = frozenset({State.SPECULATIVE, State.IDLE, State.CONFIGURED, State.FAILED})


class Verb(StrEnum):
    """A mutating RPC. Each has one edge, is fenced (FEN-7) and is idempotent (OPS-2)."""

    CREATE = "Create"
    CONFIGURE = "Configure"
    DRAIN = "Drain"
    DELETE = "Delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A verb's source state, transitional state and target state (LIF-1, LIF-2)."""

    source: State
    via: State
    target: State


EDGES: Final = {
    Verb.CREATE: Edge(source=State.SPECULATIVE, via=State.CREATING, target=State.IDLE),
    Verb.CONFIGURE: Edge(source=State.IDLE, via=State.CONFIGURING, target=State.CONFIGURED),
    Verb.DRAIN: Edge(source=State.CONFIGURED, via=State.DRAINING, target=State.IDLE),
    Verb.DELETE: Edge(source=State.IDLE, via=State.DELETING, target=State.SPECULATIVE),
}


_BY_NUMBER: Final = {state.value: state for state in State}


def state_of(number: int) -> State:
    """Returns the state with this number in the proto; UNSPECIFIED for a number that the contract does not define."""
    return _BY_NUMBER.get(number, State.UNSPECIFIED)


def verb_in_progress(state: State) -> Verb | None:
    """Returns the verb whose transitional state is `state`; None for a stable state."""
    return next((verb for verb, edge in EDGES.items() if edge.via is state), None)


def next_verb(state: State, to: State) -> Verb | None:
    """Returns the first step of the shortest path between stable states; None if there is no path, as from FAILED."""
    match state, to:
        case State.SPECULATIVE, _:
            return Verb.CREATE
        case State.IDLE, State.CONFIGURED:
            return Verb.CONFIGURE
        case State.IDLE, _:
            return Verb.DELETE
        case State.CONFIGURED, _:
            return Verb.DRAIN
        case _:
            return None


class Presence(Enum):
    """The presence of a field: it is empty, it is set, or it may be either."""

    EMPTY = auto()
    SET = auto()
    ANY = auto()

    def allows(self, value: object) -> bool:
        """Returns whether the field may have this value."""
        return self is Presence.ANY or bool(value) is (self is Presence.SET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The fields of a machine that depend on its state (LIF-5, LIF-6, SHP-4)."""

    host: Presence
    cluster: Presence
    last_error: Presence = Presence.EMPTY


SHOWN: Final[Mapping[State, Shown]] = MappingProxyType(
    {
        State.SPECULATIVE: Shown(host=Presence.EMPTY, cluster=Presence.EMPTY),
        State.CREATING: Shown(host=Presence.EMPTY, cluster=Presence.EMPTY),
        State.IDLE: Shown(host=Presence.SET, cluster=Presence.EMPTY),
        State.CONFIGURING: Shown(host=Presence.SET, cluster=Presence.ANY),
        State.CONFIGURED: Shown(host=Presence.SET, cluster=Presence.SET),
        State.DRAINING: Shown(host=Presence.SET, cluster=Presence.SET),
        State.DELETING: Shown(host=Presence.SET, cluster=Presence.EMPTY),
        State.FAILED: Shown(host=Presence.ANY, cluster=Presence.ANY, last_error=Presence.SET),
        State.UNSPECIFIED: Shown(host=Presence.ANY, cluster=Presence.ANY, last_error=Presence.ANY),
    }
)
"""The fields that a machine shows in each state: a shard rejects a record that differs (contract §12).

A cluster that is shown in CONFIGURING is the one of the binding. The last entry is for numbers that the contract does
not define: SHP-1 judges those.
"""


CREATE_FAULT_LABEL: Final = "conformance.fault/create"
"""The label of a slot whose Create fails on purpose (contract §9)."""
CREATE_FAULTS: Final = ("error", "timeout", "slow-ok")
"""Its values."""


def create_fails_by_label(labels: Mapping[str, str]) -> bool:
    """Returns whether a slot with these labels is meant to fail its Create."""
    return labels.get(CREATE_FAULT_LABEL) in CREATE_FAULTS
