"""The contract's rules about a single answer, whatever asked for it: pure functions from answers to a breach or None.

The pool applies them to what it sees outside the behaviours. They conclude nothing from answers that another client, a
lost call or a failure of the provider (§9) could explain: the caller checks the first two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc import StatusCode

from conformance.core.lifecycle import EDGES, SHOWN, Presence, State, Verb, state_of
from conformance.results.breach import Breach
from conformance.rpc.call import cut, describe_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.rpc.call import Call


def after_call(machine_id: str, verb: Verb, ack: Call, get: Call) -> Breach | None:
    """Returns the breach of LIF-1 if the machine has settled at a wrong end after an acknowledged call.

    FAILED is allowed (FLT-1), and so is IDLE without a binding after Configure: the provider may have given it up.
    """
    state, target = state_of(get.response.state), EDGES[verb].target
    given_up = verb is Verb.CONFIGURE and state is State.IDLE and not get.response.cluster
    if not state.stable or state in (target, State.FAILED) or given_up:
        return None
    return Breach(
        behaviour="LIF-1a",
        machine=machine_id,
        wanted=f"{machine_id} to settle at {target.name} after {verb.value}, which was acknowledged",
        got=describe_machine(get.response),
        calls=(ack, get),
        other_client_possible=True,
    )


def moved_at_rest(machine_id: str, before: State, get: Call) -> Breach | None:
    """Returns the breach of LIF-3 if a machine was at rest in `before`, and another stable state shows without a call.

    FAILED is allowed (FLT-1): a host may be lost at any time.
    """
    state = state_of(get.response.state)
    if not state.stable or state in (before, State.FAILED):
        return None
    return Breach(
        behaviour="LIF-3a",
        machine=machine_id,
        wanted=f"{machine_id} to stay {before.name}, as no call was made",
        got=describe_machine(get.response),
        calls=(get,),
        other_client_possible=True,
    )


def other_machine_in_ack(machine_id: str, ack: Call) -> Breach | None:
    """Returns the breach of LIF-11 if an ack shows another machine than the call was for."""
    shown = ack.response.machine.id
    if not shown or shown == machine_id:
        return None
    return Breach(
        behaviour="LIF-11a",
        machine=machine_id,
        wanted=f"the ack of {ack.rpc} to show {machine_id}",
        got=f"machine {cut(shown, 60)!r}",
        calls=(ack,),
    )


def lost_id(machine_id: str, get: Call) -> Breach | None:
    """Returns the breach of LIF-4 if a Get of a machine that lives shows another machine, or finds none."""
    if get.answered_ok and get.response.id != machine_id:
        got = f"machine {cut(get.response.id, 60)!r}"
    elif get.answered and get.code is StatusCode.NOT_FOUND:
        got = get.outcome()
    else:
        return None
    wanted = f"Get of {machine_id}, which lives, to show {machine_id}"
    return Breach(behaviour="LIF-4a", machine=machine_id, wanted=wanted, got=got, calls=(get,))


def fenced_newer(machine_id: str, call: Call, *, first: bool) -> Breach | None:
    """Returns the breach of FEN-2 or FEN-1 if a call with the newest token of its shard was fenced.

    `first`: it was the first call of its shard. The caller makes sure that no other call can have raised the mark.
    """
    if not call.answered or not call.fenced or call.retried:
        return None
    what = "the first call of its shard" if first else "a call with the newest token of its shard"
    return Breach(
        behaviour="FEN-2a" if first else "FEN-1a",
        machine=machine_id,
        wanted=f"{call.rpc}, {what}, not to be fenced",
        got=call.outcome(),
        calls=(call,),
    )


def at_rest(machine_id: str, get: Call) -> Breach | None:
    """Returns the first breach of the table of §12 in a Get of a machine in a stable state."""
    return next((breach for breach in _of_table(machine_id, get) if breach is not None), None)


def _of_table(machine_id: str, get: Call) -> Iterator[Breach | None]:
    shown: pb.Machine = get.response
    if not state_of(shown.state).stable:
        return
    wanted, host = SHOWN[state_of(shown.state)], (shown.host.provider, shown.host.ref)
    yield _field(machine_id, get, "LIF-5a", "host", wanted.host, host)
    yield _field(machine_id, get, "LIF-6a", "cluster", wanted.cluster, (shown.cluster,))
    yield _field(machine_id, get, "SHP-4a", "last_error", wanted.last_error, (shown.last_error,))


def _field(
    machine_id: str, get: Call, behaviour: str, name: str, wanted: Presence, shown: tuple[str, ...]
) -> Breach | None:
    """Returns a breach if the parts `shown` of a field are not all set, or not all empty, as wanted."""
    if wanted is Presence.ANY or (all(shown) if wanted is Presence.SET else not any(shown)):
        return None
    state = state_of(get.response.state).name
    return Breach(
        behaviour=behaviour,
        machine=machine_id,
        wanted=f"{machine_id}, {state}, to have {'a' if wanted is Presence.SET else 'no'} {name}",
        got=describe_machine(get.response),
        calls=(get,),
    )
