"""LIF: a long grace period of a Drain is a maximum, not a number that overflows (contract §2).

A conformant provider may take the whole grace period. Long ones are only tried where a Drain ends well before its
grace period is over, and no Drain is awaited longer than the run's patience.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from conformance.core.errors import NotObserved, Unprepared, Unsupported
from conformance.core.lifecycle import State
from conformance.rpc.call import describe_machine
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from conformance.fleet.context import SettleResult
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

OVERFLOWS_32_BITS: Final = 1 << 31
POSITIVE_IN_32_BITS: Final = (1 << 32) + 1
"""A number whose last 32 bits are a small positive one: tried only if the one above was refused."""
OVERFLOWS_64_BITS: Final = (1 << 63) - 1
"""A number that overflows 64 bits in any smaller unit than seconds, or if the time is added to it."""
SHORTEST_PROBE_S: Final = 10
EARLY: Final = 4
"""A Drain ends early if it takes at most this part of its grace period."""
TOO_LONG: Final = (StatusCode.INVALID_ARGUMENT, StatusCode.OUT_OF_RANGE)
"""The codes with which a provider may refuse a grace period that is longer than it allows."""


@behaviour("LIF-1c", machines=1, start=State.CONFIGURED, transitions=6)
async def test_a_long_grace_period_does_not_change_where_a_drain_ends(trial: Trial) -> None:
    machine, limit = trial.machine, None
    probe = min(max(SHORTEST_PROBE_S, math.ceil(2 * EARLY * trial.slowest)), max(1, int(machine.patience.drain / 2)))
    for grace in (probe, OVERFLOWS_32_BITS, POSITIVE_IN_32_BITS, OVERFLOWS_64_BITS):
        if grace == POSITIVE_IN_32_BITS and limit is None:
            continue
        await trial.bring(machine, State.CONFIGURED)
        call = await expect.answered(machine.drain(grace=grace))
        if call.status in TOO_LONG:
            limit = limit or call
            continue
        check_taken(call, limit)
        watch = await machine.settle(patience=machine.patience.drain)
        check_end(call, watch)
        if grace == probe and watch.seconds * EARLY > probe:
            raise Unsupported(
                f"a Drain with a grace period of {probe} s took {watch.seconds:.1f} s: it may take all of it"
            )
    if limit is not None and limit.request.grace_period_seconds in (probe, OVERFLOWS_32_BITS):
        raise Unsupported(
            f"the provider refuses a grace period of {limit.request.grace_period_seconds} s and longer ones"
        )


def check_taken(call: Call, limit: Call | None) -> None:
    """Checks that the call was answered OK, and that no shorter grace period, that of `limit`, was refused."""
    if not (call.ok or call.status in (StatusCode.UNKNOWN, StatusCode.INTERNAL)):
        raise Unprepared(f"Drain of {call.machine_id} answered {call.outcome()}")
    grace = call.request.grace_period_seconds
    expect.fact(
        call.ok,
        wanted=f"Drain with a grace period of {grace} s to be answered OK, or refused as too long",
        got=call.outcome(),
        calls=[call],
    )
    expect.fact(
        limit is None,
        wanted="no longer grace period than a refused one to be accepted",
        got="" if limit is None else f"{limit.request.grace_period_seconds} s refused, and {grace} s accepted",
        calls=[call] if limit is None else [limit, call],
    )


def check_end(call: Call, watch: SettleResult) -> None:
    """Checks that the Drain has ended in IDLE. Raises NotObserved if it still runs: it may take its grace period."""
    grace = call.request.grace_period_seconds
    if not watch.state.stable:
        raise NotObserved(f"a Drain with a grace period of {grace} s had not ended after {watch.seconds:.1f} s")
    expect.fact(
        watch.state is State.IDLE,
        wanted=f"a Drain with a grace period of {grace} s to end in IDLE",
        got=describe_machine(watch.machine),
        calls=[call],
    )
