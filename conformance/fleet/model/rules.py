"""The rules about one answer: pure functions from the expected values of a machine and the answer to breaches.

FAILED is allowed at any time (FLT-1): a host may be lost. So is IDLE without a binding after Configure: the provider
may have given it up. A FAILED machine stays so, unless it is repaired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bigfleet.v1alpha1 import provider_pb2 as pb
from grpc import StatusCode

from conformance.core.lifecycle import EDGES, SHOWN, Presence, State, Verb, state_of
from conformance.results.breach import Breach
from conformance.rpc.call import cut, describe_machine, describe_map

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conformance.fleet.model.expected import Binding, Expected
    from conformance.rpc.call import Call

CLEANED_UP = (State.DELETING, State.SPECULATIVE, State.IDLE)
"""The states that a FAILED machine may show without a call, after a repair (FLT-3)."""
BOUND = (State.CONFIGURED, State.DRAINING)
UNBOUND_STATES = (State.SPECULATIVE, State.CREATING, State.IDLE, State.DELETING)
VIA_BEHAVIOURS = {Verb.CREATE: "LIF-2a", Verb.CONFIGURE: "LIF-2b", Verb.DRAIN: "LIF-2c", Verb.DELETE: "LIF-2d"}
RETRY_BEHAVIOURS = {Verb.CREATE: "OPS-2a", Verb.CONFIGURE: "OPS-2b", Verb.DRAIN: "OPS-2c", Verb.DELETE: "OPS-2f"}
USED_OPERATION = "OPS-3a"
HOST_BEHAVIOURS = {State.CREATING: "LIF-5d", State.DELETING: "LIF-5e"}
CLUSTER_BEHAVIOURS = {State.CREATING: "LIF-6f", State.DELETING: "LIF-6g", State.CONFIGURING: "LIF-6e"}
ERROR_BEHAVIOURS = {
    State.CREATING: "SHP-4d",
    State.DELETING: "SHP-4e",
    State.CONFIGURING: "SHP-4b",
    State.DRAINING: "SHP-4b",
}
MIN_SECRET = 8
"""The number of characters from which a text does not occur by chance."""
FIXED_FIELDS = ("instance_type", "zone", "capacity_type", "resources", "allocatable")
"""The fields that stay as they are while a machine rests, and that no call names."""
REFUSALS = frozenset(
    {
        *(StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND, StatusCode.ALREADY_EXISTS, StatusCode.PERMISSION_DENIED),
        *(StatusCode.ABORTED, StatusCode.OUT_OF_RANGE, StatusCode.UNIMPLEMENTED),
    }
)
"""The codes of a call that was refused for good."""
METADATA_BEHAVIOURS = {State.CONFIGURING: "MET-1c", State.DRAINING: "MET-1d"}


def of_table(machine_id: str, shown: pb.Machine, call: Call) -> Iterator[Breach]:
    """Yields the breaches of the table of §12: which fields are set in which state."""
    state = state_of(shown.state)
    wanted = SHOWN[state]
    fields = (
        (HOST_BEHAVIOURS.get(state, "LIF-5a"), "host", wanted.host, (shown.host.provider, shown.host.ref)),
        (CLUSTER_BEHAVIOURS.get(state, "LIF-6a"), "cluster", wanted.cluster, (shown.cluster,)),
        (ERROR_BEHAVIOURS.get(state, "SHP-4a"), "last_error", wanted.last_error, (shown.last_error,)),
    )
    for behaviour, name, presence, parts in fields:
        if presence is Presence.ANY or (all(parts) if presence is Presence.SET else not any(parts)):
            continue
        yield Breach(
            behaviour=behaviour,
            machine=machine_id,
            wanted=f"{machine_id}, {state.name}, to have {'a' if presence is Presence.SET else 'no'} {name}",
            got=describe_machine(shown),
            calls=(call,),
            other_client_possible=True,
        )
    if state in UNBOUND_STATES and shown.shard_metadata:
        yield Breach(
            behaviour="MET-2a",
            machine=machine_id,
            wanted=f"{machine_id}, {state.name}, to show the 0 keys of no binding",
            got=f"metadata {describe_map(dict(shown.shard_metadata))}",
            calls=(call,),
            other_client_possible=True,
        )


def given_up(verb: Verb, shown: pb.Machine) -> bool:
    """Returns whether the machine shows that its Configure was given up (FLT-1)."""
    return verb is Verb.CONFIGURE and state_of(shown.state) is State.IDLE and not shown.cluster


def of_state(machine_id: str, expected: Expected, shown: pb.Machine, get: Call) -> Breach | None:
    """Returns the breach of LIF-1, LIF-2 or LIF-3 if the machine shows a state that no call explains."""
    state = state_of(shown.state)
    if state in (State.FAILED, State.UNSPECIFIED):
        return None
    if expected.state is not None:
        if state is expected.state or (expected.state is State.FAILED and state in CLEANED_UP):
            return None
        behaviour, wanted = "LIF-3a", f"{machine_id} to stay {expected.state.name}, as no call has moved it"
    elif expected.verb is not None:
        verb, edge = expected.verb, EDGES[expected.verb]
        if state in (edge.via, edge.target) or given_up(verb, shown):
            return None
        behaviour = "LIF-1a" if state.stable else VIA_BEHAVIOURS[verb]
        wanted = f"{machine_id} to be {edge.via.name} or {edge.target.name} after {verb.value}"
    elif expected.cut is not None:
        verb, edge = expected.cut, EDGES[expected.cut]
        if state in (edge.source, edge.via, edge.target):
            return None
        behaviour = "LIF-1a"
        allowed = f"{edge.source.name}, {edge.via.name} or {edge.target.name}"
        wanted = f"{machine_id} to be {allowed} after a restart during its {verb.value}"
    else:
        return None
    return Breach(
        behaviour=behaviour,
        machine=machine_id,
        wanted=wanted,
        got=describe_machine(shown),
        calls=_with(expected.by, get),
        other_client_possible=True,
    )


def of_listed_fields(machine_id: str, expected: Expected, shown: pb.Machine, call: Call) -> Breach | None:
    """Returns the breach of LST-4 if a List shows a machine at rest with other fixed fields than a Get before it.

    A List that lags may show an earlier life, which has another host, or an earlier state.
    """
    get = expected.by
    if get is None or get.rpc != "Get" or expected.state is not state_of(shown.state):
        return None
    read: pb.Machine = get.response
    if expected.state is State.FAILED or read.host.ref != shown.host.ref or read.cluster != shown.cluster:
        return None
    different = [name for name in FIXED_FIELDS if _differ(getattr(read, name), getattr(shown, name))]
    if not different:
        return None
    return Breach(
        behaviour="LST-4a",
        machine=machine_id,
        wanted=f"List and Get of {machine_id}, at rest in {state_of(shown.state).name}, to agree",
        got=f"another {', '.join(different)} in List",
        calls=(get, call),
        other_client_possible=True,
    )


def _differ(read: Any, shown: Any) -> bool:
    if isinstance(read, pb.Resources):  # an empty message is the same as none
        return dict(read.resources) != dict(shown.resources)
    return bool(read != shown)


def of_host(machine_id: str, expected: Expected, shown: pb.Machine, call: Call) -> Breach | None:
    """Returns the breach of LIF-5 if the machine shows another host than before in the same life."""
    host = (shown.host.provider, shown.host.ref)
    if not all(expected.host) or not all(host) or host == expected.host:
        return None
    return Breach(
        behaviour="LIF-5a",
        machine=machine_id,
        wanted=f"{machine_id} to keep the host {cut(expected.host[1])}",
        got=f"host {cut(host[1])}" if host[1] != expected.host[1] else f"host.provider {cut(host[0])!r}",
        calls=_with(expected.by, call),
        other_client_possible=True,
    )


def of_binding(machine_id: str, binding: Binding, shown: pb.Machine, call: Call) -> Iterator[Breach]:
    """Yields the breaches of LIF-6 and MET-1 of a machine that shows a state with a binding."""
    state = state_of(shown.state)
    if state not in BOUND and state is not State.CONFIGURING:
        return
    if shown.cluster and shown.cluster != binding.cluster:
        yield Breach(
            behaviour="LIF-6e" if state is State.CONFIGURING else "LIF-6a",
            machine=machine_id,
            wanted=f"{machine_id}, {state.name}, to show cluster {cut(binding.cluster)}",
            got=f"cluster {cut(shown.cluster)}",
            calls=_with(binding.by, call),
            other_client_possible=True,
        )
        return
    yield from of_metadata(machine_id, binding, shown, call)


def of_metadata(machine_id: str, binding: Binding, shown: pb.Machine, call: Call) -> Iterator[Breach]:
    """Yields the breach of MET-1 if a bound machine does not show the metadata of this binding."""
    metadata = dict(shown.shard_metadata)
    if metadata == binding.metadata:
        return
    state = state_of(shown.state)
    behaviour = METADATA_BEHAVIOURS.get(state, "MET-1b" if call.token is not None else "MET-1a")
    yield Breach(
        behaviour=behaviour,
        machine=machine_id,
        wanted=f"metadata of {machine_id}, {state.name}: {describe_map(dict(binding.metadata))}",
        got=describe_map(metadata),
        calls=_with(binding.by, call),
        other_client_possible=True,
    )


def of_ack(machine_id: str, verb: Verb, ack: Call) -> Breach | None:
    """Returns the breach of LIF-11 if the ack of a started transition shows another machine or another state."""
    shown: pb.Machine = ack.response.machine
    edge, state = EDGES[verb], state_of(shown.state)
    if shown.id != machine_id:
        wanted, got = f"the ack of {ack.rpc} to show {machine_id}", f"machine {cut(shown.id, 60)!r}"
    elif state not in (edge.via, edge.target, State.FAILED, State.UNSPECIFIED) and not given_up(verb, shown):
        wanted = f"the ack of {ack.rpc} to show {machine_id} {edge.via.name} or {edge.target.name}"
        got = describe_machine(shown)
    else:
        return None
    return Breach(
        behaviour="LIF-11a", machine=machine_id, wanted=wanted, got=got, calls=(ack,), other_client_possible=True
    )


def of_retry(machine_id: str, expected: Expected, ack: Call) -> Breach | None:
    """Returns the breach of OPS-2 if a retry is another operation."""
    operation = expected.operation
    if operation is None or ack.response.operation_id == operation.id:
        return None
    if operation.verb is Verb.CONFIGURE and ack.request.cluster_id != operation.ack.request.cluster_id:
        return None  # another cluster is another target; OPS-5 leaves the answer open
    return Breach(
        behaviour=RETRY_BEHAVIOURS[operation.verb],
        machine=machine_id,
        wanted=f"operation id {cut(operation.id)!r} for a retry of {operation.verb.value} of {machine_id}",
        got=f"operation {cut(ack.response.operation_id)!r}",
        calls=(operation.ack, ack),
        other_client_possible=True,
    )


RETRY_REFUSALS = (StatusCode.ABORTED, StatusCode.ALREADY_EXISTS, StatusCode.NOT_FOUND)
"""The codes of a refusal that does not depend on the values of the request, or on the load."""


def of_refused_retry(machine_id: str, expected: Expected, refused: Call) -> Breach | None:
    """Returns the breach of OPS-2 if a retry was refused although it differs from the first call in its token only."""
    operation = expected.operation
    if operation is None or refused.code not in RETRY_REFUSALS or not _same_target(operation.ack, refused):
        return None
    return Breach(
        behaviour=RETRY_BEHAVIOURS[operation.verb],
        machine=machine_id,
        wanted=f"{refused.rpc} of {machine_id}, sent again, to be answered OK with operation {cut(operation.id)!r}",
        got=refused.outcome(),
        calls=(operation.ack, refused),
        other_client_possible=True,
    )


def _same_target(first: Call, retry: Call) -> bool:
    fields = ("cluster_id", "bootstrap_blob", "shard_metadata", "grace_period_seconds")
    return all(getattr(first.request, name, None) == getattr(retry.request, name, None) for name in fields)


def still_runs(expected: Expected, shown: pb.Machine) -> bool:
    """Returns whether a reading shows the last operation in progress, or at its target."""
    edge = EDGES[expected.operation.verb] if expected.operation is not None else None
    return edge is not None and state_of(shown.state) in (edge.via, edge.target)


def of_missing_edge(machine_id: str, expected: Expected, verb: Verb, ack: Call) -> Breach | None:
    """Returns the breach of COD-2 if a call that has no edge was accepted.

    Drain of an IDLE machine, Delete of a SPECULATIVE one and Create of a machine that drained to IDLE may be answered
    as retries.
    """
    refused = {State.CONFIGURED: (Verb.CREATE, Verb.DELETE), State.SPECULATIVE: (Verb.CONFIGURE, Verb.DRAIN)}
    state = expected.state
    if expected.verb is not None or state is None or verb not in refused.get(state, ()):
        return None
    return Breach(
        behaviour="COD-2b" if state is State.CONFIGURED else "COD-2a",
        machine=machine_id,
        wanted=f"{verb.value} of {machine_id}, {state.name}, to be refused",
        got=ack.outcome(),
        calls=_with(expected.by, ack),
        other_client_possible=True,
    )


def is_refusal(verb: Verb, call: Call) -> bool:
    """Returns whether a Configure or Drain was refused for good.

    A provider may have no capacity for a Create, and no Delete. A code that leaves open whether the call was applied,
    or that asks to try again, says nothing.
    """
    return verb in (Verb.CONFIGURE, Verb.DRAIN) and call.answered and call.code in REFUSALS


def of_refused_edge(expected: Expected, verb: Verb, call: Call, again: Call) -> Breach | None:
    """Returns the breach of LIF-1 if a default call that has an edge from the machine's state was refused twice."""
    if expected.state is not EDGES[verb].source or again.code is not call.code:
        return None
    if not (is_refusal(verb, call) and is_refusal(verb, again)):
        return None
    return Breach(
        behaviour="LIF-1a",
        machine=call.machine_id,
        wanted=f"{verb.value} of {call.machine_id}, {EDGES[verb].source.name}, to be answered OK",
        got=f"{again.outcome()}, twice",
        calls=(call, again),
        other_client_possible=True,
    )


