"""The verbs with which behaviours state facts. Each returns what it saw, or raises with `wanted` and `got`.

A fact that does not hold is a `Violation`: the provider's fault. A call that the provider never answered is `NoAnswer`:
it says nothing about the clause.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.errors import NoAnswer, Violation
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.fleet.machine import FIRST_POLL, Machine
from conformance.rpc.call import Call, cut, describe_machine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence

    import grpc

    from conformance.fleet.context import SettleResult

VOLATILE_FIELDS = ("price_per_hour", "interruption_probability", "labels")
"""Fields that may change by themselves between two reads (LST-4)."""
EMPTY_EQUALS_UNSET = ("host", "resources", "allocatable")
"""Messages that mean the same if they are empty and if they are not set."""


async def answered(asked: Awaitable[Call] | Call) -> Call:
    """The call is answered, in whatever way. Raises NoAnswer if it is not, and never a Violation."""
    call = asked if isinstance(asked, Call) else await asked
    if not call.answered:
        raise NoAnswer(f"{call.rpc} was not answered: {call.outcome()}")
    return call


async def accepted(asked: Awaitable[Call] | Call) -> Call:
    """The call passes the fence; it may be refused for a reason of its own (§5)."""
    call = await answered(asked)
    if call.fenced:
        raise Violation(f"{call.rpc} with token {call.token} to pass the fence", call.outcome(), calls=[call])
    return call


async def fenced(asked: Awaitable[Call] | Call) -> Call:
    """The call is refused with FAILED_PRECONDITION (FEN-1)."""
    call = await answered(asked)
    if not (call.fenced or call.spent):
        raise Violation(
            f"{call.rpc} with token {call.token} to be fenced: FAILED_PRECONDITION",
            call.outcome(),
            calls=[call],
        )
    return call


async def acked(asked: Awaitable[Call] | Call) -> Call:
    """The call is answered OK."""
    call = await answered(asked)
    if not call.ok:
        raise Violation(f"{call.rpc} to be answered OK", call.outcome(), calls=[call])
    return call


async def refused(asked: Awaitable[Call] | Call) -> Call:
    """The call is refused, and not by the fence (COD-2, COD-3)."""
    call = await answered(asked)
    if call.ok or call.fenced:
        raise Violation(
            f"{call.rpc} to be refused, with any code but FAILED_PRECONDITION", call.outcome(), calls=[call]
        )
    return call


async def code(asked: Awaitable[Call] | Call, *codes: grpc.StatusCode) -> Call:
    """The call is answered with one of `codes`."""
    call = await answered(asked)
    if call.code not in codes:
        wanted = " or ".join(c.name for c in codes)
        raise Violation(f"{call.rpc} to answer {wanted}", call.outcome(), calls=[call])
    return call


def fact(holds: object, *, wanted: str, got: object, calls: Sequence[Call] = ()) -> None:
    """`holds` is true."""
    if not holds:
        raise Violation(wanted, str(got), calls=calls)


async def settles(machine: Machine, verb: Verb) -> SettleResult:
    """The machine comes to rest at the far end of `verb`'s edge (LIF-1)."""
    target, patience = EDGES[verb].target, machine.patience.verb(verb)
    watch = await machine.settle(patience=patience)
    if watch.state is not target:
        way = " -> ".join(state.name for state in watch.states)
        got = f"settled at {describe_machine(watch.machine)}" if watch.state.stable else f"no end after {patience:g} s"
        raise Violation(f"{machine.id} to settle at {target.name} after {verb.value}", f"{got} (seen: {way})")
    return watch


async def rests(machine: Machine, state: State) -> pb.Machine:
    """The machine is in `state` now."""
    seen = await machine.read()
    if state_of(seen.state) is not state:
        raise Violation(f"{machine.id} to be {state.name}", describe_machine(seen))
    return seen


async def stays(machines: Iterable[Machine], state: State, *, seconds: float) -> None:
    """The machines are in `state`, at every look over a window of `seconds` (LIF-3)."""

    async def watch(machine: Machine) -> None:
        async for _ in _polls(seconds):
            await rests(machine, state)

    await asyncio.gather(*(watch(machine) for machine in machines))


async def _polls(seconds: float) -> AsyncIterator[None]:
    """Yields when to look, from now until `seconds` are over; at least once."""
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + seconds, FIRST_POLL
    while True:
        yield
        left = end - loop.time()
        if left <= 0:
            return
        pause = min(pause * 2, seconds / 5, left)
        await asyncio.sleep(pause)


def at_rest(machine: pb.Machine) -> pb.Machine:
    """Returns a copy without fields that may change by themselves (LST-4); unknown fields may too."""
    still = pb.Machine()
    still.CopyFrom(machine)
    still.DiscardUnknownFields()
    for field in (*VOLATILE_FIELDS, *(name for name in EMPTY_EQUALS_UNSET if not getattr(still, name).ByteSize())):
        still.ClearField(field)
    return still


def same(one: pb.Machine, other: pb.Machine, *, what: str) -> None:
    """Two readings of one machine at rest agree, except in what may change by itself (LST-4)."""
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
    """The machine is as it was `before`, except what may change by itself, at every look in a window of `seconds`."""
    async for _ in _polls(seconds):
        same(before, await machine.read(), what=f"{machine.id} to be unchanged by {by}")


async def same_operation(first: Call, *others: Awaitable[Call] | Call) -> None:
    """The calls are answered OK with the operation id of `first` (OPS-2)."""
    for other in others:
        call = await acked(other)
        if call.operation_id != first.operation_id:
            raise Violation(
                f"the retry of {call.rpc} to have operation id {cut(first.operation_id)!r}",
                f"operation id {cut(call.operation_id)!r}",
                calls=[first, call],
            )


def echoes(machine: pb.Machine, metadata: Mapping[str, str], *, where: str) -> None:
    """The machine shows just this metadata, byte for byte (MET-1)."""
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
    more = f" and {count - len(parts)} more" if count > len(parts) else ""
    raise Violation(f"{where} to show the {len(metadata)} keys that Configure sent", "; ".join(parts) + more)
