"""FEN: the token is checked before anything else; a fenced call changes nothing, a passing one moves the mark (§5).

That nothing starts is observed for the length of the trial's window. The only transitions are those of the controls.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from conformance.core.errors import Unprepared
from conformance.core.lifecycle import EDGES, State, Verb
from conformance.suite._fencing import (
    FRESH,
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
from conformance.testkit.recording import LEAVING, LIFE, shared_recording

if TYPE_CHECKING:
    from conformance.core.fencing import Token
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

# FEN-4: the token is checked first.


@behaviour("FEN-4a")
async def test_the_fence_comes_before_existence(trial: Trial) -> None:
    machine = trial.stranger()

    for verb in supported_verbs(trial):
        shard = await shard_after_first_call(trial, machine)
        await expect.accepted(machine.call(verb, shard.token_of(MARK)))  # also the control: newer token
        await expect.fenced(machine.call(verb, shard.token_of(STALE)))


@behaviour("FEN-4b", machines=1, start=State.IDLE, transitions=2)
async def test_the_fence_comes_before_the_retry_answer_and_the_state(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        # A call that starts a transition sets the mark; FEN-6 judges whether other calls do.
        shard = await shard_after_first_call(trial, machine)
        await trial.drive(machine, verb, machine.call(verb, shard.token_of(MARK)))
        inert = inert_verbs(trial, EDGES[verb].target)
        # Control: with a newer token they pass. It comes first, as FEN-5 judges whether a refused call changes a mark.
        for number, each in enumerate(inert):
            await expect.accepted(machine.call(each, shard.token(epoch=FRESH[0] + number, sequence=FRESH[1] + number)))
        if verb is Verb.CONFIGURE and (await machine.drain(shard.token_of(STALE))).ok:
            raise Unprepared(
                "a Drain passed with a token older than Configure's: FEN-7 judges whether they share a mark"
            )
        for each in inert:
            await expect.fenced(machine.call(each, shard.token_of(STALE)))


@behaviour("FEN-4c", machines=1, start=State.CONFIGURED)
async def test_a_fenced_answer_tells_nothing(trial: Trial) -> None:
    machine = trial.machine
    seen = await expect.rests(machine, State.CONFIGURED)
    operation = (await expect.accepted(machine.configure())).operation_id
    secrets = {"operation id": operation, "host.ref": seen.host.ref, "cluster": seen.cluster}
    for verb in supported_verbs(trial):
        shard = await shard_with_mark(trial, State.CONFIGURED)
        token = shard.token(epoch=5, sequence=5)
        other = trial.unique("cluster")
        answer = await expect.fenced(
            machine.configure(token, cluster=other) if verb is Verb.CONFIGURE else machine.call(verb, token)
        )
        for name, secret in secrets.items():
            # A text that the caller sent, or a short one that may occur by chance, is not a secret.
            if len(secret) >= 8 and not any(secret in sent for sent in (machine.id, token.shard, other)):
                expect.fact(
                    secret not in answer.details,
                    wanted=f"the answer to a fenced {verb.value} not to contain the {name}",
                    got=answer.outcome(),
                    calls=[answer],
                )
        await expect.accepted(machine.create(shard.token(epoch=5, sequence=6)))  # control: newer token


# FEN-5: a refused call changes nothing.


async def _check_mark_stays(trial: Trial, state: State, *, repeats: int = 1) -> None:
    machine = trial.machine
    for verb in inert_verbs(trial, state):
        shard = await shard_with_mark(trial, state)
        # The last two show that the mark was not lowered to (4, 99) or (5, 3) ...
        for numbers in ((4, 99), (5, 3), (0, 0), (5, 4), *((5, 5),) * repeats):
            await expect.fenced(machine.call(verb, shard.token_of(numbers)))
        await expect.accepted(machine.call(verb, shard.token_of((5, 6))))  # ... and this one that it was not raised


@behaviour("FEN-5a", machines=1, start=State.IDLE)
async def test_a_fenced_call_moves_no_mark_at_idle(trial: Trial) -> None:
    await _check_mark_stays(trial, State.IDLE, repeats=24)  # nor do many of them


@behaviour("FEN-5b", machines=1, start=State.CONFIGURED)
async def test_a_fenced_call_moves_no_mark_at_configured(trial: Trial) -> None:
    await _check_mark_stays(trial, State.CONFIGURED)


@behaviour("FEN-5c", machines=1, start=State.IDLE, transitions=2)
async def test_a_fenced_configure_or_delete_starts_nothing(trial: Trial) -> None:
    machine, shard = trial.machine, await shard_with_mark(trial, State.IDLE)
    before = await machine.read()
    for token in (shard.token(epoch=5, sequence=5), shard.token(epoch=4, sequence=9)):
        for verb in supported_verbs(trial):
            await expect.fenced(machine.call(verb, token))
    await expect.unchanged(machine, before, by="fenced calls", seconds=trial.window)
    await _check_starts(trial, Verb.CONFIGURE, shard.token(epoch=5, sequence=6))  # control: newer token


@behaviour("FEN-5d", machines=1, start=State.CONFIGURED, transitions=2)
async def test_a_fenced_drain_or_configure_leaves_the_binding(trial: Trial) -> None:
    machine, shard = trial.machine, await shard_with_mark(trial, State.CONFIGURED)
    before, configured = await machine.read(), await machine.configure()
    repeatable = (await machine.configure()).operation_id == configured.operation_id  # if not, OPS-2 judges it
    stale = (shard.token(epoch=5, sequence=5), shard.token(epoch=4, sequence=9))
    for token in stale:
        for verb in supported_verbs(trial):
            await expect.fenced(machine.call(verb, token))
        await expect.fenced(machine.configure(token, cluster=trial.unique("cluster"), metadata={"zombie": "was here"}))
    await expect.unchanged(machine, before, by="fenced calls", seconds=trial.window)
    if repeatable and configured.ok:
        await expect.same_operation(configured, machine.configure())
    await _check_starts(trial, Verb.DRAIN, shard.token(epoch=5, sequence=6))  # control: newer token


async def _check_starts(trial: Trial, verb: Verb, token: Token) -> None:
    """Checks that the call passes and starts its transition: so a fenced one could have started it too."""
    machine = trial.machine
    await trial.drive(machine, verb, expect.accepted(machine.call(verb, token)))


@behaviour("FEN-5e", machines=1, start=State.SPECULATIVE, transitions=2, creates=True)
async def test_a_fenced_create_of_a_slot_starts_nothing(trial: Trial) -> None:
    machine, shard = trial.machine, await shard_with_mark(trial, State.SPECULATIVE)
    stale = (shard.token(epoch=5, sequence=5), shard.token(epoch=4, sequence=9))
    # Create last: what it starts later is seen while nothing is sent.
    for verb in sorted(supported_verbs(trial), key=lambda verb: verb is Verb.CREATE):
        for token in stale:
            await expect.fenced(machine.call(verb, token))
            await expect.rests(machine, State.SPECULATIVE)  # stops before another call if the slot has a machine now
    await expect.stays([machine], State.SPECULATIVE, seconds=trial.window)
    fresh = await expect.accepted(machine.create(shard.token(epoch=5, sequence=6)))  # control: newer token
    await asyncio.gather(*(expect.fenced(machine.call(v, t)) for t in stale for v in supported_verbs(trial)))
    if not fresh.ok or (await machine.settle()).state is not State.IDLE:
        raise Unprepared(f"{machine.id} is {machine.state.name} after Create, which answered {fresh.outcome()}")
    await asyncio.gather(*(expect.fenced(machine.call(v, t)) for t in stale for v in supported_verbs(trial)))
    await expect.stays([machine], State.IDLE, seconds=trial.window)


@behaviour("FEN-5f", machines=1, start=State.CONFIGURED, transitions=2)
async def test_fenced_calls_do_not_disturb_a_transition(trial: Trial) -> None:
    machine, shard = trial.machine, await shard_with_mark(trial, State.CONFIGURED)
    token = shard.token(epoch=5, sequence=5)
    undisturbed = await expect.rests(machine, State.CONFIGURED)

    async def attack() -> None:
        other = machine.configure(token, cluster=trial.unique("cluster"), metadata={"zombie": "was here"})
        # Only one Configure: a second one that takes effect would hide the effect of the first.
        rest = (machine.call(verb, token) for verb in supported_verbs(trial) if verb is not Verb.CONFIGURE)
        await asyncio.gather(expect.fenced(other), *(expect.fenced(call) for call in rest))

    not_seen = await run_during_transition(trial, Verb.CONFIGURE, attack)
    disturbed = await machine.settle()
    expect.same(undisturbed, disturbed.machine, what=f"{machine.id} configured among fenced calls")
    await expect.accepted(machine.create(shard.token(epoch=5, sequence=6)))  # control: newer token
    if not_seen is not None:
        raise not_seen


# FEN-6: a token that passes moves the mark, even if its call is refused.


@behaviour("FEN-6a")
async def test_a_call_for_an_unknown_machine_moves_the_mark(trial: Trial) -> None:
    machine = trial.stranger()

    for first in supported_verbs(trial):
        for second in supported_verbs(trial):
            shard = await shard_after_first_call(trial, machine)
            await expect.accepted(machine.call(first, shard.token_of(MARK)))  # also the control: newer token
            await expect.fenced(machine.call(second, shard.token_of(STALE)))


async def _check_mark_moves(trial: Trial, state: State) -> None:
    """Checks that calls that are retries or have no edge move the mark."""
    machine = trial.machine
    # Shards take turns: FEN-9 judges a provider that remembers only one.
    for verb in inert_verbs(trial, state):
        shard = await shard_with_mark(trial, state, epoch=1, sequence=1)
        await expect.accepted(machine.call(verb, shard.token_of(MARK)))  # also the control: newer token
        for each in inert_verbs(trial, state):
            await expect.fenced(machine.call(each, shard.token_of(STALE)))  # newer than the mark before


@behaviour("FEN-6b", machines=1, start=State.IDLE)
async def test_a_call_that_starts_nothing_moves_the_mark_at_idle(trial: Trial) -> None:
    await _check_mark_moves(trial, State.IDLE)


@behaviour("FEN-6c", machines=1, start=State.CONFIGURED)
async def test_a_call_that_starts_nothing_moves_the_mark_at_configured(trial: Trial) -> None:
    machine = trial.machine
    await _check_mark_moves(trial, State.CONFIGURED)
    shard = await shard_with_mark(trial, State.CONFIGURED, epoch=1, sequence=1)
    await expect.accepted(machine.configure(shard.token_of(MARK), cluster=trial.unique("other")))
    await expect.fenced(machine.configure(shard.token_of(STALE)))


async def _check_spent_in_flight(trial: Trial) -> None:
    for in_flight, again in (await shared_recording(trial)).spent:
        if not (in_flight.fenced or in_flight.busy):  # if a new shard is fenced, FEN-2 judges it
            await expect.fenced(again)


@behaviour("FEN-6f", watches=LIFE)
async def test_a_call_that_starts_nothing_in_flight_moves_the_mark(trial: Trial) -> None:
    await _check_spent_in_flight(trial)


@behaviour("FEN-6g", watches=LEAVING)
async def test_a_call_that_starts_nothing_moves_the_mark_while_deleting(trial: Trial) -> None:
    await _check_spent_in_flight(trial)


@behaviour("FEN-6d", machines=1, start=State.SPECULATIVE)
async def test_a_call_that_starts_nothing_moves_the_mark_of_a_slot(trial: Trial) -> None:
    await _check_mark_moves(trial, State.SPECULATIVE)


# FEN-8: reads are never fenced.


@behaviour("FEN-8a", machines=1, start=State.IDLE)
async def test_reads_go_on_after_a_fenced_call(trial: Trial) -> None:
    machine, shard = trial.machine, await shard_with_mark(trial, State.IDLE)
    async with trial.connections(1) as others:
        for client in (trial.client, *others):
            for verb in supported_verbs(trial):
                await expect.fenced(machine.call(verb, shard.token(epoch=5, sequence=5), client=client))
                for read in (partial(client.get, machine.id), partial(client.list, cap=1)):
                    await expect.accepted(read())


@behaviour("FEN-8b", machines=1, start=State.IDLE)
async def test_reads_go_on_among_fenced_calls(trial: Trial) -> None:
    machine, shard = trial.machine, await shard_with_mark(trial, State.IDLE)

    async def one(number: int) -> Call:
        if number % 3:
            return await expect.accepted(trial.client.get(machine.id) if number % 3 == 1 else trial.client.list(cap=1))
        verb = supported_verbs(trial)[number % len(supported_verbs(trial))]
        return await expect.fenced(machine.call(verb, shard.token(epoch=5, sequence=5)))

    # A fenced call takes longer than a read (the kit may retry it), so reads of the second round follow fenced calls.
    for _ in range(2):
        await trial.together(18, one)
    await expect.accepted(machine.create(shard.token(epoch=5, sequence=6)))  # control: newer token
