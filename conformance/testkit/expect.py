"""The verbs with which behaviours state facts. Each returns the call or reading, or raises with `wanted` and `got`.

A fact that does not hold is a `Violation`, the provider's fault. A call that the provider never answered is a
`NoAnswer`: it is not evidence about the clause.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.errors import Violation
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.fleet.machine import FIRST_POLL, Machine
from conformance.rpc.call import Call, cut, describe_machine, require_from_provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence

    import grpc

    from conformance.fleet.context import SettleResult

STABLE_FIELDS = (
    *("id", "state", "host", "cluster", "shard_metadata", "instance_type", "zone", "capacity_type", "resources"),
    *("allocatable", "last_error"),
)
"""Fields that do not change without a call, and in which List, deltas and Get agree (LST-4).

Price, probability and labels may change by themselves, and so may fields of a newer contract.
"""
EMPTY_EQUALS_UNSET = ("host", "resources", "allocatable")
"""Messages that mean the same if they are empty as if they are not set."""


async def answered(pending: Awaitable[Call] | Call) -> Call:
    """Expects any answer to the call. Raises NoAnswer without one, and never a Violation."""
    call = pending if isinstance(pending, Call) else await pending
    _ = call.status
    return call


async def accepted(pending: Awaitable[Call] | Call) -> Call:
    """Expects the call to pass the fence; it may be refused for another reason (§5)."""
    call = await answered(pending)
    if call.fenced:
        raise Violation(f"{call.rpc} with token {call.token} to pass the fence", call.outcome(), calls=[call])
    return call


async def fenced(pending: Awaitable[Call] | Call) -> Call:
    """Expects the fence to refuse the call with FAILED_PRECONDITION (FEN-1)."""
    call = await answered(pending)
    if not (call.fenced or call.token_spent):
        raise Violation(
            f"{call.rpc} with token {call.token} to be fenced: FAILED_PRECONDITION",
            call.outcome(),
            calls=[call],
        )
    return call


async def acked(pending: Awaitable[Call] | Call) -> Call:
    """Expects the call to be answered OK."""
    call = await answered(pending)
    if not call.ok:
        raise Violation(f"{call.rpc} to be answered OK", call.outcome(), calls=[call])
    return call


async def refused(pending: Awaitable[Call] | Call) -> Call:
    """Expects the call to be refused, but not by the fence (COD-2, COD-3)."""
    call = await answered(pending)
    if call.ok or call.fenced:
        raise Violation(
            f"{call.rpc} to be refused, with any code but FAILED_PRECONDITION", call.outcome(), calls=[call]
        )
    return call


async def code(pending: Awaitable[Call] | Call, *codes: grpc.StatusCode, from_http: bool = False) -> Call:
    """Expects the call to be answered with one of `codes`.

    Raises NotObserved for an HTTP status that gRPC reads as UNIMPLEMENTED, unless `from_http`: a proxy may answer so.
    """
    call = await answered(pending)
    if not from_http:
        require_from_provider(call)
    if call.status not in codes:
        wanted = " or ".join(c.name for c in codes)
        raise Violation(f"{call.rpc} to answer {wanted}", call.outcome(), calls=[call])
    return call


def fact(holds: object, *, wanted: str, got: object, calls: Sequence[Call] = ()) -> None:
    """Expects `holds` to be true."""
    if not holds:
        raise Violation(wanted, str(got), calls=calls)


async def settles(machine: Machine, verb: Verb) -> SettleResult:
    """Expects the machine to settle at the target of `verb`'s edge (LIF-1)."""
    target, patience = EDGES[verb].target, machine.patience.for_verb(verb)
    result = await machine.settle(patience=patience)
    if result.state is not target:
        path = " -> ".join(state.name for state in result.states)
        got = (
            f"settled at {describe_machine(result.machine)}"
            if result.state.stable
            else f"not settled after {patience:g} s"
        )
        raise Violation(f"{machine.id} to settle at {target.name} after {verb.value}", f"{got} (seen: {path})")
    return result


