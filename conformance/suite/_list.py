"""Helpers of the LST behaviours: check the machines in a List, and get the current revision."""

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


ALL_STATES: Final[tuple[State, ...]] = tuple(state for state in State if state is not State.UNSPECIFIED)


def ids_in(call: Call) -> list[str]:
    """Returns the ids of the machines in a List."""
    return [machine.id for machine in call.response.machines]


def check_states(call: Call, states: Collection[State | int]) -> None:
    """Checks that every machine in the List is in one of `states`, if there are any (LST-1)."""
    unexpected = [m for m in call.response.machines if states and m.state not in states]
    expect.fact(
        not unexpected,
        wanted=f"List of {', '.join(state_of(s).name for s in states)} to contain only machines in these states",
        got=f"{len(unexpected)} machines in other states, such as {unexpected[0].id if unexpected else ''}"
        f" {state_of(unexpected[0].state).name if unexpected else ''}",
        calls=[call],
    )


async def checked_list(
    trial: Trial,
    states: Sequence[State | int] = (),
    *,
    included: Sequence[Machine] = (),
    excluded: Sequence[Machine] = (),
    least: int = 0,
    cap: int = 0,
    client: Client | None = None,
    longest: float = LONGEST_LAG,
) -> Call:
    """Returns a List with the expected machines. Raises Violation if no List has them within `longest` seconds.

    Every List must contain only machines in `states`, at most `cap` of them. After a delay, as a List may lag (LST-10),
    it must contain all machines of `included`, none of `excluded`, and at least `least` machines.
    """
    async for last in poll_until_deadline(trial, longest=longest):
        call = await expect.acked((client or trial.client).list(states, cap=cap))
        found = ids_in(call)
        check_states(call, states)
        expect.fact(
            not cap or len(found) <= cap, wanted=f"at most {cap} machines", got=f"{len(found)} machines", calls=[call]
        )
        missing = [m.id for m in included if m.id not in found]
        unexpected = [m.id for m in excluded if m.id in found]
        if not missing and not unexpected and len(found) >= least:
            break
        if last:
            # Raises Disturbed if another client has moved a machine.
            await asyncio.gather(*(machine.read() for machine in (*included, *excluded)))
            wanted = _wanted(states, missing, unexpected, least=least, cap=cap)
            got = f"{len(found)} machines; missing: {missing}; unexpected: {unexpected}"
            expect.fact(False, wanted=wanted, got=got, calls=[call])
    return call


def _wanted(states: Sequence[State | int], missing: list[str], unexpected: list[str], *, least: int, cap: int) -> str:
    """Returns the text that says which machines the List should have contained."""
    states_text = ", ".join(state_of(state).name for state in states) or "everything"
    if missing:
        return f"List of {states_text} to contain {missing}"
    if unexpected:
        return f"List of {states_text} not to contain {unexpected}"
    return f"List of {states_text} with max_results {cap} to contain at least {least} machines"


async def current_revision(trial: Trial, *states: State, cap: int = 0) -> bytes:
    """Returns the revision of a List now, by default of all machines. Raises NotObserved if the List has none."""
    call = await expect.acked(trial.client.list(states or trial.found.states_to_list(), cap=cap))
    revision: bytes = call.response.revision
    if not revision:
        raise NotObserved("a List had no revision, although the first List of the run had one")
    return revision
