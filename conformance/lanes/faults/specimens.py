"""The answers about machines whose transition was made to fail, and of others meanwhile. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from conformance.core.lifecycle import State, Verb, state_of
from conformance.rpc.call import describe_machine
from conformance.testkit import expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.lanes.faults.triggers import Trigger
    from conformance.rpc.call import Call


class Effect(Enum):
    """The end of a transition that was meant to fail."""

    FAILED = auto()
    NONE = auto()
    """It reached its target: the provider does not have the trigger."""
    REFUSED = auto()
    """The call was refused, and the machine rests where it was: no transition has started."""
    GIVEN_UP = auto()
    """A Configure was given up: the machine is IDLE again, without a binding (FLT-1)."""
    STUCK = auto()
    """It did not end within the patience."""
    ELSEWHERE = auto()
    """It ended in another stable state."""
    UNKNOWN = auto()
    """It could not be observed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One reading of the machine: by Get, by a List, or in an ack."""

    where: str
    machine: pb.Machine
    call: Call

    @property
    def state(self) -> State:
        """The state in the reading."""
        return state_of(self.machine.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnFailed:
    """A mutating call on a FAILED machine with a fresh token, and the same token once more."""

    verb: Verb
    before: Reading
    """The last reading before it."""
    call: Call
    after: Reading
    """The first reading after it, and after the second call."""
    again: Call | None = None
    """The call with the same token. Absent if the first one was not answered with certainty, or was accepted."""
    cluster: str = ""
    """The cluster of a Configure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """A FAILED machine as Get and Lists show it, all read while it rests. None: a List does not contain it."""

    get: Call
    listed: dict[str, tuple[Call, pb.Machine | None]]
    """The Lists by a description of their filter."""

    @property
    def differences(self) -> dict[str, str]:
        """The differences from Get by the description of the List; empty if all agree."""
        shown: pb.Machine = self.get.response
        found = {name: _difference(shown, listed) for name, (_, listed) in self.listed.items()}
        return {name: text for name, text in found.items() if text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """One machine whose transition was made to fail."""

    trigger: Trigger
    life: str
    """The moment, as a part of a sentence: `in the first life`."""
    machine: str
    effect: Effect = Effect.UNKNOWN
    problem: str = ""
    """The reason for which it could not be observed."""
    ack: Call | None = None
    """The call whose transition was made to fail."""
    path: tuple[Reading, ...] = ()
    """The readings from the ack to the end of the transition."""
    seconds: float = 0.0
    """The time from the call to the end of the transition."""
    rest: tuple[Reading, ...] = ()
    """The readings of the FAILED machine, in order. The first one is the last one of `path`."""
    stale: tuple[Call, ...] = ()
    """Calls on the FAILED machine with tokens that were used before the failure."""
    fresh: tuple[OnFailed, ...] = ()
    views: Views | None = None
    waited: float = 0.0
    """The seconds for which the FAILED machine was watched."""
    calls: tuple[Call, ...] = ()
    """All calls about the machine since the trigger."""

    @property
    def text(self) -> str:
        """The specimen in a few words."""
        return f"{self.machine} ({self.trigger.text}, {self.life})"

    @property
    def failed(self) -> bool:
        """Returns whether the transition ended in FAILED."""
        return self.effect is Effect.FAILED

    @property
    def end(self) -> Reading | None:
        """The reading in which the transition had ended, or the last one."""
        return self.path[-1] if self.path else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bystander:
    """A machine that no client drives while others fail."""

    machine: str
    state: State
    before: Call
    """Get before the first failure."""
    after: Call | None = None
    """Get after the last failure."""
    first: Call | None = None
    """The call that was acknowledged before; for a machine that is bound."""
    retry: Call | None = None
    """The same call again, after the last failure."""
    spent: tuple[tuple[Call, Call], ...] = ()
    """Calls before the first failure, each with a call with the same token after the last one."""
    problem: str = ""
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Creates:
    """The hosts that the backend ran before and after the Creates that failed, and those that the provider showed."""

    before: frozenset[str]
    after: frozenset[str]
    shown: frozenset[str]

    @property
    def hidden(self) -> frozenset[str]:
        """The hosts that run since, and that no machine shows."""
        return self.after - self.before - self.shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """The recording of the lane: all specimens, and the machines that no client drove meanwhile."""

    specimens: tuple[Specimen, ...]
    bystanders: tuple[Bystander, ...] = ()
    hosts: Creates | None = None
    machines: tuple[str, ...] = ()
    problem: str = ""
    """The reason for which no recording exists."""

    def of(self, *names: str) -> tuple[Specimen, ...]:
        """Returns the specimens of these triggers."""
        return tuple(each for each in self.specimens if each.trigger.name in names)

    def failed(self, *verbs: Verb) -> Iterator[Specimen]:
        """Returns the specimens that ended in FAILED: of these verbs, or of all."""
        return (each for each in self.specimens if each.failed and (not verbs or each.trigger.verb in verbs))


def _difference(get: pb.Machine, listed: pb.Machine | None) -> str:
    """Returns how a List shows a machine at rest differently from Get; empty if they agree (LST-4)."""
    if listed is None:
        return "does not contain it"
    one, other = expect.at_rest(get), expect.at_rest(listed)
    names = [field.name for field in get.DESCRIPTOR.fields if getattr(one, field.name) != getattr(other, field.name)]
    return f"shows another {', '.join(names)}: {describe_machine(listed)}" if names else ""
