"""LST: which machines a List holds (contract §7).

A fleet has other users, so every fact is about one answer by itself, about machines that were leased, or about
machines that a List before and a List after agree on.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from conformance import expect
from conformance.behaviour import behaviour
from conformance.lifecycle import EDGES, State, Verb, state_of
from conformance.sightings import looks, watching

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from conformance.call import Call
    from conformance.machine import Machine
    from conformance.trial import Trial

ALL: Final[tuple[State, ...]] = tuple(state for state in State if state is not State.UNSPECIFIED)
UNKNOWN: Final = 4242
"""A state that the contract does not have."""


def ids(call: Call) -> list[str]:
    """The ids in a listing."""
    return [machine.id for machine in call.response.machines]


def only(call: Call, states: Collection[State | int]) -> None:
    """The listing holds machines in these states and no other (LST-1)."""
    strays = [m for m in call.response.machines if m.state not in states]
    expect.fact(
        not strays,
        wanted=f"List of {', '.join(state_of(s).name for s in states)} to hold machines in these states only",
        got=f"{len(strays)} others, such as {strays[0].id if strays else ''}"
        f" {state_of(strays[0].state).name if strays else ''}",
        calls=[call],
    )


def once(call: Call) -> None:
    """The listing holds no machine twice (LST-3)."""
    twice = [machine for machine, count in Counter(ids(call)).items() if count > 1]
    expect.fact(not twice, wanted="a listing without repeats", got=f"{twice[:3]} more than once", calls=[call])


def lacks(call: Call, machines: Iterable[Machine], *, why: str) -> None:
    """The listing holds none of the machines."""
    strays = {m.id for m in machines} & set(ids(call))
    expect.fact(not strays, wanted=f"a listing without {sorted(strays)}, {why}", got="them in it", calls=[call])


async def holds(
    trial: Trial, machines: Sequence[Machine], states: Sequence[State | int] = (), *, cap: int = 0, why: str
) -> Call:
    """A List that holds all the machines. A List may lag (LST-10), but not for ever."""
    async for last in looks(trial):
        call = await expect.acked(trial.client.list(states, cap=cap))
        missing = {m.id for m in machines} - set(ids(call))
        if not missing:
            break
        if last:
            asked = ", ".join(state_of(s).name for s in states) or "everything"
            wanted = f"List of {asked} to hold {sorted(missing)}, {why}"
            expect.fact(not missing, wanted=wanted, got=f"{len(ids(call))} others", calls=[call])
    return call


async def one_bound(trial: Trial) -> tuple[Machine, Machine]:
    """Two machines at rest, IDLE and CONFIGURED, that List has caught up with."""
    idle, bound = trial.machines[:2]
    await trial.bring(bound, State.CONFIGURED)
    return idle, bound


@behaviour("LST-1a", machines=2, transitions=1)
async def test_a_state_holds_exactly_its_machines(trial: Trial) -> None:
    idle, bound = await one_bound(trial)
    for machine, home in ((idle, State.IDLE), (bound, State.CONFIGURED)):
        await holds(trial, [machine], [home], why=f"which is {home.name}")
    for state in ALL:
        call = await expect.acked(trial.client.list([state]))
        only(call, [state])
        once(call)
        strangers = [m for m, home in ((idle, State.IDLE), (bound, State.CONFIGURED)) if home is not state]
        lacks(call, strangers, why="which are in another state")


@behaviour("LST-1b", machines=1, start=State.SPECULATIVE)
async def test_a_free_slot_is_listed_as_speculative_only(trial: Trial) -> None:
    machine = trial.machine
    await expect.rests(machine, State.SPECULATIVE)
    wanted: list[tuple[list[State | int], bool]] = [
        ([State.SPECULATIVE], True),
        ([], True),
        ([State.IDLE, State.SPECULATIVE], True),
        ([state for state in ALL if state is not State.SPECULATIVE], False),
    ]
    for states, there in wanted:
        call = await expect.acked(trial.client.list(states))
        await expect.rests(machine, State.SPECULATIVE)  # nobody else has taken it meanwhile
        if there:
            await holds(trial, [machine], states, why="a free slot")
        else:
            lacks(call, [machine], why="a free slot")


@behaviour("LST-1c", machines=2, transitions=1)
async def test_several_states_are_a_union(trial: Trial) -> None:
    idle, bound = await one_bound(trial)
    pairs: list[tuple[list[State | int], list[Machine]]] = [
        ([State.IDLE, State.CONFIGURED], [idle, bound]),
        ([State.CONFIGURED, State.IDLE], [bound, idle]),
        ([State.CREATING, State.IDLE], [idle]),
        ([State.IDLE, State.FAILED], [idle]),
        ([State.DRAINING, State.DELETING, State.CONFIGURED], [bound]),
        ([State.CONFIGURED, State.DRAINING, State.DELETING], [bound]),
        ([State.IDLE, State.IDLE, State.IDLE], [idle]),
        ([State.CREATING, State.FAILED], []),
    ]
    for states, inside in pairs:
        call = await holds(trial, inside, states, why="which are in one of the states")
        only(call, states)
        lacks(call, [m for m in (idle, bound) if m not in inside], why="which are in none of the states")


@behaviour("LST-1d", machines=2, transitions=1)
async def test_no_state_means_every_state(trial: Trial) -> None:
    idle, bound = await one_bound(trial)
    await holds(trial, [idle, bound], why="which are in some state")
    everything = await holds(trial, [idle, bound], ALL, why="which are in some state")
    only(everything, ALL)


@behaviour("LST-1e", machines=1, transitions=2)
async def test_a_machine_on_its_way_is_listed(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        edge = EDGES[verb]
        way = (edge.source, edge.via, edge.target)
        await holds(trial, [machine], [edge.source], why="at rest")
        async with AsyncExitStack() as stack:
            watches = [
                (states, await stack.enter_async_context(watching(trial, machine, states=states, rpcs=["List"])))
                for states in (way, (), (edge.source,), (edge.via,), (edge.target,))
            ]
            await trial.drive(machine, verb)
        for states, seen in watches:
            for call in seen.lists:
                only(call, states or ALL)
                if len(states) != 1:
                    gone = machine.id not in ids(call)
                    wanted = f"{machine.id} in every List of {', '.join(s.name for s in states) or 'everything'}"
                    expect.fact(not gone, wanted=f"{wanted} during {verb.value}", got="one without it", calls=[call])


@behaviour("LST-1f", machines=1)
async def test_unspecified_is_nobodys_state(trial: Trial) -> None:
    call = await expect.acked(trial.client.list([State.UNSPECIFIED]))
    only(call, [State.UNSPECIFIED])
    call = await holds(trial, [trial.machine], [State.UNSPECIFIED, State.IDLE], why="which is IDLE")
    only(call, [State.UNSPECIFIED, State.IDLE])


@behaviour("LST-1g", machines=3, transitions=1)
async def test_any_filter_and_cap(trial: Trial) -> None:
    idle, bound = await one_bound(trial)
    also_idle = trial.machines[2]
    home = {idle: State.IDLE, bound: State.CONFIGURED, also_idle: State.IDLE}
    await holds(trial, [idle, also_idle], [State.IDLE], why="which are IDLE")
    await holds(trial, [bound], [State.CONFIGURED], why="which is CONFIGURED")
    states = st.lists(st.sampled_from(ALL), min_size=1, max_size=6)

    async def judge(case: tuple[list[State], int]) -> None:
        wanted, cap = case
        ours = [machine for machine, state in home.items() if state in wanted]
        call = await expect.acked(trial.client.list(wanted, cap=cap))
        only(call, wanted)
        once(call)
        lacks(call, [m for m in home if m not in ours], why="which are in none of the states")
        count = len(ids(call))
        if cap:
            expect.fact(count <= cap, wanted=f"at most {cap} machines", got=count, calls=[call])
        least = min(cap, len(ours)) if cap else len(ours)
        expect.fact(count >= least, wanted=f"at least {least} machines, as {len(ours)} match", got=count, calls=[call])
        if not cap or count < cap:
            missing = {m.id for m in ours} - set(ids(call))
            expect.fact(not missing, wanted=f"{sorted(missing)} in a List that is not full", got=count, calls=[call])

    caps = st.one_of(st.integers(0, 6), st.sampled_from([100, 2**31 - 1]))
    large = sum(trial.found.fleet.values()) > 5000
    await trial.explore(st.tuples(states, caps), judge, examples=8 if large else 40)


@behaviour("WIR-2a", machines=2, transitions=1)
async def test_an_unknown_state_matches_nothing(trial: Trial) -> None:
    idle, bound = await one_bound(trial)
    await holds(trial, [idle, bound], [State.IDLE, State.CONFIGURED], why="a filter that is known")
    for unknown in (UNKNOWN, 9, -1, 2**31 - 1):
        alone = await expect.acked(trial.client.list([unknown]))
        only(alone, [unknown])
        for states in ([State.IDLE, unknown], [unknown, State.IDLE]):
            call = await expect.acked(trial.client.list(states))
            only(call, states)
            lacks(call, [bound], why="which is CONFIGURED")
            await holds(trial, [idle], states, why="which is IDLE")
    await holds(trial, [idle, bound], why="as before")


@behaviour("LST-3a", machines=2, transitions=1)
async def test_a_listing_is_a_set(trial: Trial) -> None:
    idle, machine = trial.machines
    async with watching(trial, machine) as seen:
        await trial.drive(machine, Verb.CONFIGURE)
    for call in seen.lists:
        once(call)
    filters: list[list[State | int]] = [
        [],
        [State.IDLE] * 5,
        [State.CONFIGURED, State.IDLE, State.CONFIGURED],
        [*ALL, *ALL],
    ]
    for states in filters:
        once(await expect.acked(trial.client.list(states)))
        once(await expect.acked(trial.client.list(states, cap=3)))
    await holds(trial, [idle, machine], [State.IDLE, State.CONFIGURED], why="at rest")
