"""FEN: which tokens pass, which are fenced, and that all four RPCs share one mark (contract §5).

Most calls here start no transition: on an IDLE machine Create is a retry and Drain has no edge; on a CONFIGURED one
Configure is a retry, and Create and Delete have no edge. `inert_verbs` returns these calls, so that each of the four
RPCs is judged with a stale and with a fresh token at no cost.
"""

from __future__ import annotations

import asyncio
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

from grpc import StatusCode
from hypothesis import strategies as st

from conformance.core.lifecycle import EDGES, State, Verb
from conformance.suite._fencing import (
    FRESH,
    INT64_MAX,
    MARK,
    STALE,
    inert_verbs,
    run_during_transition,
    shard_after_first_call,
    shard_with_mark,
    supported_verbs,
)
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.core.fencing import Shard
    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

# FEN-1: a token that is not newer than the mark is fenced.


async def judge_order(
    trial: Trial, verb: Verb, mark: tuple[int, int], *, stale: Sequence[tuple[int, int]], newer: tuple[int, int]
) -> None:
    """Checks that after a call with `mark` each of `stale` is fenced and `newer` is not.

    Each token has its own shard, with the same calls before it: FEN-5 judges whether a refused call changes a mark.
    """
    machine = trial.machine
    for numbers in (*stale, newer):
        shard = await shard_after_first_call(trial, machine, epoch=mark[0] - 1)
        await expect.accepted(machine.call(verb, shard.token(epoch=mark[0], sequence=mark[1])))
        answer = machine.call(verb, shard.token_of(numbers))
        await (expect.accepted(answer) if numbers == newer else expect.fenced(answer))


@behaviour("FEN-1a", machines=1, start=State.IDLE)
async def test_an_equal_token_is_fenced(trial: Trial) -> None:
    await judge_order(trial, Verb.CREATE, (5, 5), stale=[(5, 5)], newer=(5, 6))


async def _check_lower_sequences(trial: Trial, state: State) -> None:
    for verb in inert_verbs(trial, state):
        await judge_order(trial, verb, (5, 8), stale=[(5, 8), (5, 7), (5, 1), (5, 0)], newer=(5, 9))


@behaviour("FEN-1b", machines=1, start=State.IDLE)
async def test_a_lower_sequence_is_fenced_at_idle(trial: Trial) -> None:
    await _check_lower_sequences(trial, State.IDLE)


@behaviour("FEN-1c", machines=1, start=State.CONFIGURED)
async def test_a_lower_sequence_is_fenced_at_configured(trial: Trial) -> None:
    await _check_lower_sequences(trial, State.CONFIGURED)


@behaviour("FEN-1d", machines=1, start=State.IDLE, transitions=1)
async def test_stale_tokens_are_fenced_while_a_transition_runs(trial: Trial) -> None:
    machine = trial.machine
    not_seen = []
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        edge = EDGES[verb]
        await trial.bring(machine, edge.source)
        shards = {each: await shard_with_mark(trial, edge.source) for each in supported_verbs(trial)}

        async def attack(shards: dict[Verb, Shard] = shards) -> None:
            await asyncio.gather(
                *(expect.fenced(machine.call(v, s.token(epoch=5, sequence=5))) for v, s in shards.items()),
                *(expect.fenced(machine.call(v, s.token(epoch=4, sequence=9))) for v, s in shards.items()),
            )

        not_seen.append(await run_during_transition(trial, verb, attack))
        for each in inert_verbs(trial, edge.target):  # control: newer token; starts nothing
            await expect.accepted(machine.call(each, shards[each].token(epoch=5, sequence=6)))
    errors = [error for error in not_seen if error is not None]
    if len(errors) == len(not_seen):
        raise errors[0]


NEGATIVE_NUMBERS = ((-1, 9), (5, -1), (-1, -1), (-(2**63), INT64_MAX), (5, -(2**63)))
"""Epochs and sequences that are older than (5, 5), but newer as unsigned numbers or by an overflowing difference."""