def of_refusals(verb: Verb, refusals: Sequence[Call]) -> Breach:
    """Returns the breach of LIF-1 of a call that was refused each time, although a Get showed its edge each time."""
    last = refusals[-1]
    return Breach(
        behaviour="LIF-1a",
        machine=last.machine_id,
        wanted=f"{verb.value} of {last.machine_id}, {EDGES[verb].source.name}, to be accepted",
        got=f"{last.outcome()}, {len(refusals)} times",
        calls=tuple(refusals),
        other_client_possible=True,
    )


def of_configures_given_up(calls: Sequence[Call]) -> Breach:
    """Returns the breach of LIF-1 of Configures, of any machines, that were all given up one after another (FLT-1)."""
    last = calls[-1]
    return Breach(
        behaviour="LIF-1a",
        machine=last.machine_id,
        wanted=f"{last.machine_id} to settle at CONFIGURED after Configure",
        got=f"IDLE, as the last {len(calls)} Configures",
        calls=tuple(calls[-3:]),
        other_client_possible=True,
    )


def of_stuck_transition(expected: Expected, verb: Verb, call: Call, shown: pb.Machine, seconds: float) -> Breach | None:
    """Returns the breach of LIF-1 if a transition has not ended although the kit has waited for it with patience."""
    state = state_of(shown.state)
    if expected.verb is not verb or state is not EDGES[verb].via:
        return None
    return Breach(
        behaviour="LIF-1a",
        machine=call.machine_id,
        wanted=f"{call.machine_id} to settle at {EDGES[verb].target.name} after {verb.value}",
        got=f"{describe_machine(shown)} after {seconds:.1f} s",
        calls=(call,),
        other_client_possible=True,
    )


