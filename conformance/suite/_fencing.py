"""Helpers of the FEN behaviours: calls that start nothing, and shards with a known mark."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conformance.core.errors import Unprepared
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.testkit import expect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.core.fencing import Shard
    from conformance.fleet.machine import Machine
    from conformance.testkit.trial import Trial


LAST = 2**63 - 1
ROUNDS = 3
"""How often a transition is repeated that was over before it could be observed."""

_CALM = {
    State.SPECULATIVE: (Verb.DRAIN, Verb.CONFIGURE, Verb.DELETE),
    State.IDLE: (Verb.CREATE, Verb.DRAIN),
    State.CONFIGURED: (Verb.CREATE, Verb.CONFIGURE, Verb.DELETE),
}


def offered(trial: Trial) -> tuple[Verb, ...]:
    """Returns the mutating RPCs that the provider has."""
    return tuple(verb for verb in Verb if verb is not Verb.DELETE or trial.found.delete)


def calm(trial: Trial, state: State) -> tuple[Verb, ...]:
    """Returns the verbs that start nothing on a machine in `state`, whatever their token."""
    return tuple(verb for verb in _CALM[state] if verb in offered(trial))


STALE, MARK, FRESH = (1, 3), (2, 6), (3, 9)
"""Epoch and sequence of three tokens whose order is clear, so that a failure with these is not about the order."""


async def introduced(trial: Trial, machine: Machine, *, epoch: int = 1, verb: Verb = Verb.CREATE) -> Shard:
    """Returns a new shard that has made its first call, whatever the answer: first contact is for FEN-2 to judge."""
    shard = trial.new_shard()
    await machine.call(verb, shard.token(epoch=epoch, sequence=1))
    return shard


async def marked(trial: Trial, state: State, *, epoch: int = 5, sequence: int = 5) -> Shard:
    """Returns a shard whose mark, on the trial's machine in `state`, is exactly this token."""
    machine, verb = trial.machine, calm(trial, state)[0]
    known = (epoch, sequence) > (1, 1)
    shard = await introduced(trial, machine, epoch=max(1, epoch - 1), verb=verb) if known else trial.new_shard()
    await expect.accepted(machine.call(verb, shard.token(epoch=epoch, sequence=sequence)))
    return shard


async def in_flight(trial: Trial, verb: Verb, attack: Callable[[], Awaitable[object]], *, rounds: int = ROUNDS) -> bool:
    """Takes `verb`'s edge, runs `attack` at once, and returns whether the machine was still under way then.

    A Get that is sent at the same time tells. A transition that was over too soon is repeated, unless its ack already
    showed the target: then there is nothing to observe.
    """
    machine, edge = trial.machine, EDGES[verb]
    for _ in range(rounds):
        await trial.bring(machine, edge.source)
        ack = await machine.call(verb)
        if not ack.ok:
            raise Unprepared(f"{verb.value} of {machine.id} answered {ack.outcome()}")
        _, seen = await asyncio.gather(attack(), machine.read())
        if state_of(seen.state) is edge.via:
            return True
        if state_of(ack.response.machine.state) is edge.target:
            return False
    return False
