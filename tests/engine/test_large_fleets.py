"""Large fleets: the cost of a run does not grow with the machines that it does not touch."""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import pairwise

import pytest

from conformance.core.lifecycle import State
from conformance.fleet.probe import probe
from conformance.rpc.call import CallLog, recording
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.server import serving
from tests.runs import connected
from tests.values import a_found
from tools.large import cost

MACHINES = int(os.environ.get("CONFORMANCE_MACHINES", "10000"))
"""The size of the fleet: 10,000 by default, 100,000 for a release."""


@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory of a process from /proc")
def test_a_run_on_a_large_fleet_lists_it_a_few_times_and_keeps_no_list() -> None:
    seen = cost(MACHINES, "--rpc-timeout", "5m")
    assert seen.code == 0, seen.output
    assert seen.left == 0
    assert seen.full_lists <= 12
    assert sum(seen.list_sizes) <= 12 * MACHINES + 200_000
    assert seen.peak <= 200 + 0.003 * MACHINES


@pytest.mark.timeout(900)
def test_a_large_fleet_without_revisions_is_judged() -> None:
    seen = cost(6000, "--rpc-timeout", "5m", "--select", "LIF-2*,LIF-4*,LIF-8*,COD-1*,COD-4*,LST-*", revisions=False)
    assert seen.code == 0, seen.output
    assert seen.left == 0


def test_in_a_small_fleet_lists_ask_for_all_states() -> None:
    small = a_found(fleet={"SPECULATIVE": 5000}, revision=b"7")
    assert not small.large
    assert (small.states_to_list(State.IDLE), small.since, small.crowded) == ((), b"", frozenset())


def test_in_a_large_fleet_lists_ask_for_crowded_states_by_name_only() -> None:
    large = a_found(fleet={"SPECULATIVE": 50_000, "CONFIGURED": 1001, "IDLE": 1000}, revision=b"7")
    assert large.crowded == {State.SPECULATIVE, State.CONFIGURED}
    assert large.since == b"7"
    assert {State.SPECULATIVE, State.CONFIGURED, State.UNSPECIFIED}.isdisjoint(large.states_to_list())
    assert set(large.states_to_list(State.CONFIGURED)) - set(large.states_to_list()) == {State.CONFIGURED}


def test_a_call_log_keeps_the_size_of_a_list_and_the_states_of_the_leased_machines() -> None:
    async def main() -> CallLog:
        async with serving(Core(fleet(5, idle=2))) as address, connected(address) as client:
            with recording(CallLog({"machine-0001", "machine-0003"})) as log:
                call = await client.list()
        assert len(call.response.machines) == 5
        assert log.calls[0].number == call.number
        assert log.calls[0].outcome() == call.outcome()
        return log

    [call] = asyncio.run(main()).calls
    states = {"machine-0001": State.IDLE, "machine-0003": State.SPECULATIVE}
    assert call.response.states == states
    assert call.machine_states({"machine-0001", "machine-0002"}) == {"machine-0001": State.IDLE}
    assert call.outcome().startswith("OK 5 machines, revision ")


def test_large_lists_are_requested_one_at_a_time() -> None:
    async def main() -> None:
        async with serving(Core(fleet(5001))) as address, connected(address, rpc_timeout=60.0) as client:
            await probe(client, run="cpc-test")
            log = CallLog()
            with recording(log):
                await asyncio.gather(*(client.list(states) for states in ((), [State.SPECULATIVE], [State.IDLE], ())))
        heavy = [call for call in log.calls if call.outcome().startswith("OK 5001 machines")]
        assert len(heavy) == 3
        assert all(before.ended <= after.started for before, after in pairwise(heavy))

    asyncio.run(main())