@behaviour("FEN-1f", machines=1, start=State.IDLE)
async def test_negative_numbers_are_older_than_a_mark(trial: Trial) -> None:
    for verb in inert_verbs(trial, State.IDLE):
        for numbers in NEGATIVE_NUMBERS:
            shard = await shard_with_mark(trial, State.IDLE)
            answer = trial.machine.call(verb, shard.token_of(numbers))
            await expect.code(answer, StatusCode.FAILED_PRECONDITION, StatusCode.INVALID_ARGUMENT)  # COD-4: either
            await expect.accepted(trial.machine.call(verb, shard.token_of((5, 6))))  # control: newer token


BASES = (0, 8, 2**31 - 1, 2**32 - 1, 2**53 - 1, INT64_MAX - 2)


@cache
@st.composite
def call_streams(draw: st.DrawFn, verbs: tuple[Verb, ...]) -> list[tuple[Verb, int, int, int]]:
    """Draws verb, shard number, epoch and sequence of successive calls: numbers close together, up to 64 bits."""
    epoch, sequence = draw(st.sampled_from(BASES)), draw(st.sampled_from(BASES))
    step = st.tuples(
        st.sampled_from(verbs),
        st.integers(0, 1),
        st.integers(epoch, epoch + 2),
        st.integers(sequence, sequence + 2),
    )
    return draw(st.lists(step, min_size=4, max_size=12))


@behaviour("FEN-1e", machines=1, start=State.IDLE)
async def test_any_stream_of_tokens_is_answered_as_the_order_says(trial: Trial) -> None:
    async def judge(stream: list[tuple[Verb, int, int, int]]) -> None:
        shards = [trial.new_shard(), trial.new_shard()]
        marks: dict[str, tuple[int, int]] = {}
        for verb, number, epoch, sequence in stream:
            token = shards[number].token(epoch=epoch, sequence=sequence)
            passes = token.shard not in marks or token.numbers > marks[token.shard]
            answer = trial.machine.call(verb, token)
            call = await (expect.accepted(answer) if passes else expect.fenced(answer))
            if call.busy:
                return  # rejected as overload, maybe before the token was checked
            if passes:
                marks[token.shard] = token.numbers

    await trial.explore(call_streams(inert_verbs(trial, State.IDLE)), judge, examples=min(trial.examples, 12))


# FEN-2: first contact.

FIRST_TOKENS = ((0, 0), (0, 9), (9, 0), (1, 1), (7, 3), (3, 800_000), (800_000, 3))


