"""FEN-11: checking and raising the mark is one step, whoever comes at the same moment (contract §5).

Bursts go to machines at rest, with calls that start nothing, so that a round costs a few dozen calls and no
transition. A call that a busy provider turned away says nothing of the fence, and is not counted.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

from conformance.core.errors import NotObserved, Violation
from conformance.core.lifecycle import State, Verb
from conformance.suite._fencing import calm, marked
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from conformance.core.fencing import Token
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

BURST = 12
ROUNDS = 2


async def _one_passes(trial: Trial, send: Callable[[int], Awaitable[Call]], *, what: str) -> Call:
    """Of calls with one token, released together, exactly one passes; returns that one."""

    async def one(number: int) -> Call:
        return await send(number)

    calls = await trial.together(BURST, one)
    let_in = [call for call in calls if not call.fenced]
    passed = [call for call in let_in if call.answered and not call.busy]
    if len(passed) > 1:
        raise Violation(
            f"at most one of {BURST} concurrent {what} with token {passed[0].token} to pass the fence",
            f"{len(passed)} passed",
            calls=passed[:3],
        )
    if not let_in:
        raise Violation(
            f"one of {BURST} concurrent {what} with the new token {calls[0].token} to pass the fence",
            "all were fenced",
            calls=calls[:3],
        )
    if (not passed and len(let_in) > 1) or not _overlap(calls):
        raise NotObserved(f"{BURST} concurrent {what} were turned away as too many, or came one after the other")
    return (passed or let_in)[0]


def _overlap(calls: Sequence[Call]) -> bool:
    """Whether any two were under way at the same moment."""
    ordered = sorted(calls, key=lambda call: call.started)
    return any(later.started < earlier.ended for earlier, later in pairwise(ordered))


async def _bursts(trial: Trial, state: State) -> None:
    machine = trial.machine
    for verb in calm(trial, state):
        for _ in range(ROUNDS):  # by another shard each, as what a refusal does to a mark is FEN-5's to judge
            token = (await marked(trial, state)).token(epoch=5, sequence=7)

            def send(_: int, verb: Verb = verb, token: Token = token) -> Awaitable[Call]:
                return machine.call(verb, token)

            await _one_passes(trial, send, what=f"{verb.value}s")


@behaviour("FEN-11a", machines=1, start=State.IDLE)
async def test_one_of_many_equal_tokens_passes_at_idle(trial: Trial) -> None:
    await _bursts(trial, State.IDLE)


@behaviour("FEN-11b", machines=1, start=State.CONFIGURED)
async def test_one_of_many_equal_tokens_passes_at_configured(trial: Trial) -> None:
    await _bursts(trial, State.CONFIGURED)


@behaviour("FEN-11c", machines=1, start=State.IDLE)
async def test_one_of_many_equal_tokens_passes_over_several_connections(trial: Trial) -> None:
    machine = trial.machine
    async with trial.connections(4) as clients:
        for verb in calm(trial, State.IDLE):
            for _ in range(ROUNDS):
                token = (await marked(trial, State.IDLE)).token(epoch=5, sequence=7)

                def send(index: int, verb: Verb = verb, token: Token = token) -> Awaitable[Call]:
                    return machine.call(verb, token, client=clients[index % len(clients)])

                await _one_passes(trial, send, what=f"{verb.value}s over {len(clients)} connections")


@behaviour("FEN-11d", machines=1, start=State.IDLE)
async def test_one_of_many_equal_tokens_passes_at_first_contact(trial: Trial) -> None:
    machine = trial.machine
    for verb in calm(trial, State.IDLE):
        for _ in range(ROUNDS):
            token = trial.new_shard().next()

            def send(_: int, verb: Verb = verb, token: Token = token) -> Awaitable[Call]:
                return machine.call(verb, token)

            await _one_passes(trial, send, what=f"{verb.value}s of a new shard")


async def _mixed(trial: Trial, state: State) -> None:
    machine, shard = trial.machine, await marked(trial, state)
    verbs = calm(trial, state)
    for number in range(len(verbs)):  # each of them comes first once
        token = shard.token(epoch=6 + number, sequence=0)

        def send(index: int, token: Token = token, first: int = number) -> Awaitable[Call]:
            return machine.call(verbs[(index + first) % len(verbs)], token)

        await _one_passes(trial, send, what=f"{', '.join(v.value for v in verbs)} calls")


@behaviour("FEN-11e", machines=1, start=State.CONFIGURED)
async def test_one_of_many_equal_tokens_passes_across_the_rpcs(trial: Trial) -> None:
    await _mixed(trial, State.CONFIGURED)


@behaviour("FEN-11f", machines=1, start=State.IDLE, transitions=2)
async def test_one_of_many_equal_tokens_passes_where_it_starts_a_transition(trial: Trial) -> None:
    machine, shard = trial.machine, trial.new_shard()
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        token = shard.next()

        def send(_: int, verb: Verb = verb, token: Token = token) -> Awaitable[Call]:
            return machine.call(verb, token)

        passed = await _one_passes(trial, send, what=f"{verb.value}s")
        await trial.drive(machine, verb, _already(passed))


async def _already(call: Call) -> Call:
    return call


@behaviour("FEN-11g", machines=1, start=State.IDLE)
async def test_the_mark_is_the_highest_of_a_crowd(trial: Trial) -> None:
    for verb in calm(trial, State.IDLE):
        await _crowd(trial, verb, shuffled=True)
        await _crowd(trial, verb, shuffled=False)


async def _crowd(trial: Trial, verb: Verb, *, shuffled: bool) -> None:
    machine, shard = trial.machine, await marked(trial, State.IDLE, epoch=0, sequence=0)
    tokens = [shard.token(epoch=e, sequence=s) for e in (1, 2, 3) for s in range(6)]
    if shuffled:
        trial.random.shuffle(tokens)

    async def send(number: int) -> Call:
        return await machine.call(verb, tokens[number])

    judge_history(await trial.together(len(tokens), send))
    # Whoever read the mark before and set it after all others has lowered it.
    for epoch, sequence in ((3, 5), (3, 4), (3, 0), (2, 5), (1, 5)):
        await expect.fenced(machine.call(verb, shard.token(epoch=epoch, sequence=sequence)))


@behaviour("FEN-11h", machines=1, start=State.IDLE)
async def test_a_zombie_never_gets_in_between(trial: Trial) -> None:
    machine, shard = trial.machine, await marked(trial, State.IDLE, epoch=1, sequence=1000)
    calls: list[Call] = []

    async def stream(epoch: int, count: int, verbs: Sequence[Verb]) -> None:
        for number in range(count):
            token = shard.token(epoch=epoch, sequence=(1001 if epoch == 1 else 20) + number)
            calls.append(await machine.call(verbs[number % len(verbs)], token))

    verbs = calm(trial, State.IDLE)
    # The zombie's four callers send the same tokens, as a shard does that runs twice.
    async with trial.connections(1) as [other]:
        zombies = [asyncio.ensure_future(stream(1, 12, verbs)) for _ in range(3)]
        await machine.read()
        await stream(2, 12, verbs)
        await asyncio.gather(*zombies)
        calls.append(await machine.create(shard.token(epoch=1, sequence=2000), client=other))
    judge_history(calls)


def judge_history(calls: Sequence[Call]) -> None:
    """Every answer is one that some order of the calls explains. Of two calls, the one that ended first came first.

    A call that was turned away as too many, or never answered, may have been let in all the same: that code may be
    the call's own.
    """
    known = [call for call in calls if call.answered and not call.busy and call.token is not None]
    unsure = [call for call in calls if call not in known and call.token is not None]
    for call in known:
        passed = [other for other in known if other is not call and not other.fenced]
        if call.fenced:
            _judge_fenced(call, _as_new(call, [*passed, *unsure]))
        else:
            _judge_passed(call, _as_new(call, passed))


def _judge_fenced(call: Call, rivals: Sequence[Call]) -> None:
    """A call is fenced only if one at least as new was under way or over when it ended."""
    if not any(rival.started < call.ended for rival in rivals):
        raise Violation(f"{call.rpc} with token {call.token} to pass the fence", call.outcome(), calls=[call])


def _judge_passed(call: Call, rivals: Sequence[Call]) -> None:
    """A call passes only if none at least as new was let in before it began, and no token passes twice."""
    before = next((rival for rival in rivals if rival.ended < call.started), None)
    if before is not None:
        wanted = f"{call.rpc} with token {call.token} to be fenced after {before.token}"
        raise Violation(wanted, call.outcome(), calls=[before, call])
    twin = next((rival for rival in rivals if _numbers(rival) == _numbers(call)), None)
    if twin is not None:
        raise Violation(f"token {call.token} to pass once", "it passed twice", calls=[twin, call])


def _as_new(call: Call, others: Sequence[Call]) -> list[Call]:
    """The others whose tokens are at least as new as the call's."""
    return [other for other in others if _numbers(other) >= _numbers(call)]


def _numbers(call: Call) -> tuple[int, int]:
    return call.token.numbers if call.token is not None else (-1, -1)