def of_used_operation(machine_id: str, verb: Verb, first: Call | str, ack: Call) -> Breach:
    """Returns the breach of OPS-3 of a new transition whose operation id was used before: by a call, or its words."""
    words = first if isinstance(first, str) else f"{first.rpc} of {first.machine_id}"
    return Breach(
        behaviour=USED_OPERATION,
        machine=machine_id,
        wanted=f"a new operation id for {verb.value} of {machine_id}",
        got=f"{cut(ack.response.operation_id)!r}, the id of {words}",
        calls=(ack,) if isinstance(first, str) else (first, ack),
    )


def of_leak(machine_id: str, expected: Expected, fenced: Call) -> Breach | None:
    """Returns the breach of FEN-4 if the answer to a fenced call tells what the machine is doing.

    Texts that the caller sent itself do not count, nor do short ones, which may occur by chance.
    """
    secrets = {
        "operation id": expected.operation.id if expected.operation is not None else "",
        "host.ref": expected.host[1],
        "cluster": expected.binding.cluster if expected.binding is not None else "",
    }
    request = fenced.request
    sent = (machine_id, request.shard_id, request.cluster_id if fenced.rpc == Verb.CONFIGURE.value else "")
    for name, secret in secrets.items():
        if len(secret.strip()) >= MIN_SECRET and secret in fenced.details and not any(secret in each for each in sent):
            return Breach(
                behaviour="FEN-4c",
                machine=machine_id,
                wanted=f"the answer to a fenced {fenced.rpc} not to contain the {name}",
                got=fenced.outcome(),
                calls=(fenced,),
            )
    return None


