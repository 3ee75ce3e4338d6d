"""The values that a machine must show, as its calls and readings tell: frozen, with pure functions between them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from conformance.core.lifecycle import EDGES, State, Verb, state_of, verb_in_progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.rpc.call import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A cluster and its metadata; both empty for a machine that is not bound."""

    cluster: str = ""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    by: Call | None = None
    """The call that tells of it."""


UNBOUND: Final = Binding()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation that a call has started, with the call that was acknowledged first."""

    id: str
    verb: Verb
    ack: Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The values that one machine must show. None, or empty, where one is not known."""

    state: State | None = None
    """The stable state in which it rests."""
    verb: Verb | None = None
    """The transition that runs, or has ended unseen. With `state` None as well, nothing is known."""
    cut: Verb | None = None
    """The transition that a restart of the provider has cut short, until the machine is seen at rest (DUR-3)."""
    host: tuple[str, str] = ("", "")
    """The provider and the ref of the host of this life."""
    binding: Binding | None = None
    operation: Operation | None = None
    """The last operation, if its call is known."""
    by: Call | None = None
    """The call that tells of the state."""
    since: int = 0
    """The tick of the model at which that call had ended."""

    @property
    def known(self) -> bool:
        """Returns whether anything is known about the machine's state."""
        return self.state is not None or self.verb is not None

    def is_new(self, verb: Verb) -> bool:
        """Returns whether a call of `verb` that is answered OK has started a transition."""
        return self.verb is None and self.state is EDGES[verb].source

    def may_be_new(self, verb: Verb, ack: Call) -> bool:
        """Returns whether the ack of a retry may be that of a new operation: the Configure may have been given up."""
        if self.verb is not Verb.CONFIGURE or verb is not Verb.CONFIGURE:
            return False
        return self.operation is not None and ack.response.operation_id != self.operation.id

    def is_retry(self, verb: Verb) -> bool:
        """Returns whether a call of `verb` is a retry of the last operation (OPS-2)."""
        if self.operation is None or self.operation.verb is not verb:
            return False
        return self.verb is verb or (self.verb is None and self.state is EDGES[verb].target)


UNKNOWN: Final = Expected()


def after_lost_call(expected: Expected, verb: Verb) -> Expected:
    """Returns what is known after a call of which it is not known whether it was applied, or in which order."""
    ends_life = verb in (Verb.CREATE, Verb.DELETE)
    return Expected(host=("", "") if ends_life else expected.host)


def after_start(expected: Expected, verb: Verb, ack: Call, tick: int) -> Expected:
    """Returns what is known after the ack of a call that has started a transition."""
    host: tuple[str, str]
    binding: Binding | None
    match verb:
        case Verb.CREATE:
            host, binding = ("", ""), UNBOUND
        case Verb.CONFIGURE:
            host = expected.host
            binding = Binding(cluster=ack.request.cluster_id, metadata=dict(ack.request.shard_metadata), by=ack)
        case _:
            host, binding = expected.host, expected.binding
    operation = Operation(id=ack.response.operation_id, verb=verb, ack=ack)
    return Expected(verb=verb, host=host, binding=binding, operation=operation, by=ack, since=tick)


def after_retry(expected: Expected, ack: Call) -> Expected:
    """Returns what is known after a retry was acknowledged: other metadata should not be stored, but may be (OPS-5)."""
    binding = expected.binding
    if ack.rpc != Verb.CONFIGURE.value or binding is None or dict(ack.request.shard_metadata) == binding.metadata:
        return expected
    return replace(expected, binding=None)


def after_reading(expected: Expected, shown: pb.Machine, get: Call, tick: int) -> Expected:
    """Returns what is known after a Get that no call can have overtaken."""
    state = state_of(shown.state)
    host = (shown.host.provider, shown.host.ref)
    kept = expected.host if all(expected.host) else host if all(host) else ("", "")
    if state is State.FAILED:
        return Expected(state=state, host=kept, by=get, since=tick)
    if state is State.UNSPECIFIED:
        return Expected(host=kept)
    if not state.stable and expected.cut is not None:
        return expected  # it goes on, but may still end in any way
    if not state.stable:
        if expected.known:
            return expected if all(expected.host) or not all(host) else replace(expected, host=host)
        return Expected(verb=verb_in_progress(state), host=kept, by=get, since=tick)
    if expected.state is state:
        return expected
    if state is State.CONFIGURED:
        binding = expected.binding or Binding(cluster=shown.cluster, metadata=dict(shown.shard_metadata), by=get)
    else:
        binding = UNBOUND
    return Expected(
        state=state,
        host=("", "") if state is State.SPECULATIVE else kept,
        binding=binding,
        operation=expected.operation if expected.verb is not None else None,
        by=get,
        since=tick,
    )


def after_overtaken_reading(expected: Expected, shown: pb.Machine) -> Expected:
    """Returns what is known after a List, or a Get that another call may have overtaken.

    An operator who has read FAILED may repair the machine at once.
    """
    if state_of(shown.state) is State.FAILED and expected.state is not State.FAILED:
        return Expected(host=expected.host)
    return expected


def after_restart(expected: Expected) -> Expected:
    """Returns what is known after the provider has ended and starts again.

    A transition that was running may have gone on, failed, or ended in either of its stable states (DUR-3).
    """
    verb = expected.verb
    if expected.state is State.FAILED:
        return Expected(host=expected.host)  # it may be cleaned up
    if verb is None:
        return expected
    kept = verb in (Verb.CONFIGURE, Verb.DRAIN)
    return Expected(
        cut=verb,
        host=expected.host if kept else ("", ""),
        binding=expected.binding if kept else None,
        by=expected.by,
        since=expected.since,
    )
