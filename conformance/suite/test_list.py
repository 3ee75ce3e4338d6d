"""LST: which machines a List holds (contract §7).

A fleet has other users, so every fact is about one answer by itself, about machines that were leased, or about
machines that a List before and a List after agree on.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from conformance.core.errors import Unsupported, Violation
from conformance.core.lifecycle import EDGES, State, Verb
from conformance.suite._list import ALL, ids, listing, only
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.observer import LONGEST_LAG, observe
from conformance.testkit.recording import LEAVING, LIFE, shared_recording

if TYPE_CHECKING:
    from collections.abc import Collection

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

PLENTY: Final = 10**6
"""A cap that no fleet reaches."""
UNKNOWN: Final = 4242
"""A state that the contract does not have."""


def once(call: Call) -> None:
    """The listing holds no machine twice (LST-3)."""
    twice = [machine for machine, count in Counter(ids(call)).items() if count > 1]
    expect.fact(not twice, wanted="a listing without repeats", got=f"{twice[:3]} more than once", calls=[call])


@behaviour("LST-1a", machines=2, bound=1)
async def test_a_state_holds_exactly_its_machines(trial: Trial) -> None:
    idle, bound = trial.machines
    home = {idle: State.IDLE, bound: State.CONFIGURED}
    for state in trial.found.states_to_list(*home.values()) or ALL:
        inside = [machine for machine in home if home[machine] is state]
        await listing(trial, [state], inside=inside, outside=[m for m in home if m not in inside])


@behaviour("LST-1b", machines=1, start=State.SPECULATIVE)
async def test_a_free_slot_is_listed_as_speculative_only(trial: Trial) -> None:
    machine = trial.machine
    others = [state for state in ALL if state is not State.SPECULATIVE]
    # With a cap: what comes without one is LST-2's matter.
    unions = () if trial.found.large else ([], [State.IDLE, State.SPECULATIVE])
    for states in ([State.SPECULATIVE], *unions):
        await listing(trial, states, inside=[machine], cap=PLENTY)
    await listing(trial, others, outside=[machine], cap=PLENTY)


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
    for states, inside in pairs:
        await listing(trial, states, inside=inside, outside=[m for m in (idle, bound) if m not in inside])


@behaviour("LST-1d", machines=2, bound=1)
async def test_no_state_means_every_state(trial: Trial) -> None:
    idle, bound = trial.machines
    # With a cap: what comes without one is LST-2's matter.
    await listing(trial, [], inside=[idle, bound], cap=PLENTY)
    few = trial.found.states_to_list(State.IDLE, State.CONFIGURED)
    await listing(trial, few or ALL, inside=[idle, bound], cap=PLENTY)


@behaviour("LST-1e", machines=1, transitions=2)
async def test_a_machine_on_its_way_is_listed(trial: Trial) -> None:
    machine = trial.machine

    def on_its_way(call: Call, states: Collection[State], verb: Verb) -> None:
        only(call, states)
        if len(states) != 1:
            wanted = f"{machine.id} in every List of {', '.join(s.name for s in states) or 'everything'}"
            missing = machine.id not in ids(call)
            expect.fact(not missing, wanted=f"{wanted} during {verb.value}", got="one without it", calls=[call])

    # All that it can have been: a List may lag (LST-10), and show where the machine was before, maybe in another life.
    life = ALL if not trial.found.large else (State.IDLE, State.CONFIGURING, State.CONFIGURED, State.DRAINING)
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        edge = EDGES[verb]
        unions = (life,) if trial.found.large else (life, ())
        single = ((edge.via,),) if trial.found.large else ((edge.source,), (edge.via,), (edge.target,))
        for union in unions:
            await listing(trial, union, inside=[machine])
        async with AsyncExitStack() as stack:
            for states in (*unions, *single):
                judged = partial(on_its_way, states=states, verb=verb)
                await stack.enter_async_context(observe(trial, machine, states=states, rpcs=["List"], each=judged))
            await trial.drive(machine, verb)


@behaviour("LST-1h", watches=LIFE)
async def test_a_machine_that_comes_is_listed(trial: Trial) -> None:
    await listed_all_the_way(trial)


@behaviour("LST-1i", watches=LEAVING)
async def test_a_machine_that_goes_is_listed(trial: Trial) -> None:
    await listed_all_the_way(trial)


async def listed_all_the_way(trial: Trial) -> None:
    """Every List of everything held the machine."""
    passage = await shared_recording(trial)
    if passage.unlisted is None:
        raise Unsupported("the fleet is too large to list all of it again and again")
    wanted = f"{passage.machine} in every List of everything"
    expect.fact(not passage.unlisted, wanted=wanted, got="one without it", calls=passage.unlisted[:1])


@behaviour("LST-1f", machines=1)
async def test_unspecified_is_nobodys_state(trial: Trial) -> None:
    await listing(trial, [State.UNSPECIFIED], outside=[trial.machine])
    await listing(trial, [State.UNSPECIFIED, State.IDLE], inside=[trial.machine])


STATES = st.lists(st.sampled_from(ALL), min_size=1, max_size=6)
CAPS = st.one_of(st.integers(0, 6), st.sampled_from([100, 2**31 - 1]))
FILTERS = st.tuples(STATES, CAPS)


@behaviour("LST-1g", machines=3, bound=1)
async def test_any_filter_and_cap(trial: Trial) -> None:
    idle, other, bound = trial.machines
    home = {idle: State.IDLE, other: State.IDLE, bound: State.CONFIGURED}
    longest = [LONGEST_LAG]

    few = trial.found.states_to_list(State.IDLE, State.CONFIGURED) or ALL

    async def judge(case: tuple[list[State], int]) -> None:
        wanted, cap = [state for state in case[0] if state in few] or [State.IDLE], case[1]
        ours = [machine for machine, state in home.items() if state in wanted]
        least = min(cap, len(ours)) if cap else len(ours)
        others = [machine for machine in home if machine not in ours]
        try:
            call = await listing(trial, wanted, cap=cap, least=least, outside=others, longest=longest[0])
            if not cap or len(ids(call)) < cap:
                await listing(trial, wanted, inside=ours, longest=longest[0])
        except Violation:
            longest[0] = 0.1  # what did not pass in so long is no lag: its smallest case is found sooner
            raise

    await trial.explore(FILTERS, judge, examples=25)


@behaviour("WIR-2a", machines=2, bound=1)
async def test_an_unknown_state_matches_nothing(trial: Trial) -> None:
    idle, bound = trial.machines
    for unknown in (UNKNOWN, 9, -1, 2**31 - 1):
        await listing(trial, [unknown], outside=[idle, bound])
        for states in ([State.IDLE, unknown], [unknown, State.IDLE]):
            await listing(trial, states, inside=[idle], outside=[bound])
    await listing(trial, [State.IDLE, State.CONFIGURED], inside=[idle, bound])


@behaviour("LST-3a", machines=1, transitions=1)
async def test_a_listing_is_a_set(trial: Trial) -> None:
    machine = trial.machine
    way = [State.IDLE, State.CONFIGURING, State.CONFIGURED] if trial.found.large else []
    async with observe(trial, machine, states=way, rpcs=["List"], each=once):
        await trial.drive(machine, Verb.CONFIGURE)
    both, few = [State.CONFIGURED, State.IDLE, State.CONFIGURED], trial.found.states_to_list() or ALL
    filters: list[list[State | int]] = [[], [State.IDLE] * 5, [*both], [*few, *few]]
    for states in filters:
        once(await expect.acked(trial.client.list(states)))
        once(await expect.acked(trial.client.list(states, cap=3)))
    await listing(trial, both, inside=[machine])
