"""FEN: which shard a mark belongs to, how its numbers compare, and how long it lasts (contract §5).

Odd shard ids get a prefix that is unique to the run, so that their first call is a first contact. Ids of one
character cannot have a prefix: their tokens have epoch 0 and the time as sequence. They are newer than those of any
earlier run, and older than any token that a real shard sends after its first restart. An empty id with numbers is not
judged: the contract leaves open whether it is a shard or no token at all.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING

from grpc import StatusCode

from conformance.core.errors import NotObserved, Unsupported
from conformance.core.fencing import Shard, Token
from conformance.core.lifecycle import State, Verb
from conformance.results.held import MARKS
from conformance.suite._fencing import INT64_MAX, inert_verbs, shard_after_first_call, shard_with_mark, supported_verbs
from conformance.suite._names import ID_LENGTHS, SHARD_TAILS
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

# FEN-9: a mark belongs to one shard.


async def _check_separate_marks(trial: Trial, verbs: Sequence[Verb]) -> None:
    machine = trial.machine

    for verb in verbs:
        high, low = trial.new_shard(), trial.new_shard()
        await expect.accepted(machine.call(verb, high.token(epoch=100, sequence=100)))
        await expect.accepted(machine.call(verb, low.token(epoch=1, sequence=1)))
        await expect.fenced(machine.call(verb, high.token(epoch=100, sequence=100)))
        await expect.accepted(machine.call(verb, high.token(epoch=100, sequence=101)))  # control: newer token


@behaviour("FEN-9a", machines=1, start=State.IDLE)
async def test_one_shard_does_not_fence_another_at_idle(trial: Trial) -> None:
    await _check_separate_marks(trial, inert_verbs(trial, State.IDLE))


@behaviour("FEN-9b", machines=1, start=State.CONFIGURED)
async def test_one_shard_does_not_fence_another_at_configured(trial: Trial) -> None:
    await _check_separate_marks(trial, inert_verbs(trial, State.CONFIGURED))


ID_REFUSED = (
    StatusCode.INVALID_ARGUMENT,
    StatusCode.OUT_OF_RANGE,
    StatusCode.PERMISSION_DENIED,
    StatusCode.RESOURCE_EXHAUSTED,
    StatusCode.UNAUTHENTICATED,
)


async def _check_distinct(trial: Trial, families: Sequence[Sequence[str]]) -> None:
    """Checks that the ids of each family are different shards. Ids that the provider refuses are left out.

    Each first token is older than those of the ids before it: it is fenced if its shard is taken for one of them.
    """
    machine, verbs, judged = trial.machine, supported_verbs(trial), 0
    latest: Token | None = None
    inert = cycle(inert_verbs(trial, State.IDLE))  # ids are the same for all RPCs
    for family in families:
        tokens = [Token(shard, 2 * (len(family) - place), 5) for place, shard in enumerate(family)]
        calls = [await expect.accepted(machine.call(next(inert), token)) for token in tokens]
        known = [token for token, call in zip(tokens, calls, strict=True) if call.status not in ID_REFUSED]
        for token in dict.fromkeys((*known[:1], *known[-1:])):  # the first and the last one have a mark
            judged += 1
            await expect.fenced(machine.call(verbs[judged % len(verbs)], token))
        latest = known[-1] if known else latest
    if latest is None:
        raise Unsupported("the provider refuses such shard ids")
    await expect.accepted(machine.drain(replace(latest, sequence=6)))  # control: newer token


@behaviour("FEN-9c", machines=1, start=State.IDLE)
async def test_ids_that_differ_in_case_are_two_shards(trial: Trial) -> None:
    tails = [
        ("shard", "SHARD", "Shard"),
        ("\u00e9", "\u00c9"),
        ("ss", "\u00df"),
        ("i", "\u0130"),
    ]
    await _check_distinct(trial, _with_prefix(trial, tails))


@behaviour("FEN-9d", machines=1, start=State.IDLE)
async def test_long_ids_that_differ_in_one_character_are_two_shards(trial: Trial) -> None:
    middle, end = trial.unique("s-"), "y" * 1000
    long = trial.unique("s-").ljust(ID_LENGTHS[-1], "x")
    nested = [long[:length] for length in ID_LENGTHS]
    await _check_distinct(trial, [nested, [middle + "a" + end, middle + "b" + end, middle + end, middle + end + "y"]])


@behaviour("FEN-9e", machines=1, start=State.IDLE)
async def test_ids_that_look_alike_are_two_shards(trial: Trial) -> None:
    tails = [
        ("\u00c5", "\u212b"),  # the letter and the unit
        ("\ufb01", "fi"),  # a ligature
        ("\uff11", "1"),  # full width
        ("ab", "a\u200bb"),  # a space of zero width
        ("a", "\u0430"),  # Latin and Cyrillic
        ("a_b", "a-b"),
    ]
    await _check_distinct(trial, _with_prefix(trial, [*tails, *SHARD_TAILS]))


@behaviour("FEN-9f", machines=1, start=State.IDLE)
async def test_ids_that_differ_in_blanks_and_control_characters_are_two_shards(trial: Trial) -> None:
    name = trial.unique("s")
    blanks = [(name, name + " "), (" " + name + "x", name + "x")]
    tails = [
        ("\t", ""),
        ("a\n", "a", "a\x7f"),
        ("a b", "a  b"),
        ("\0one", "\0other"),
        ("b", "b\u00a0"),
    ]
    await _check_distinct(trial, [*blanks, *_with_prefix(trial, tails)])


def _with_prefix(trial: Trial, families: Sequence[Sequence[str]]) -> list[list[str]]:
    prefixes = [trial.unique("s-") for _ in families]
    return [[prefix + tail for tail in tails] for prefix, tails in zip(prefixes, families, strict=True)]


@behaviour("FEN-9g", machines=1, start=State.IDLE)
async def test_the_shortest_ids_are_fenced_like_any_other(trial: Trial) -> None:
    # No real shard has these ids: one unprintable byte, and one private-use character.
    ids = [chr(trial.random.randrange(1, 32)), chr(trial.random.randrange(0xF0000, 0xFFFFE))]
    judged = [await _check_with_time_as_sequence(trial.machine, shard) for shard in ids]
    if not any(judged):
        raise Unsupported("the provider refuses such short shard ids, or another client uses all of them")


async def _check_with_time_as_sequence(machine: Machine, shard: str) -> bool:
    """Checks that an equal token is fenced and a newer one is not. Returns False if the id cannot be used for that."""

    def now() -> Token:
        return Token(shard, 0, time.time_ns() // 1000)

    token = now()
    first = await machine.create(token)
    if first.fenced or first.status in ID_REFUSED:
        return False  # its mark is above all tokens of this check, or the provider refuses the id
    await expect.fenced(machine.create(token))
    for pause in (0.05, 0.5):
        if not (await machine.create(now())).fenced:  # control: newer token
            return True
        await asyncio.sleep(pause)  # another run may use the same id meanwhile, with a clock that is ahead
    await expect.accepted(machine.create(now()))
    return True


@behaviour("FEN-9h")
async def test_what_shard_and_machine_have_in_common_does_not_mix_them_up(trial: Trial) -> None:
    # If marks are stored under the two ids joined as text, two shards can have the same text.
    for separator in ("/", ":", "|", "-", "_", ".", "#", ",", " ", ""):
        head, middle, tail = trial.unique("a"), trial.unique("b"), trial.unique("c")
        one = trial.stranger(f"{middle}{separator}{tail}")
        other = trial.stranger(tail)
        await expect.accepted(one.drain(Token(head, 9, 9)))
        await expect.accepted(other.drain(Token(f"{head}{separator}{middle}", 1, 1)))


@behaviour("FEN-9i")
async def test_one_shard_does_not_fence_another_on_a_machine_that_does_not_exist(trial: Trial) -> None:
    machine = trial.stranger()
    for verb in supported_verbs(trial):
        high, low = [await shard_after_first_call(trial, machine) for _ in range(2)]
        await machine.call(verb, high.token(epoch=100, sequence=100))
        await expect.accepted(machine.call(verb, low.token(epoch=2, sequence=2)))


# FEN-10: numbers are 64 bits wide.

BOUNDARY_NUMBERS = (
    *(0, 1, 9, 10, 99, 100, 255, 256),
    *(2**15, 2**16, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1),
    *(2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2, 2**62, INT64_MAX - 2, INT64_MAX - 1, INT64_MAX),
)
SOME_BOUNDARY_NUMBERS = (1, 10, 2**31 - 1, 2**31, 2**32, 2**32 + 1, 2**53, 2**53 + 1, INT64_MAX - 1, INT64_MAX)


async def _check_increasing(trial: Trial, verb: Verb, steps: Sequence[int], *, epoch: bool) -> None:
    """Checks that each step is newer than the one before but not than itself, and that it can be a first token."""
    shard = trial.new_shard()

    async def call(shard: Shard, step: int) -> Call:
        token = shard.token(epoch=step, sequence=7) if epoch else shard.token(epoch=7, sequence=step)
        return await trial.machine.call(verb, token)

    for step in steps:
        await expect.accepted(call(shard, step))
        await expect.fenced(call(shard, step))
        if verb is Verb.CREATE and step in SOME_BOUNDARY_NUMBERS:
            await expect.accepted(call(trial.new_shard(), step))
    await expect.fenced(call(shard, 0))  # the numbers do not start again after the largest one


@behaviour("FEN-10a", machines=1, start=State.IDLE)
async def test_epochs_compare_as_64_bit_integers(trial: Trial) -> None:
    await _check_increasing(trial, Verb.CREATE, BOUNDARY_NUMBERS, epoch=True)


@behaviour("FEN-10b", machines=1, start=State.IDLE)
async def test_sequences_compare_as_64_bit_integers(trial: Trial) -> None:
    await _check_increasing(trial, Verb.CREATE, BOUNDARY_NUMBERS, epoch=False)


@behaviour("FEN-10c", machines=1, start=State.IDLE)
async def test_drain_compares_64_bit_integers(trial: Trial) -> None:
    for epoch in (True, False):
        await _check_increasing(trial, Verb.DRAIN, SOME_BOUNDARY_NUMBERS, epoch=epoch)


@behaviour("FEN-10d", machines=1, start=State.CONFIGURED)
async def test_configure_and_delete_compare_64_bit_integers(trial: Trial) -> None:
    verbs = [verb for verb in inert_verbs(trial, State.CONFIGURED) if verb is not Verb.CREATE]

    for verb in verbs:
        for epoch in (True, False):
            await _check_increasing(trial, verb, SOME_BOUNDARY_NUMBERS, epoch=epoch)


@behaviour("FEN-10e", machines=1, start=State.IDLE)
async def test_the_largest_sequence_does_not_reach_the_next_epoch(trial: Trial) -> None:
    # If both numbers are packed into one, or added, a large sequence overflows into the epoch.
    machine = trial.machine

    for epoch in (0, 1, 2**31 - 1, 2**32, 2**53, INT64_MAX - 1):
        for sequence in (1000, 2**32, 2**53, INT64_MAX):
            shard = trial.new_shard()
            await machine.create(shard.token(epoch=epoch, sequence=sequence))
            await expect.accepted(machine.create(shard.token(epoch=epoch + 1, sequence=0)))
            await expect.fenced(machine.create(shard.token(epoch=epoch, sequence=INT64_MAX)))


# FEN-12: marks are durable.


async def _check_still_fenced(trial: Trial, shard: Shard) -> None:
    await _check_fenced_by_all(trial, shard.token(epoch=5, sequence=5))


async def _check_fenced_by_all(trial: Trial, token: Token) -> None:
    for verb in supported_verbs(trial):
        await expect.fenced(trial.machine.call(verb, token))


@behaviour("FEN-12a", machines=1, start=State.CONFIGURED, transitions=3)
async def test_a_mark_outlives_a_drain_and_a_new_binding(trial: Trial) -> None:
    machine, shard = trial.machine, await shard_with_mark(trial, State.CONFIGURED)
    latest = shard
    for verb in (Verb.DRAIN, Verb.CONFIGURE, Verb.DRAIN):
        await trial.drive(machine, verb)
        await _check_still_fenced(trial, shard)
        await _check_still_fenced(trial, latest)
        latest = await shard_with_mark(trial, machine.state)
    await expect.accepted(machine.create(shard.token(epoch=5, sequence=6)))  # control: newer token


@behaviour("FEN-12b", machines=1, start=State.IDLE, transitions=1, deletes=True)
async def test_a_mark_outlives_a_delete(trial: Trial) -> None:
    machine, shard = trial.machine, trial.new_shard()
    other = await shard_with_mark(trial, State.IDLE)
    token = shard.token(epoch=5, sequence=6)  # its first call
    await trial.begin(machine, Verb.DELETE, machine.delete(token))
    await _check_fenced_by_all(trial, token)
    await trial.bring(machine, State.SPECULATIVE)
    await _check_fenced_by_all(trial, token)
    await _check_still_fenced(trial, other)
    await expect.accepted(machine.drain(shard.token(epoch=5, sequence=7)))  # control: newer token


@behaviour("FEN-12e", machines=1, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_a_mark_outlives_the_create_of_a_new_life(trial: Trial) -> None:
    machine, shard = trial.machine, trial.new_shard()
    other = await shard_with_mark(trial, State.SPECULATIVE)
    token = shard.token(epoch=5, sequence=6)  # its first call
    await trial.begin(machine, Verb.CREATE, machine.create(token))
    await _check_fenced_by_all(trial, token)
    await trial.bring(machine, State.IDLE)
    await _check_fenced_by_all(trial, token)
    await _check_still_fenced(trial, other)
    await expect.accepted(machine.create(shard.token(epoch=5, sequence=7)))  # control: newer token


SHARD_COUNT = 270
"""More shards than a cache of 256 entries holds."""
MARKS_REVISITED = 16
SERVER_ERRORS = (StatusCode.UNKNOWN, StatusCode.INTERNAL)
"""The number of marks of the whole run that are looked at again in the end."""


@behaviour("FEN-12c", machines=1, start=State.IDLE)
async def test_a_mark_outlives_hundreds_of_other_shards(trial: Trial) -> None:
    machine = trial.machine
    shards = [trial.new_shard() for _ in range(SHARD_COUNT)]

    async def send_first(number: int) -> Call:
        return await expect.accepted(machine.create(shards[number].token(epoch=5, sequence=5)))

    await send_first(0)
    for start in range(1, SHARD_COUNT, 30):
        await trial.together(min(30, SHARD_COUNT - start), lambda number, start=start: send_first(start + number))  # type: ignore[misc]
    for shard in (*shards[:10], *trial.random.sample(shards, 20)):
        await expect.fenced(machine.create(shard.token(epoch=5, sequence=5)))
    await expect.accepted(machine.create(shards[0].token(epoch=5, sequence=6)))  # control: newer token


@behaviour("FEN-12f", alone=True)
async def test_marks_last_until_the_end_of_the_run(trial: Trial) -> None:
    # Nothing else runs: the marks of the whole run are at rest, most of them for a long time.
    await shard_after_first_call(trial, trial.stranger(), verb=Verb.DRAIN)  # the only mark, if nothing else has run
    marks = trial.oldest_marks(MARKS_REVISITED)
    if not marks:
        raise Unsupported("no call has passed the fence of a machine that rests, so there is no mark to look at")
    since = max(mark.by.ended for _, _, mark in marks[: max(1, len(marks) // 4)])
    await trial.hold.wait(since)
    for machine, verb, mark in marks:
        call = await expect.answered(machine.call(verb, mark.token))
        # A refusal may have any code, but a server that cannot answer a Get either says nothing about its marks.
        if call.status in SERVER_ERRORS and (read := await machine.get()).status in SERVER_ERRORS:
            raise NotObserved(f"Get of {machine.id} answered {read.outcome()}: the server cannot show its marks")
        await expect.fenced(call)
    trial.hold.note(MARKS, since)


@behaviour("FEN-12d", machines=1, start=State.IDLE)
async def test_a_mark_outlives_the_connection_that_set_it(trial: Trial) -> None:
    machine, shard = trial.machine, trial.new_shard()
    async with trial.connections(1) as [client]:
        await expect.accepted(machine.create(shard.token(epoch=5, sequence=5), client=client))
    async with trial.connections(1) as [client]:
        await expect.fenced(machine.create(shard.token(epoch=5, sequence=5), client=client))
        await expect.accepted(machine.create(shard.token(epoch=5, sequence=6), client=client))  # control: newer token
