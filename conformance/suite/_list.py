"""Helpers of the LST behaviours: what a List holds, and the revision of now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from conformance.core.errors import NotObserved
from conformance.core.lifecycle import State, state_of
from conformance.testkit import expect
from conformance.testkit.observer import LONGEST_LAG, poll_until_deadline

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.testkit.trial import Trial


ALL: Final[tuple[State, ...]] = tuple(state for state in State if state is not State.UNSPECIFIED)


def ids(call: Call) -> list[str]:
    """Returns the ids in a listing."""
    return [machine.id for machine in call.response.machines]


def only(call: Call, states: Collection[State | int]) -> None:
    """The listing holds machines in these states and no other, if any are named (LST-1)."""
    strays = [m for m in call.response.machines if states and m.state not in states]
    expect.fact(
        not strays,
        wanted=f"List of {', '.join(state_of(s).name for s in states)} to hold machines in these states only",
        got=f"{len(strays)} others, such as {strays[0].id if strays else ''}"
        f" {state_of(strays[0].state).name if strays else ''}",
        calls=[call],
    )


async def listing(
    trial: Trial,
    states: Sequence[State | int] = (),
    *,
    inside: Sequence[Machine] = (),
    outside: Sequence[Machine] = (),
    least: int = 0,
    cap: int = 0,
    client: Client | None = None,
    longest: float = LONGEST_LAG,
) -> Call:
    """Returns a List that holds what it should.

    At once: no state but those asked for, nothing over the cap. Once it has caught up, as a List may lag (LST-10):
    all machines of `inside`, none of `outside`, and at least `least` machines.
    """
    async for last in poll_until_deadline(trial, longest=longest):
        call = await expect.acked((client or trial.client).list(states, cap=cap))
        found = ids(call)
        only(call, states)
        expect.fact(not cap or len(found) <= cap, wanted=f"at most {cap} machines", got=len(found), calls=[call])
        missing = [m.id for m in inside if m.id not in found]
        strays = [m.id for m in outside if m.id in found]
        if not missing and not strays and len(found) >= least:
            break
        if last:
            await asyncio.gather(*(machine.read() for machine in (*inside, *outside)))  # still as we left them?
            wanted = _wanted(states, missing, strays, f"at least {least} machines", cap=cap)
            got = f"{len(found)} machines, without {missing} and with {strays}"
            expect.fact(False, wanted=wanted, got=got, calls=[call])
    return call


def _wanted(states: Sequence[State | int], missing: list[str], strays: list[str], enough: str, *, cap: int) -> str:
    """Returns what a List should have held, in words."""
    asked = ", ".join(state_of(state).name for state in states) or "everything"
    if missing:
        return f"List of {asked} to hold {missing}"
    return f"List of {asked} not to hold {strays}" if strays else f"{enough} in a List of {asked} with cap {cap}"


async def cursor(trial: Trial) -> bytes:
    """Returns the current revision. Raises NotObserved if this List has none."""
    call = await expect.acked(trial.client.list(trial.found.states_to_list()))
    revision: bytes = call.response.revision
    if not revision:
        raise NotObserved("this List has no revision, as the first one had")
    return revision
