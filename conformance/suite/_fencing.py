"""Helpers of the FEN behaviours: calls that start no transition, and shards with a known mark."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conformance.core.errors import Unprepared
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.testkit import expect
from conformance.testkit.timing import missed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.core.errors import KitTooSlow, Unsupported
    from conformance.core.fencing import Shard
    from conformance.fleet.machine import Machine
    from conformance.testkit.trial import Trial


INT64_MAX = 2**63 - 1
MAX_ROUNDS = 3
"""Maximum number of times that a transition is run until it is observed."""

_INERT_VERBS = {
    State.SPECULATIVE: (Verb.DRAIN, Verb.CONFIGURE, Verb.DELETE),
    State.IDLE: (Verb.CREATE, Verb.DRAIN),
    State.CONFIGURED: (Verb.CREATE, Verb.CONFIGURE, Verb.DELETE),
}


def supported_verbs(trial: Trial) -> tuple[Verb, ...]:
    """Returns the mutating RPCs that the provider supports."""
    return tuple(verb for verb in Verb if verb is not Verb.DELETE or trial.found.delete)


def inert_verbs(trial: Trial, state: State) -> tuple[Verb, ...]:
    """Returns the verbs that start no transition of a machine in `state`, with any token."""
    return tuple(verb for verb in _INERT_VERBS[state] if verb in supported_verbs(trial))


STALE, MARK, FRESH = (1, 3), (2, 6), (3, 9)
"""Epoch and sequence of three tokens. Both numbers grow, so a failure with them is not about how tokens compare."""


async def shard_after_first_call(trial: Trial, machine: Machine, *, epoch: int = 1, verb: Verb = Verb.CREATE) -> Shard:
    """Returns a new shard that has made its first call. Any answer is accepted, as FEN-2 judges first contact."""
    shard = trial.new_shard()
    await machine.call(verb, shard.token(epoch=epoch, sequence=1))
    return shard


async def shard_with_mark(trial: Trial, state: State, *, epoch: int = 5, sequence: int = 5) -> Shard:
    """Returns a shard whose mark on the trial's machine, which is in `state`, is exactly this token."""
    machine, verb = trial.machine, inert_verbs(trial, state)[0]
    has_older_token = (epoch, sequence) > (1, 1)
    shard = (
        await shard_after_first_call(trial, machine, epoch=max(1, epoch - 1), verb=verb)
        if has_older_token
        else trial.new_shard()
    )
    await expect.accepted(machine.call(verb, shard.token(epoch=epoch, sequence=sequence)))
    return shard


async def run_during_transition(
    trial: Trial, verb: Verb, attack: Callable[[], Awaitable[object]], *, rounds: int = MAX_ROUNDS
) -> Unsupported | KitTooSlow | None:
    """Takes `verb`'s edge and runs `attack` immediately. Returns the error to raise if the transition had ended then.

    A Get that is sent together with the attack shows that. A transition that ended too early is repeated, unless its
    ack already showed the target state: then the transition cannot be observed.
    """
    machine, edge = trial.machine, EDGES[verb]
    for _ in range(rounds):
        await trial.bring(machine, edge.source)
        ack = await machine.call(verb)
        if not ack.ok:
            raise Unprepared(f"{verb.value} of {machine.id} answered {ack.outcome()}")
        _, shown = await asyncio.gather(attack(), machine.read())
        if state_of(shown.state) is edge.via:
            return None
        if state_of(ack.response.machine.state) is edge.target:
            break
    return missed(trial, verb, ack, calls=4)  # the attack is a crowd of calls
