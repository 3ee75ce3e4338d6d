"""FEN-11: checking and raising the mark is one atomic step, also for concurrent calls (contract §5).

Most bursts are calls that start nothing on machines at rest, so a round costs a few dozen calls and no transition. A
call that was not answered, or that the provider rejected because of overload, says nothing about the fence, and is not
counted. A crowd of which fewer than half were answered shows nothing, and is sent again on a new shard.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

from conformance.core.errors import NoAnswer, NotObserved, Violation
from conformance.core.lifecycle import State, Verb
from conformance.rpc.call import answers_of
from conformance.suite._fencing import inert_verbs, shard_with_mark
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from conformance.core.fencing import Token
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

CALLS_PER_BURST = 12
BURSTS_PER_VERB = 2


async def _check_one_passes(trial: Trial, send: Callable[[int], Awaitable[Call]], *, what: str) -> Call:
    """Sends a burst of concurrent calls with one token. Checks that exactly one passes the fence, and returns it."""

    async def one(number: int) -> Call:
        return await send(number)

    calls = await trial.together(CALLS_PER_BURST, one)
    answered = answers_of(calls)
    passed = [call for call in answered if not (call.fenced or call.busy)]
    undecided = [call for call in calls if not call.answered or call.busy]
    if len(passed) > 1:
        raise Violation(
            f"at most one of {CALLS_PER_BURST} concurrent {what} with token {passed[0].token} to pass the fence",
            f"{len(passed)} passed the fence",
            calls=passed[:3],
        )
    if not (passed or undecided):
        raise Violation(
            f"one of {CALLS_PER_BURST} concurrent {what} with the new token {calls[0].token} to pass the fence",
            "all were fenced",
            calls=calls[:3],
        )
    if (not passed and len(undecided) > 1) or not _overlapped(answered):
        raise NotObserved(f"{CALLS_PER_BURST} concurrent {what} were lost, rejected for load, or did not overlap")
    _check_enough(answered, CALLS_PER_BURST, what=what)
    return (passed or undecided)[0]


def _check_enough(answered: Sequence[Call], sent: int, *, what: str) -> None:
    """Raises NoAnswer if fewer than half of a crowd's calls were answered: the others show nothing about the fence."""
    if 2 * len(answered) < sent:
        raise NoAnswer(f"only {len(answered)} of {sent} concurrent {what} were answered")


def _overlapped(calls: Sequence[Call]) -> bool:
    """Returns whether any two of the calls were in flight at the same time."""
    ordered = sorted(calls, key=lambda call: call.started)
    return any(later.started < earlier.ended for earlier, later in pairwise(ordered))


async def _check_bursts(trial: Trial, state: State) -> None:
    machine = trial.machine
    for verb in inert_verbs(trial, state):
        # Each burst has its own shard, as FEN-5 judges whether a refused call changes a mark.
        for _ in range(BURSTS_PER_VERB):
            token = (await shard_with_mark(trial, state)).token(epoch=5, sequence=7)

            def send(_: int, verb: Verb = verb, token: Token = token) -> Awaitable[Call]:
                return machine.call(verb, token)

            await _check_one_passes(trial, send, what=f"{verb.value}s")


@behaviour("FEN-11a", machines=1, start=State.IDLE)
async def test_one_of_many_equal_tokens_passes_at_idle(trial: Trial) -> None:
    await _check_bursts(trial, State.IDLE)


@behaviour("FEN-11b", machines=1, start=State.CONFIGURED)
async def test_one_of_many_equal_tokens_passes_at_configured(trial: Trial) -> None:
    await _check_bursts(trial, State.CONFIGURED)


@behaviour("FEN-11c", machines=1, start=State.IDLE)
async def test_one_of_many_equal_tokens_passes_over_several_connections(trial: Trial) -> None:
    machine = trial.machine
    async with trial.connections(4) as clients:
        for verb in inert_verbs(trial, State.IDLE):
            for _ in range(BURSTS_PER_VERB):
                token = (await shard_with_mark(trial, State.IDLE)).token(epoch=5, sequence=7)

                def send(index: int, verb: Verb = verb, token: Token = token) -> Awaitable[Call]:
                    return machine.call(verb, token, client=clients[index % len(clients)])

                await _check_one_passes(trial, send, what=f"{verb.value}s over {len(clients)} connections")


@behaviour("FEN-11d", machines=1, start=State.IDLE)
async def test_one_of_many_equal_tokens_passes_at_first_contact(trial: Trial) -> None:
    machine = trial.machine
    for verb in inert_verbs(trial, State.IDLE):
        for _ in range(BURSTS_PER_VERB):
            token = trial.new_shard().next()

            def send(_: int, verb: Verb = verb, token: Token = token) -> Awaitable[Call]:
                return machine.call(verb, token)

            await _check_one_passes(trial, send, what=f"{verb.value}s of a new shard")


async def _check_mixed_burst(trial: Trial, state: State) -> None:
    machine, shard = trial.machine, await shard_with_mark(trial, state)
    verbs = inert_verbs(trial, state)
    for number in range(len(verbs)):  # each verb is first once
        token = shard.token(epoch=6 + number, sequence=0)

        def send(index: int, token: Token = token, first: int = number) -> Awaitable[Call]:
            return machine.call(verbs[(index + first) % len(verbs)], token)

        await _check_one_passes(trial, send, what=f"{', '.join(v.value for v in verbs)} calls")