def of_fenced_read(read: Call) -> Breach:
    """Returns the breach of FEN-8 of a Get or a List that was answered FAILED_PRECONDITION."""
    return Breach(
        behaviour="FEN-8a",
        machine=read.machine_id,
        wanted=f"{read.rpc}, which has no token, to be answered, and never FAILED_PRECONDITION",
        got=read.outcome(),
        calls=(read,),
    )


def of_empty_operation(machine_id: str, ack: Call) -> Breach | None:
    """Returns the breach of OPS-1 if an ack has no operation id."""
    if ack.response.operation_id:
        return None
    return Breach(
        behaviour="OPS-1b" if ack.rpc == Verb.DELETE.value else "OPS-1a",
        machine=machine_id,
        wanted=f"an operation_id in the ack of {ack.rpc} of {machine_id}",
        got="an empty one",
        calls=(ack,),
    )


def of_lost_id(machine_id: str, expected: Expected, get: Call) -> Breach | None:
    """Returns the breach of LIF-4 if a Get of a machine that lives shows another machine, or finds none."""
    if get.answered_ok:
        if get.response.id == machine_id:
            return None
        got = f"machine {cut(get.response.id, 60)!r}"
    else:
        got = get.outcome()
    wanted = f"Get of {machine_id}, which lives, to show {machine_id}"
    return Breach(behaviour="LIF-4a", machine=machine_id, wanted=wanted, got=got, calls=_with(expected.by, get))


def of_partial_delete(deletes: Mapping[StatusCode, Call]) -> Breach | None:
    """Returns the breach of LIF-8 if a Delete of an IDLE machine was accepted, and another one is UNIMPLEMENTED."""
    done, missing = deletes.get(StatusCode.OK), deletes.get(StatusCode.UNIMPLEMENTED)
    if done is None or missing is None or not missing.unimplemented:
        return None
    return Breach(
        behaviour="LIF-8d",
        machine=missing.machine_id,
        wanted=f"Delete of {missing.machine_id} to be answered like that of {done.machine_id}",
        got=missing.outcome(),
        calls=(done, missing),
    )


def of_shared_host(machine_id: str, host: str, other: str, calls: tuple[Call, ...]) -> Breach:
    """Returns the breach of LIF-5 of two machines that live at the same time and show the same host."""
    return Breach(
        behaviour="LIF-5f",
        machine=machine_id,
        wanted=f"{machine_id} and {other}, which live at the same time, to show two hosts",
        got=f"host {cut(host)} for both",
        calls=calls,
        other_client_possible=True,
    )


def _with(first: Call | None, call: Call) -> tuple[Call, ...]:
    return (call,) if first is None or first is call else (first, call)
