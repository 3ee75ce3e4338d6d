"""FEN: whose mark it is, how its numbers compare, and how long it lasts (contract §5).

Odd shard ids get a prefix that no other run has, so that their first contact is one; only the empty id and the
ids of one character cannot have it. Those get tokens of epoch 0 whose sequence is the time: newer than those of
any earlier run, and older than any that a real shard sends after its first restart.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from grpc import StatusCode

from conformance.core.errors import Unsupported
from conformance.core.fencing import Shard, Token
from conformance.core.lifecycle import State, Verb
from conformance.suite._fencing import LAST, calm, introduced, marked, offered
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

# FEN-9: a mark belongs to one shard.


async def _two_shards(trial: Trial, verbs: Sequence[Verb]) -> None:
    machine = trial.machine

    for verb in verbs:
        high, low = trial.new_shard(), trial.new_shard()
        await expect.accepted(machine.call(verb, high.token(epoch=100, sequence=100)))
        await expect.accepted(machine.call(verb, low.token(epoch=1, sequence=1)))
        await expect.fenced(machine.call(verb, high.token(epoch=100, sequence=100)))
        await expect.accepted(machine.call(verb, high.token(epoch=100, sequence=101)))  # control: only newer


@behaviour("FEN-9a", machines=1, start=State.IDLE)
async def test_one_shard_does_not_fence_another_at_idle(trial: Trial) -> None:
    await _two_shards(trial, calm(trial, State.IDLE))


@behaviour("FEN-9b", machines=1, start=State.CONFIGURED)
async def test_one_shard_does_not_fence_another_at_configured(trial: Trial) -> None:
    await _two_shards(trial, calm(trial, State.CONFIGURED))


REFUSES_ID = (
    StatusCode.INVALID_ARGUMENT,
    StatusCode.OUT_OF_RANGE,
    StatusCode.PERMISSION_DENIED,
    StatusCode.RESOURCE_EXHAUSTED,
    StatusCode.UNAUTHENTICATED,
)


async def _apart(trial: Trial, pairs: Sequence[tuple[str, str]]) -> None:
    """Each two ids are two shards. An id that the provider does not take at all is left out."""
    machine, judged = trial.machine, 0
    for number, (one, other) in enumerate(pairs):
        verb = offered(trial)[number % len(offered(trial))]  # an id is the same id for each of the four
        first = await expect.accepted(machine.create(Token(one, 9, 9)))
        second = await expect.accepted(machine.create(Token(other, 1, 1)))
        if first.code in REFUSES_ID or second.code in REFUSES_ID:
            continue
        judged += 1
        await expect.fenced(machine.call(verb, Token(one, 9, 9)))
        await expect.fenced(machine.call(verb, Token(other, 1, 1)))
        await expect.accepted(machine.drain(Token(other, 1, 2)))  # control: only newer
    if not judged:
        raise Unsupported("the provider refuses such shard ids, each with a code of its own")


@behaviour("FEN-9c", machines=1, start=State.IDLE)
async def test_ids_that_differ_in_case_are_two_shards(trial: Trial) -> None:
    tails = [
        ("shard", "SHARD"),
        ("Shard", "shard"),
        ("\u00e9", "\u00c9"),
        ("ss", "\u00df"),
        ("i", "\u0130"),
        ("X", "x"),
    ]
    await _apart(trial, _with_prefix(trial, tails))


@behaviour("FEN-9d", machines=1, start=State.IDLE)
async def test_long_ids_that_differ_in_one_character_are_two_shards(trial: Trial) -> None:
    pairs = []
    for length in (32, 63, 64, 128, 255, 256, 1024, 4096):
        prefix = trial.unique("s-")
        same = prefix + "x" * (length - len(prefix) - 1)
        pairs.append((same + "a", same + "b"))
    middle, end = trial.unique("s-"), "y" * 1000
    pairs.append((middle + "a" + end, middle + "b" + end))
    pairs.append((middle + end, middle + end + "y"))
    await _apart(trial, pairs)


@behaviour("FEN-9e", machines=1, start=State.IDLE)
async def test_ids_that_look_alike_are_two_shards(trial: Trial) -> None:
    tails = [
        ("\u00e9", "e\u0301"),  # composed and decomposed
        ("\u00c5", "\u212b"),  # the letter and the unit
        ("\ufb01", "fi"),  # a ligature
        ("\uff11", "1"),  # full width
        ("ab", "a\u200bb"),  # nothing, of no width
        ("a", "\u0430"),  # Latin and Cyrillic
        ("7", "07"),
        ("a%20b", "a b"),
        ("a_b", "a-b"),
    ]
    await _apart(trial, _with_prefix(trial, tails))


@behaviour("FEN-9f", machines=1, start=State.IDLE)
async def test_ids_that_differ_in_blanks_and_control_characters_are_two_shards(trial: Trial) -> None:
    name = trial.unique("s")
    pairs = [(name, name + " "), (" " + name + "x", name + "x")]
    tails = [("\t", ""), ("a\n", "a"), ("a b", "a  b"), ("\0one", "\0other"), ("a\x7f", "a"), ("b", "b\u00a0")]
    await _apart(trial, [*pairs, *_with_prefix(trial, tails)])


def _with_prefix(trial: Trial, tails: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    prefixes = [trial.unique("s-") for _ in tails]
    return [(prefix + one, prefix + other) for prefix, (one, other) in zip(prefixes, tails, strict=True)]


@behaviour("FEN-9g", machines=1, start=State.IDLE)
async def test_the_shortest_ids_are_fenced_like_any_other(trial: Trial) -> None:
    # No real shard is called so: one byte that cannot be printed, one character of nobody's alphabet, and none.
    ids = [chr(trial.random.randrange(1, 32)), chr(trial.random.randrange(0xF0000, 0xFFFFE)), ""]
    judged = [await _by_the_clock(trial.machine, shard) for shard in ids]
    if not any(judged):
        raise Unsupported("the provider takes no such shard id, or somebody else uses each of them")


async def _by_the_clock(machine: Machine, shard: str) -> bool:
    """An equal token is fenced, a newer one is not; False where that cannot be told."""

    def now() -> Token:
        return Token(shard, 0, time.time_ns() // 1000)

    token = now()
    first = await machine.create(token)
    if first.fenced or not first.answered or first.code in REFUSES_ID:
        return False  # it has a mark above all that we would send, or is no id here
    await expect.fenced(machine.create(token))
    for pause in (0.05, 0.5):
        if not (await machine.create(now())).fenced:  # control: only newer
            return True
        await asyncio.sleep(pause)  # another run may have come in between, and its clock may be ahead
    await expect.accepted(machine.create(now()))
    return True


@behaviour("FEN-9h")
async def test_what_shard_and_machine_have_in_common_does_not_mix_them_up(trial: Trial) -> None:
    # A mark that is kept under the two names, joined: the same text for two shards.
    for joint in ("/", ":", "|", "-", "_", ".", "#", ",", " ", ""):
        head, middle, tail = trial.unique("a"), trial.unique("b"), trial.unique("c")
        one = trial.stranger(f"{middle}{joint}{tail}")
        other = trial.stranger(tail)
        await expect.accepted(one.drain(Token(head, 9, 9)))
        await expect.accepted(other.drain(Token(f"{head}{joint}{middle}", 1, 1)))


@behaviour("FEN-9i")
async def test_one_shard_does_not_fence_another_on_a_machine_that_does_not_exist(trial: Trial) -> None:
    machine = trial.stranger()
    for verb in offered(trial):
        high, low = [await introduced(trial, machine) for _ in range(2)]
        await machine.call(verb, high.token(epoch=100, sequence=100))
        await expect.accepted(machine.call(verb, low.token(epoch=2, sequence=2)))


# FEN-10: numbers are 64 bits wide.

STEPS = (
    *(0, 1, 9, 10, 99, 100, 255, 256),
    *(2**15, 2**16, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1),
    *(2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2, 2**62, LAST - 2, LAST - 1, LAST),
)
FEW = (1, 10, 2**31 - 1, 2**31, 2**32, 2**32 + 1, 2**53, 2**53 + 1, LAST - 1, LAST)


async def _climb(trial: Trial, verb: Verb, steps: Sequence[int], *, epoch: bool) -> None:
    """Each step is newer than the one before, and not than itself; any may come first."""
    shard = trial.new_shard()

    async def call(shard: Shard, step: int) -> Call:
        token = shard.token(epoch=step, sequence=7) if epoch else shard.token(epoch=7, sequence=step)
        return await trial.machine.call(verb, token)

    for step in steps:
        await expect.accepted(call(shard, step))
        await expect.fenced(call(shard, step))
        if verb is Verb.CREATE and step in FEW:
            await expect.accepted(call(trial.new_shard(), step))


@behaviour("FEN-10a", machines=1, start=State.IDLE)
async def test_epochs_compare_as_64_bit_integers(trial: Trial) -> None:
    await _climb(trial, Verb.CREATE, STEPS, epoch=True)


@behaviour("FEN-10b", machines=1, start=State.IDLE)
async def test_sequences_compare_as_64_bit_integers(trial: Trial) -> None:
    await _climb(trial, Verb.CREATE, STEPS, epoch=False)


@behaviour("FEN-10c", machines=1, start=State.IDLE)
async def test_drain_compares_64_bit_integers(trial: Trial) -> None:
    for epoch in (True, False):
        await _climb(trial, Verb.DRAIN, FEW, epoch=epoch)


@behaviour("FEN-10d", machines=1, start=State.CONFIGURED)
async def test_configure_and_delete_compare_64_bit_integers(trial: Trial) -> None:
    verbs = [verb for verb in calm(trial, State.CONFIGURED) if verb is not Verb.CREATE]

    for verb in verbs:
        for epoch in (True, False):
            await _climb(trial, verb, FEW, epoch=epoch)


@behaviour("FEN-10e", machines=1, start=State.IDLE)
async def test_the_largest_sequence_does_not_reach_the_next_epoch(trial: Trial) -> None:
    # Where both numbers were packed into one, or added up, a large sequence would spill over.
    machine = trial.machine

    for epoch in (0, 1, 2**31 - 1, 2**32, 2**53, LAST - 1):
        for sequence in (1000, 2**32, 2**53, LAST):
            shard = trial.new_shard()
            await machine.create(shard.token(epoch=epoch, sequence=sequence))
            await expect.accepted(machine.create(shard.token(epoch=epoch + 1, sequence=0)))
            await expect.fenced(machine.create(shard.token(epoch=epoch, sequence=LAST)))


# FEN-12: marks last.


async def _still_fenced(trial: Trial, shard: Shard) -> None:
    await _fenced_by_all(trial, shard.token(epoch=5, sequence=5))


async def _fenced_by_all(trial: Trial, token: Token) -> None:
    for verb in offered(trial):
        await expect.fenced(trial.machine.call(verb, token))


@behaviour("FEN-12a", machines=1, start=State.CONFIGURED, transitions=3)
async def test_a_mark_outlives_a_drain_and_a_new_binding(trial: Trial) -> None:
    machine, shard = trial.machine, await marked(trial, State.CONFIGURED)
    idle = shard
    for verb in (Verb.DRAIN, Verb.CONFIGURE, Verb.DRAIN):
        await trial.drive(machine, verb)
        await _still_fenced(trial, shard)
        await _still_fenced(trial, idle)
        idle = await marked(trial, machine.state)
    await expect.accepted(machine.create(shard.token(epoch=5, sequence=6)))  # control: only newer


@behaviour("FEN-12b", machines=1, start=State.IDLE, transitions=1, deletes=True)
async def test_a_mark_outlives_a_delete(trial: Trial) -> None:
    machine, shard = trial.machine, await marked(trial, State.IDLE)
    token = shard.token(epoch=5, sequence=6)
    await trial.begin(machine, Verb.DELETE, machine.delete(token))
    await _fenced_by_all(trial, token)
    await trial.bring(machine, State.SPECULATIVE)
    await _fenced_by_all(trial, token)
    await expect.accepted(machine.drain(shard.token(epoch=5, sequence=7)))  # control: only newer


@behaviour("FEN-12e", machines=1, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_a_mark_outlives_the_create_of_a_new_life(trial: Trial) -> None:
    machine, shard = trial.machine, await marked(trial, State.SPECULATIVE)
    other = await marked(trial, State.SPECULATIVE)
    token = shard.token(epoch=5, sequence=6)
    await trial.begin(machine, Verb.CREATE, machine.create(token))
    await _fenced_by_all(trial, token)
    await trial.bring(machine, State.IDLE)
    await _fenced_by_all(trial, token)
    await _still_fenced(trial, other)
    await expect.accepted(machine.create(shard.token(epoch=5, sequence=7)))  # control: only newer


CROWD = 270
"""More shards than a cache of 256 would remember."""


@behaviour("FEN-12c", machines=1, start=State.IDLE)
async def test_a_mark_outlives_hundreds_of_other_shards(trial: Trial) -> None:
    machine = trial.machine
    shards = [trial.new_shard() for _ in range(CROWD)]

    async def first(number: int) -> Call:
        return await expect.accepted(machine.create(shards[number].token(epoch=5, sequence=5)))

    await first(0)
    for start in range(1, CROWD, 30):
        await trial.together(min(30, CROWD - start), lambda number, start=start: first(start + number))  # type: ignore[misc]
    for shard in (*shards[:10], *trial.random.sample(shards, 20)):
        await expect.fenced(machine.create(shard.token(epoch=5, sequence=5)))
    await expect.accepted(machine.create(shards[0].token(epoch=5, sequence=6)))  # control: only newer


@behaviour("FEN-12d", machines=1, start=State.IDLE)
async def test_a_mark_outlives_the_connection_that_set_it(trial: Trial) -> None:
    machine, shard = trial.machine, trial.new_shard()
    async with trial.connections(1) as [client]:
        await expect.accepted(machine.create(shard.token(epoch=5, sequence=5), client=client))
    async with trial.connections(1) as [client]:
        await expect.fenced(machine.create(shard.token(epoch=5, sequence=5), client=client))
        await expect.accepted(machine.create(shard.token(epoch=5, sequence=6), client=client))  # control: only newer