async def rests(machine: Machine, state: State) -> pb.Machine:
    """Expects the machine to be in `state` now."""
    seen = await machine.read()
    if state_of(seen.state) is not state:
        raise Violation(f"{machine.id} to be {state.name}", describe_machine(seen))
    return seen


async def stays(machines: Iterable[Machine], state: State, *, seconds: float) -> None:
    """Expects the machines to be in `state` in every reading over a window of `seconds` (LIF-3)."""

    async def observe(machine: Machine) -> None:
        async for _ in _polls(seconds):
            await rests(machine, state)

    await asyncio.gather(*(observe(machine) for machine in machines))


async def _polls(seconds: float) -> AsyncIterator[None]:
    """Yields when a reading is due, from now until `seconds` are over; at least once."""
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + seconds, FIRST_POLL
    while True:
        yield
        remaining = end - loop.time()
        if remaining <= 0:
            return
        pause = min(pause * 2, seconds / 5, remaining)
        await asyncio.sleep(pause)


def at_rest(machine: pb.Machine) -> pb.Machine:
    """Returns a copy with only the fields that do not change without a call (LST-4), and without unknown fields."""
    stable = pb.Machine()
    stable.CopyFrom(machine)
    stable.DiscardUnknownFields()
    for name in (field.name for field in pb.Machine.DESCRIPTOR.fields):
        empty = name in EMPTY_EQUALS_UNSET and not getattr(stable, name).ByteSize()
        if empty or name not in STABLE_FIELDS:
            stable.ClearField(name)
    return stable


def same(one: pb.Machine, other: pb.Machine, *, what: str) -> None:
    """Expects two readings of a machine at rest to agree, except in fields that may change without a call (LST-4)."""
    left, right = at_rest(one), at_rest(other)
    if left != right:
        names = sorted(f.name for f in pb.Machine.DESCRIPTOR.fields if getattr(left, f.name) != getattr(right, f.name))
        raise Violation(
            f"{what}: the same {', '.join(names)}",
            "; ".join(f"{name} {_short(left, name)} and then {_short(right, name)}" for name in names),
        )


def _short(machine: pb.Machine, name: str) -> str:
    value: Any = getattr(machine, name)
    return state_of(value).name if name == "state" else cut(" ".join(str(value).split()) or "empty", 120)


async def unchanged(machine: Machine, before: pb.Machine, *, by: str, seconds: float = 0.0) -> None:
    """Expects the machine to be as it was `before` in every reading over a window of `seconds`."""
    async for _ in _polls(seconds):
        same(before, await machine.read(), what=f"{machine.id} to be unchanged by {by}")


async def same_operation(first: Call, *others: Awaitable[Call] | Call) -> None:
    """Expects the calls to be answered OK with the operation id of `first` (OPS-2)."""
    for other in others:
        call = await acked(other)
        if call.operation_id != first.operation_id:
            raise Violation(
                f"the retry of {call.rpc} to have operation id {cut(first.operation_id)!r}",
                f"operation id {cut(call.operation_id)!r}",
                calls=[first, call],
            )


def echoes(machine: pb.Machine, metadata: Mapping[str, str], *, where: str) -> None:
    """Expects the machine to show exactly this metadata, byte for byte (MET-1)."""
    shown = dict(machine.shard_metadata)
    if shown == dict(metadata):
        return
    missing = sorted(metadata.keys() - shown.keys())
    extra = sorted(shown.keys() - metadata.keys())
    changed = sorted(key for key in metadata.keys() & shown.keys() if metadata[key] != shown[key])
    parts = [
        *(f"no key {cut(key, 40)!r}" for key in missing[:3]),
        *(f"unknown key {cut(key, 40)!r}" for key in extra[:3]),
        *(f"{cut(k, 40)!r} is {cut(shown[k], 40)!r}, not {cut(metadata[k], 40)!r}" for k in changed[:3]),
    ]
    count = len(missing) + len(extra) + len(changed)
    keys = "1 key" if len(metadata) == 1 else f"{len(metadata)} keys"
    more = f" and {count - len(parts)} more" if count > len(parts) else ""
    raise Violation(f"{where} to show the {keys} that Configure sent", "; ".join(parts) + more)
