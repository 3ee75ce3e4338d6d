"""Lists that weigh much go one at a time, and the others together."""

from __future__ import annotations

import asyncio

from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.lifecycle import State
from conformance.rpc.list_throttle import HEAVY_LIST_BYTES, ListThrottle


def listing(machines: int, *, bytes_each: int = 200) -> pb.MachineList:
    return pb.MachineList(machines=[pb.Machine(id="m" * bytes_each)] * machines)


def test_what_nobody_has_weighed_is_light() -> None:
    assert not ListThrottle().heavy([], 0)


def test_a_list_weighs_what_the_last_one_of_these_states_did() -> None:
    turns = ListThrottle()
    turns.record_size([], 0, listing(10_000))
    turns.record_size([State.IDLE], 0, listing(10))
    assert turns.heavy([], 0)
    assert not turns.heavy([State.IDLE], 0)
    turns.record_size([State.IDLE], 0, listing(3, bytes_each=HEAVY_LIST_BYTES))
    assert turns.heavy([State.IDLE], 0)


def test_states_that_nobody_has_listed_may_be_those_of_the_crowd() -> None:
    turns = ListThrottle()
    turns.record_size([], 0, listing(10_000))
    assert turns.heavy([State.CONFIGURED], 0)


def test_a_page_of_a_crowd_is_light_unless_its_machines_are_heavy() -> None:
    turns = ListThrottle()
    turns.record_size([], 0, listing(10_000))
    assert not turns.heavy([], 1000)
    turns.record_size([State.IDLE], 0, listing(1, bytes_each=HEAVY_LIST_BYTES // 10))
    assert turns.heavy([], 1000)


def test_a_cap_says_nothing_of_how_much_there_is() -> None:
    turns = ListThrottle()
    turns.record_size([], 0, listing(10_000))
    turns.record_size([], 1, listing(1))
    assert turns.heavy([], 0)


def test_heavy_ones_wait_for_each_other_and_light_ones_do_not() -> None:
    async def go() -> None:
        turns, under_way, most = ListThrottle(), 0, {True: 0, False: 0}
        turns.record_size([], 0, listing(10_000))
        turns.record_size([State.IDLE], 0, listing(10))

        async def ask(*states: State) -> None:
            nonlocal under_way
            async with turns.turn(states, 0):
                under_way += 1
                most[not states] = max(most[not states], under_way)
                await asyncio.sleep(0)
                under_way -= 1

        await asyncio.gather(*(ask() for _ in range(3)))
        await asyncio.gather(*(ask(State.IDLE) for _ in range(3)))
        assert most == {True: 1, False: 3}

    asyncio.run(go())
