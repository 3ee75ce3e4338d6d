"""Large Lists are serialised, and small ones are concurrent."""

from __future__ import annotations

import asyncio

from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.lifecycle import State
from conformance.rpc.list_throttle import HEAVY_LIST_BYTES, ListThrottle


def listing(machines: int, *, bytes_each: int = 200) -> pb.MachineList:
    return pb.MachineList(machines=[pb.Machine(id="m" * bytes_each)] * machines)


def test_a_list_of_unknown_size_is_light() -> None:
    assert not ListThrottle().heavy([], 0)


def test_a_list_is_as_large_as_the_last_one_of_its_states() -> None:
    throttle = ListThrottle()
    throttle.record_size([], 0, listing(10_000))
    throttle.record_size([State.IDLE], 0, listing(10))
    assert throttle.heavy([], 0)
    assert not throttle.heavy([State.IDLE], 0)
    throttle.record_size([State.IDLE], 0, listing(3, bytes_each=HEAVY_LIST_BYTES))
    assert throttle.heavy([State.IDLE], 0)


def test_states_that_were_not_listed_yet_may_be_as_many_as_all() -> None:
    throttle = ListThrottle()
    throttle.record_size([], 0, listing(10_000))
    assert throttle.heavy([State.CONFIGURED], 0)


def test_a_page_of_a_large_fleet_is_light_unless_its_machines_are_heavy() -> None:
    throttle = ListThrottle()
    throttle.record_size([], 0, listing(10_000))
    assert not throttle.heavy([], 1000)
    throttle.record_size([State.IDLE], 0, listing(1, bytes_each=HEAVY_LIST_BYTES // 10))
    assert throttle.heavy([], 1000)


def test_a_capped_list_does_not_count_as_the_size_of_its_states() -> None:
    throttle = ListThrottle()
    throttle.record_size([], 0, listing(10_000))
    throttle.record_size([], 1, listing(1))
    assert throttle.heavy([], 0)


def test_heavy_lists_wait_for_each_other_and_light_ones_do_not() -> None:
    async def scenario() -> None:
        throttle, under_way, most = ListThrottle(), 0, {True: 0, False: 0}
        throttle.record_size([], 0, listing(10_000))
        throttle.record_size([State.IDLE], 0, listing(10))

        async def list_once(*states: State) -> None:
            nonlocal under_way
            async with throttle.turn(states, 0):
                under_way += 1
                most[not states] = max(most[not states], under_way)
                await asyncio.sleep(0)
                under_way -= 1

        await asyncio.gather(*(list_once() for _ in range(3)))
        await asyncio.gather(*(list_once(State.IDLE) for _ in range(3)))
        assert most == {True: 1, False: 3}

    asyncio.run(scenario())
