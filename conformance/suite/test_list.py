"""LST: which machines a List contains (contract §7).

Other clients may use the fleet, so every fact is about a single answer, about leased machines, or about machines that
both a List before and a List after contain.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from conformance.core.errors import Unsupported, Violation
from conformance.core.lifecycle import EDGES, State, Verb
from conformance.suite._list import ALL_STATES, check_states, checked_list, ids_in
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.observer import LONGEST_LAG, observe
from conformance.testkit.recording import LEAVING, LIFE, shared_recording

if TYPE_CHECKING:
    from collections.abc import Collection

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

MAX_MACHINES: Final = 10**6
"""A cap that is larger than any fleet."""
UNKNOWN_STATE: Final = 4242
"""A state that is not in the contract."""


def check_no_duplicates(call: Call) -> None:
    """Checks that the List does not contain a machine twice (LST-3)."""
    twice = [machine for machine, count in Counter(ids_in(call)).items() if count > 1]
    expect.fact(not twice, wanted="a List without duplicates", got=f"{twice[:3]} more than once", calls=[call])


@behaviour("LST-1a", machines=2, bound=1)
async def test_a_state_holds_exactly_its_machines(trial: Trial) -> None:
    idle, bound = trial.machines
    state_by_machine = {idle: State.IDLE, bound: State.CONFIGURED}
    for state in trial.found.states_to_list(*state_by_machine.values()) or ALL_STATES:
        included = [machine for machine in state_by_machine if state_by_machine[machine] is state]
        await checked_list(
            trial, [state], included=included, excluded=[m for m in state_by_machine if m not in included]
        )


@behaviour("LST-1b", machines=1, start=State.SPECULATIVE)
async def test_a_free_slot_is_listed_as_speculative_only(trial: Trial) -> None:
    machine = trial.machine
    others = [state for state in ALL_STATES if state is not State.SPECULATIVE]
    # With a cap, as LST-2 judges Lists without one.
    unions = () if trial.found.large else ([], [State.IDLE, State.SPECULATIVE])
    for states in ([State.SPECULATIVE], *unions):
        await checked_list(trial, states, included=[machine], cap=MAX_MACHINES)
    await checked_list(trial, others, excluded=[machine], cap=MAX_MACHINES)


@behaviour("LST-1c", machines=2, bound=1)
async def test_several_states_are_a_union(trial: Trial) -> None:
    idle, bound = trial.machines
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
    for states, included in pairs:
        await checked_list(trial, states, included=included, excluded=[m for m in (idle, bound) if m not in included])


@behaviour("LST-1d", machines=2, bound=1)
async def test_no_state_means_every_state(trial: Trial) -> None:
    idle, bound = trial.machines
    # With a cap, as LST-2 judges Lists without one.
    await checked_list(trial, [], included=[idle, bound], cap=MAX_MACHINES)
    few = trial.found.states_to_list(State.IDLE, State.CONFIGURED)
    await checked_list(trial, few or ALL_STATES, included=[idle, bound], cap=MAX_MACHINES)


@behaviour("LST-1e", machines=1, transitions=2)
async def test_a_machine_on_its_way_is_listed(trial: Trial) -> None:
    machine = trial.machine

    def check_listed(call: Call, states: Collection[State], verb: Verb) -> None:
        check_states(call, states)
        if len(states) != 1:
            wanted = f"every List of {', '.join(s.name for s in states) or 'everything'} to contain {machine.id}"
            missing = machine.id not in ids_in(call)
            expect.fact(not missing, wanted=f"{wanted} during {verb.value}", got="a List without it", calls=[call])

    # All states that a List may show: it may lag (LST-10) and show the machine as it was earlier, even before a Delete.
    possible = (
        ALL_STATES if not trial.found.large else (State.IDLE, State.CONFIGURING, State.CONFIGURED, State.DRAINING)
    )
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        # Lists without a filter are judged over the whole life of a machine (LST-1h).
        edge = EDGES[verb]
        single = ((edge.via,),) if trial.found.large else ((edge.via,), (edge.source,))
        await checked_list(trial, possible, included=[machine])
        async with AsyncExitStack() as stack:
            for states in (possible, *single):
                check = partial(check_listed, states=states, verb=verb)
                await stack.enter_async_context(observe(trial, machine, states=states, rpcs=["List"], each=check))
            await trial.drive(machine, verb)


@behaviour("LST-1h", watches=LIFE)
async def test_a_machine_that_comes_is_listed(trial: Trial) -> None:
    await check_always_listed(trial)


@behaviour("LST-1i", watches=LEAVING)
async def test_a_machine_that_goes_is_listed(trial: Trial) -> None:
    await check_always_listed(trial)


async def check_always_listed(trial: Trial) -> None:
    """Checks that every List of everything contained the machine."""
    recording = await shared_recording(trial)
    if recording.unlisted is None:
        raise Unsupported("the fleet is too large to list it completely many times")
    wanted = f"every List of everything to contain {recording.machine}"
    expect.fact(not recording.unlisted, wanted=wanted, got="a List without it", calls=recording.unlisted[:1])


@behaviour("LST-1f", machines=1)
async def test_unspecified_is_nobodys_state(trial: Trial) -> None:
    await checked_list(trial, [State.UNSPECIFIED], excluded=[trial.machine])
    await checked_list(trial, [State.UNSPECIFIED, State.IDLE], included=[trial.machine])


STATES = st.lists(st.sampled_from(ALL_STATES), min_size=1, max_size=6)
CAPS = st.one_of(st.integers(0, 6), st.sampled_from([100, 2**31 - 1]))
FILTERS = st.tuples(STATES, CAPS)


@behaviour("LST-1g", machines=3, bound=1)
async def test_any_filter_and_cap(trial: Trial) -> None:
    idle, other, bound = trial.machines
    state_by_machine = {idle: State.IDLE, other: State.IDLE, bound: State.CONFIGURED}
    longest = [LONGEST_LAG]

    few = trial.found.states_to_list(State.IDLE, State.CONFIGURED) or ALL_STATES

    async def judge(case: tuple[list[State], int]) -> None:
        wanted, cap = [state for state in case[0] if state in few] or [State.IDLE], case[1]
        ours = [machine for machine, state in state_by_machine.items() if state in wanted]
        least = min(cap, len(ours)) if cap else len(ours)
        others = [machine for machine in state_by_machine if machine not in ours]
        try:
            call = await checked_list(trial, wanted, cap=cap, least=least, excluded=others, longest=longest[0])
            if not cap or len(ids_in(call)) < cap:
                await checked_list(trial, wanted, included=ours, longest=longest[0])
        except Violation:
            longest[0] = 0.1  # after that time it is not a lag; shrinking is faster with short waits
            raise

    await trial.explore(FILTERS, judge, examples=25)


@behaviour("WIR-2a", machines=2, bound=1)
async def test_an_unknown_state_matches_nothing(trial: Trial) -> None:
    idle, bound = trial.machines
    for unknown in (UNKNOWN_STATE, 9, -1, 2**31 - 1):
        await checked_list(trial, [unknown], excluded=[idle, bound])
        for states in ([State.IDLE, unknown], [unknown, State.IDLE]):
            await checked_list(trial, states, included=[idle], excluded=[bound])
    await checked_list(trial, [State.IDLE, State.CONFIGURED], included=[idle, bound])


@behaviour("LST-3a", machines=1, transitions=1)
async def test_a_listing_is_a_set(trial: Trial) -> None:
    machine = trial.machine
    path = [State.IDLE, State.CONFIGURING, State.CONFIGURED] if trial.found.large else []
    async with observe(trial, machine, states=path, rpcs=["List"], each=check_no_duplicates):
        await trial.drive(machine, Verb.CONFIGURE)
    both, few = [State.CONFIGURED, State.IDLE, State.CONFIGURED], trial.found.states_to_list() or ALL_STATES
    filters: list[list[State | int]] = [[], [State.IDLE] * 5, [*both], [*few, *few]]
    for states in filters:
        check_no_duplicates(await expect.acked(trial.client.list(states)))
        check_no_duplicates(await expect.acked(trial.client.list(states, cap=3)))
    await checked_list(trial, both, included=[machine])
