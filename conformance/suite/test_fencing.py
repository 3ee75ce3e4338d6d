"""FEN: which tokens pass, which are fenced, and that one mark serves all four RPCs (contract §5).

A token costs nothing where its call starts nothing: on an IDLE machine Create is a retry and Drain has no edge;
on a CONFIGURED one Configure is a retry and Create and Delete have no edge. `calm` names these calls, so that
each of the four RPCs is judged with a stale token and with a fresh one, and no transition is paid for.
"""

from __future__ import annotations

import asyncio
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

from grpc import StatusCode
from hypothesis import strategies as st

from conformance.core.errors import Unsupported
from conformance.core.lifecycle import EDGES, State, Verb
from conformance.suite._fencing import FRESH, LAST, MARK, STALE, calm, in_flight, introduced, marked, offered
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.core.fencing import Shard
    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

# FEN-1: not newer is fenced.


async def judge_order(
    trial: Trial, verb: Verb, mark: tuple[int, int], *, stale: Sequence[tuple[int, int]], newer: tuple[int, int]
) -> None:
    """After `mark`, each of `stale` is fenced and `newer` is not.

    Said by a shard for each, all with one history, so that what a refused call does to a mark is FEN-5's to judge.
    """
    machine = trial.machine
    for numbers in (*stale, newer):
        shard = await introduced(trial, machine, epoch=mark[0] - 1)
        await expect.accepted(machine.call(verb, shard.token(epoch=mark[0], sequence=mark[1])))
        answer = machine.call(verb, shard.token_of(numbers))
        await (expect.accepted(answer) if numbers == newer else expect.fenced(answer))


@behaviour("FEN-1a", machines=1, start=State.IDLE)
async def test_an_equal_token_is_fenced(trial: Trial) -> None:
    await judge_order(trial, Verb.CREATE, (5, 5), stale=[(5, 5)], newer=(5, 6))


async def _lower_sequences(trial: Trial, state: State) -> None:
    for verb in calm(trial, state):
        await judge_order(trial, verb, (5, 8), stale=[(5, 8), (5, 7), (5, 1), (5, 0)], newer=(5, 9))


@behaviour("FEN-1b", machines=1, start=State.IDLE)
async def test_a_lower_sequence_is_fenced_at_idle(trial: Trial) -> None:
    await _lower_sequences(trial, State.IDLE)


@behaviour("FEN-1c", machines=1, start=State.CONFIGURED)
async def test_a_lower_sequence_is_fenced_at_configured(trial: Trial) -> None:
    await _lower_sequences(trial, State.CONFIGURED)


@behaviour("FEN-1d", machines=1, start=State.IDLE, transitions=1)
async def test_stale_tokens_are_fenced_while_a_transition_runs(trial: Trial) -> None:
    machine = trial.machine
    seen = False
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        edge = EDGES[verb]
        await trial.bring(machine, edge.source)
        shards = {each: await marked(trial, edge.source) for each in offered(trial)}

        async def attack(shards: dict[Verb, Shard] = shards) -> None:
            await asyncio.gather(
                *(expect.fenced(machine.call(v, s.token(epoch=5, sequence=5))) for v, s in shards.items()),
                *(expect.fenced(machine.call(v, s.token(epoch=4, sequence=9))) for v, s in shards.items()),
            )

        seen |= await in_flight(trial, verb, attack)
        for each in calm(trial, edge.target):  # control: only newer, and nothing starts
            await expect.accepted(machine.call(each, shards[each].token(epoch=5, sequence=6)))
    if not seen:
        raise Unsupported("each transition was over within a call or two: there was no time in which to look")


NEGATIVE = ((-1, 9), (5, -1), (-1, -1), (-(2**63), LAST), (5, -(2**63)))
"""Epochs and sequences that are older than (5, 5): as unsigned numbers, or by a difference that overflows, newer."""


@behaviour("FEN-1f", machines=1, start=State.IDLE)
async def test_negative_numbers_are_older_than_a_mark(trial: Trial) -> None:
    for verb in calm(trial, State.IDLE):
        for numbers in NEGATIVE:
            shard = await marked(trial, State.IDLE)
            answer = trial.machine.call(verb, shard.token_of(numbers))
            await expect.code(answer, StatusCode.FAILED_PRECONDITION, StatusCode.INVALID_ARGUMENT)  # COD-4: either
            await expect.accepted(trial.machine.call(verb, shard.token_of((5, 6))))  # control: only newer


BASES = (0, 8, 2**31 - 1, 2**32 - 1, 2**53 - 1, LAST - 2)


@cache
@st.composite
def streams(draw: st.DrawFn, verbs: tuple[Verb, ...]) -> list[tuple[Verb, int, int, int]]:
    """Verb, shard, epoch and sequence of call after call: numbers close together, somewhere in 64 bits."""
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
                return  # turned away on this side of the fence, or on that
            if passes:
                marks[token.shard] = token.numbers

    await trial.explore(streams(calm(trial, State.IDLE)), judge, examples=min(trial.examples, 12))


# FEN-2: first contact.

FIRST = ((0, 0), (0, 9), (9, 0), (1, 1), (7, 3), (3, 800_000), (800_000, 3))