async def _check_first_contact(trial: Trial, state: State) -> None:
    machine = trial.machine
    # Shards take turns: FEN-9 judges a provider that remembers only one.
    for verb, (epoch, sequence) in product(inert_verbs(trial, state), FIRST_TOKENS):
        shard = trial.new_shard()
        await expect.accepted(machine.call(verb, shard.token(epoch=epoch, sequence=sequence)))
        # The first call has set the mark: a much older token, which would have passed before, is fenced now.
        older = shard.token(epoch=epoch // 2, sequence=sequence // 2)
        if older.numbers != (epoch, sequence):
            await expect.fenced(machine.call(verb, older))


@behaviour("FEN-2a", machines=1, start=State.IDLE)
async def test_first_contact_passes_and_sets_the_mark_at_idle(trial: Trial) -> None:
    await _check_first_contact(trial, State.IDLE)


@behaviour("FEN-2b", machines=1, start=State.CONFIGURED)
async def test_first_contact_passes_and_sets_the_mark_at_configured(trial: Trial) -> None:
    await _check_first_contact(trial, State.CONFIGURED)


# FEN-3: epochs are compared before sequences.


@behaviour("FEN-3a", machines=1, start=State.IDLE)
async def test_an_older_epoch_is_fenced_whatever_its_sequence(trial: Trial) -> None:
    await judge_order(trial, Verb.CREATE, (2, 1), stale=[(1, 99)], newer=(2, 2))


async def _check_epochs(trial: Trial, state: State) -> None:
    machine = trial.machine

    for verb in inert_verbs(trial, state):
        shard = await shard_after_first_call(trial, machine)
        # Each epoch has its own sequence space. All epochs have one digit: comparing them as text breaks only FEN-10.
        for epoch, sequence in ((1, 8), (2, 0), (2, 1), (3, -1), (9, 0), (9, 1)):
            await expect.accepted(machine.call(verb, shard.token(epoch=epoch, sequence=sequence)))
        await judge_order(trial, verb, (2, 0), stale=[(1, 9), (0, 900), (2, 0)], newer=(2, 1))
        await judge_order(trial, verb, (9, 0), stale=[(8, 2)], newer=(9, 1))


@behaviour("FEN-3b", machines=1, start=State.IDLE)
async def test_a_newer_epoch_starts_a_new_sequence_space_at_idle(trial: Trial) -> None:
    await _check_epochs(trial, State.IDLE)


@behaviour("FEN-3c", machines=1, start=State.CONFIGURED)
async def test_a_newer_epoch_starts_a_new_sequence_space_at_configured(trial: Trial) -> None:
    await _check_epochs(trial, State.CONFIGURED)


# FEN-7: one mark for all four RPCs.


async def _check_shared_mark(trial: Trial, state: State) -> None:
    """Checks that a mark set by one RPC fences every RPC."""
    machine, inert = trial.machine, inert_verbs(trial, state)

    for first in inert:
        for second in supported_verbs(trial):
            shard = await shard_after_first_call(trial, machine, epoch=4)
            await expect.accepted(machine.call(first, shard.token(epoch=5, sequence=5)))
            await expect.fenced(machine.call(second, shard.token(epoch=5, sequence=5)))
            if second in inert:
                await expect.accepted(machine.call(second, shard.token(epoch=5, sequence=6)))  # control: newer token


@behaviour("FEN-7a", machines=1, start=State.IDLE)
async def test_create_and_drain_share_their_mark_with_all_four(trial: Trial) -> None:
    await _check_shared_mark(trial, State.IDLE)


@behaviour("FEN-7b", machines=1, start=State.CONFIGURED)
async def test_configure_and_delete_share_their_mark_with_all_four(trial: Trial) -> None:
    await _check_shared_mark(trial, State.CONFIGURED)


@behaviour("FEN-7c", machines=1, start=State.IDLE, transitions=2)
async def test_a_call_that_starts_a_transition_moves_the_mark_of_all_four(trial: Trial) -> None:
    machine, shard = trial.machine, trial.new_shard()
    for verb, sequence in ((Verb.CONFIGURE, 5), (Verb.DRAIN, 6)):  # Drain is the control too: its token is newer
        token = shard.token(epoch=5, sequence=sequence)
        await trial.begin(machine, verb, expect.accepted(machine.call(verb, token)))
        for each in supported_verbs(trial):
            await expect.fenced(machine.call(each, token))
        await trial.bring(machine, EDGES[verb].target)
        for each in supported_verbs(trial):
            await expect.fenced(machine.call(each, token))


@behaviour("FEN-7d", machines=1, start=State.CONFIGURED)
async def test_no_rpc_goes_without_the_fence(trial: Trial) -> None:
    async def send_stale_and_newer(machine: Machine, verb: Verb, *, after: Verb) -> tuple[Call, bool]:
        """Returns the call with the stale token, and whether the same call with a newer token has the same code."""
        shard = await shard_after_first_call(trial, machine)
        await machine.call(after, shard.token(epoch=MARK[0], sequence=MARK[1]))
        stale = await machine.call(verb, shard.token(epoch=STALE[0], sequence=STALE[1]))
        newer = await machine.call(verb, shard.token(epoch=FRESH[0], sequence=FRESH[1]))
        return stale, stale.status is newer.status

    # Drain is last: if it is not fenced, it changes the machine's state.
    for verb in (*inert_verbs(trial, State.CONFIGURED), Verb.DRAIN):
        # If the RPC is fenced for either machine, it has a fence; FEN-4 judges whether the fence comes first.
        _, unfenced = await send_stale_and_newer(
            trial.stranger(), verb, after=Verb.CREATE if verb is not Verb.CREATE else Verb.DRAIN
        )
        if unfenced:
            other = Verb.CONFIGURE if verb is not Verb.CONFIGURE else Verb.CREATE
            stale, unfenced = await send_stale_and_newer(trial.machine, verb, after=other)
        if unfenced:
            await expect.fenced(stale)