@behaviour("FEN-11e", machines=1, start=State.CONFIGURED)
async def test_one_of_many_equal_tokens_passes_across_the_rpcs(trial: Trial) -> None:
    await _check_mixed_burst(trial, State.CONFIGURED)


@behaviour("FEN-11f", machines=1, start=State.IDLE, transitions=2)
async def test_one_of_many_equal_tokens_passes_where_it_starts_a_transition(trial: Trial) -> None:
    machine, shard = trial.machine, trial.new_shard()
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        token = shard.next()

        def send(_: int, verb: Verb = verb, token: Token = token) -> Awaitable[Call]:
            return machine.call(verb, token)

        passed = await _check_one_passes(trial, send, what=f"{verb.value}s")
        await trial.drive(machine, verb, _completed(passed))


async def _completed(call: Call) -> Call:
    return call


@behaviour("FEN-11g", machines=1, start=State.IDLE)
async def test_the_mark_is_the_highest_of_a_crowd(trial: Trial) -> None:
    for verb in inert_verbs(trial, State.IDLE):
        await _check_highest_mark(trial, verb, shuffled=True)
        await _check_highest_mark(trial, verb, shuffled=False)


async def _check_highest_mark(trial: Trial, verb: Verb, *, shuffled: bool) -> None:
    machine, shard = trial.machine, await shard_with_mark(trial, State.IDLE, epoch=0, sequence=0)
    tokens = [shard.token(epoch=e, sequence=s) for e in (1, 2, 3) for s in range(6)]
    if shuffled:
        trial.random.shuffle(tokens)

    async def send(number: int) -> Call:
        return await machine.call(verb, tokens[number])

    calls = await trial.together(len(tokens), send)
    judge_history(calls, what=f"{verb.value}s")
    newest = max(calls, key=_numbers)
    if not newest.answered or newest.busy:
        raise NoAnswer(f"{newest.rpc} with the newest token of the crowd was not answered: {newest.outcome()}")
    # A call that read the mark first and wrote it last would have lowered it.
    for epoch, sequence in ((3, 5), (3, 4), (3, 0), (2, 5), (1, 5)):
        await expect.fenced(machine.call(verb, shard.token(epoch=epoch, sequence=sequence)))


@behaviour("FEN-11h", machines=1, start=State.IDLE)
async def test_a_zombie_never_gets_in_between(trial: Trial) -> None:
    machine, shard = trial.machine, await shard_with_mark(trial, State.IDLE, epoch=1, sequence=1000)
    calls: list[Call] = []

    async def stream(epoch: int, count: int, verbs: Sequence[Verb]) -> None:
        for number in range(count):
            token = shard.token(epoch=epoch, sequence=(1001 if epoch == 1 else 20) + number)
            calls.append(await machine.call(verbs[number % len(verbs)], token))

    verbs = inert_verbs(trial, State.IDLE)
    # The zombie's callers send the same tokens, like a shard that runs in several processes.
    async with trial.connections(1) as [other]:
        zombies = [asyncio.ensure_future(stream(1, 12, verbs)) for _ in range(3)]
        await machine.read()
        await stream(2, 12, verbs)
        await asyncio.gather(*zombies)
        calls.append(await machine.create(shard.token(epoch=1, sequence=2000), client=other))
    judge_history(calls, what="calls of a shard and its zombie")


def judge_history(calls: Sequence[Call], *, what: str = "calls") -> None:
    """Checks that some order of the calls explains every answer. A call that ended before another began comes first.

    A call without an answer, or with a code that may mean overload, may still have passed the fence: the code may
    be the call's own answer. Raises NoAnswer if fewer than half of the calls were answered.
    """
    answered = answers_of(calls)
    _check_enough(answered, len(calls), what=what)
    decided = [call for call in answered if not call.busy and call.token is not None]
    undecided = [call for call in calls if call not in decided and call.token is not None]
    for call in decided:
        passed = [other for other in decided if other is not call and not other.fenced]
        if call.fenced:
            _judge_fenced(call, _not_older(call, [*passed, *undecided]))
        else:
            _judge_passed(call, _not_older(call, passed))


def _judge_fenced(call: Call, others: Sequence[Call]) -> None:
    """Checks that a call with an equal or newer token had begun before the fenced call ended."""
    if not any(other.started < call.ended for other in others):
        raise Violation(f"{call.rpc} with token {call.token} to pass the fence", call.outcome(), calls=[call])


def _judge_passed(call: Call, others: Sequence[Call]) -> None:
    """Checks that no call with an equal or newer token passed before this one began, and that its token passed once."""
    before = next((other for other in others if other.ended < call.started), None)
    if before is not None:
        wanted = f"{call.rpc} with token {call.token} to be fenced after {before.token}"
        raise Violation(wanted, call.outcome(), calls=[before, call])
    twin = next((other for other in others if _numbers(other) == _numbers(call)), None)
    if twin is not None:
        raise Violation(f"token {call.token} to pass the fence only once", "it passed twice", calls=[twin, call])


def _not_older(call: Call, others: Sequence[Call]) -> list[Call]:
    """Returns the other calls whose tokens are equal to the call's token or newer."""
    return [other for other in others if _numbers(other) >= _numbers(call)]


def _numbers(call: Call) -> tuple[int, int]:
    return call.token.numbers if call.token is not None else (-1, -1)