async def _first_contacts(trial: Trial, state: State) -> None:
    machine = trial.machine
    # One shard after the other: who has room for one only is FEN-9's to judge.
    for verb, (epoch, sequence) in product(calm(trial, state), FIRST):
        shard = trial.new_shard()
        await expect.accepted(machine.call(verb, shard.token(epoch=epoch, sequence=sequence)))
        # The mark is set: what is much older, though it would have been welcome before, is not any more.
        older = shard.token(epoch=epoch // 2, sequence=sequence // 2)
        if older.numbers != (epoch, sequence):
            await expect.fenced(machine.call(verb, older))


@behaviour("FEN-2a", machines=1, start=State.IDLE)
async def test_first_contact_passes_and_sets_the_mark_at_idle(trial: Trial) -> None:
    await _first_contacts(trial, State.IDLE)


@behaviour("FEN-2b", machines=1, start=State.CONFIGURED)
async def test_first_contact_passes_and_sets_the_mark_at_configured(trial: Trial) -> None:
    await _first_contacts(trial, State.CONFIGURED)


# FEN-3: the epoch goes before the sequence.


@behaviour("FEN-3a", machines=1, start=State.IDLE)
async def test_an_older_epoch_is_fenced_whatever_its_sequence(trial: Trial) -> None:
    await judge_order(trial, Verb.CREATE, (2, 1), stale=[(1, 99)], newer=(2, 2))


async def _epochs(trial: Trial, state: State) -> None:
    machine = trial.machine

    for verb in calm(trial, state):
        shard = await introduced(trial, machine)
        for epoch, sequence in ((1, 8), (2, 0), (2, 1), (9, 0), (9, 1), (10, -1)):  # each has its own sequence space
            await expect.accepted(machine.call(verb, shard.token(epoch=epoch, sequence=sequence)))
        await judge_order(trial, verb, (2, 0), stale=[(1, 9), (0, 900), (2, 0)], newer=(2, 1))
        await judge_order(trial, verb, (9, 0), stale=[(8, 2)], newer=(9, 1))


@behaviour("FEN-3b", machines=1, start=State.IDLE)
async def test_a_newer_epoch_starts_a_new_sequence_space_at_idle(trial: Trial) -> None:
    await _epochs(trial, State.IDLE)


@behaviour("FEN-3c", machines=1, start=State.CONFIGURED)
async def test_a_newer_epoch_starts_a_new_sequence_space_at_configured(trial: Trial) -> None:
    await _epochs(trial, State.CONFIGURED)


# FEN-7: one mark for the four.


async def _pairs(trial: Trial, state: State) -> None:
    """Whatever call sets the mark, every other one is fenced by it."""
    machine, quiet = trial.machine, calm(trial, state)

    for first in quiet:
        for second in offered(trial):
            shard = await introduced(trial, machine, epoch=4)
            await expect.accepted(machine.call(first, shard.token(epoch=5, sequence=5)))
            await expect.fenced(machine.call(second, shard.token(epoch=5, sequence=5)))
            if second in quiet:
                await expect.accepted(machine.call(second, shard.token(epoch=5, sequence=6)))  # control: only newer


@behaviour("FEN-7a", machines=1, start=State.IDLE)
async def test_create_and_drain_share_their_mark_with_all_four(trial: Trial) -> None:
    await _pairs(trial, State.IDLE)


@behaviour("FEN-7b", machines=1, start=State.CONFIGURED)
async def test_configure_and_delete_share_their_mark_with_all_four(trial: Trial) -> None:
    await _pairs(trial, State.CONFIGURED)


@behaviour("FEN-7c", machines=1, start=State.IDLE, transitions=2)
async def test_a_call_that_starts_a_transition_moves_the_mark_of_all_four(trial: Trial) -> None:
    machine, shard = trial.machine, trial.new_shard()
    for verb, sequence in ((Verb.CONFIGURE, 5), (Verb.DRAIN, 6)):  # the Drain is the control, too: only newer
        token = shard.token(epoch=5, sequence=sequence)
        await trial.drive(machine, verb, expect.accepted(machine.call(verb, token)))
        for each in offered(trial):
            await expect.fenced(machine.call(each, token))


@behaviour("FEN-7d", machines=1, start=State.CONFIGURED)
async def test_no_rpc_goes_without_the_fence(trial: Trial) -> None:
    async def asked(machine: Machine, verb: Verb, *, after: Verb) -> tuple[Call, bool]:
        """The stale call, and whether it was answered just as the same call is that is not."""
        shard = await introduced(trial, machine)
        await machine.call(after, shard.token(epoch=MARK[0], sequence=MARK[1]))
        stale = await machine.call(verb, shard.token(epoch=STALE[0], sequence=STALE[1]))
        newer = await machine.call(verb, shard.token(epoch=FRESH[0], sequence=FRESH[1]))
        return stale, stale.code is newer.code

    # Drain comes last: where it is not fenced, it moves the machine.
    for verb in (*calm(trial, State.CONFIGURED), Verb.DRAIN):
        # Who is fenced for one of the two machines has a fence; where it does not come first is FEN-4's to judge.
        _, passed = await asked(trial.stranger(), verb, after=Verb.CREATE if verb is not Verb.CREATE else Verb.DRAIN)
        if passed:
            other = Verb.CONFIGURE if verb is not Verb.CONFIGURE else Verb.CREATE
            stale, passed = await asked(trial.machine, verb, after=other)
        if passed:
            await expect.fenced(stale)
