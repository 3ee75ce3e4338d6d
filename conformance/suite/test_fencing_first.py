"""FEN: the fence comes before all else; who is refused changes nothing, who passes moves the mark (contract §5).

What must not start is looked for over the trial's window; the few transitions are those of the control twins.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conformance.core.errors import Unprepared, Unsupported
from conformance.core.lifecycle import EDGES, State, Verb
from conformance.suite._fencing import FRESH, MARK, STALE, calm, in_flight, introduced, marked, offered
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from conformance.core.fencing import Token
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

# FEN-4: the fence comes first.


@behaviour("FEN-4a")
async def test_the_fence_comes_before_existence(trial: Trial) -> None:
    machine = trial.stranger()

    for verb in offered(trial):
        shard = await introduced(trial, machine)
        await expect.accepted(machine.call(verb, shard.token_of(MARK)))  # the control, too: only newer
        await expect.fenced(machine.call(verb, shard.token_of(STALE)))


@behaviour("FEN-4b", machines=1, start=State.IDLE, transitions=2)
async def test_the_fence_comes_before_the_retry_answer_and_the_state(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        # A call that takes its edge sets the mark; whether others do is FEN-6's to judge.
        shard = await introduced(trial, machine)
        await trial.drive(machine, verb, machine.call(verb, shard.token_of(MARK)))
        quiet = calm(trial, EDGES[verb].target)
        # Control, and first, as what a refusal does is FEN-5's: with a newer token they are let in.
        for number, each in enumerate(quiet):
            await expect.accepted(machine.call(each, shard.token(epoch=FRESH[0] + number, sequence=FRESH[1] + number)))
        if verb is Verb.CONFIGURE and (await machine.drain(shard.token_of(STALE))).ok:
            raise Unprepared("Configure has set no mark that a Drain would meet, as FEN-7 wants")
        for each in quiet:
            await expect.fenced(machine.call(each, shard.token_of(STALE)))


@behaviour("FEN-4c", machines=1, start=State.CONFIGURED)
async def test_a_fenced_answer_tells_nothing(trial: Trial) -> None:
    machine = trial.machine
    seen = await expect.rests(machine, State.CONFIGURED)
    operation = (await expect.accepted(machine.configure())).operation_id
    secrets = {"operation id": operation, "host.ref": seen.host.ref, "cluster": seen.cluster}
    for verb in offered(trial):
        shard = await marked(trial, State.CONFIGURED)
        token = shard.token(epoch=5, sequence=5)
        other = trial.unique("cluster")
        answer = await expect.fenced(
            machine.configure(token, cluster=other) if verb is Verb.CONFIGURE else machine.call(verb, token)
        )
        for what, secret in secrets.items():
            # What the caller sent, or what is too short to be told from chance, is no secret.
            if len(secret) >= 8 and not any(secret in said for said in (machine.id, token.shard, other)):
                expect.fact(
                    secret not in answer.details,
                    wanted=f"a fenced {verb.value} not to tell the {what}",
                    got=answer.outcome(),
                    calls=[answer],
                )
        await expect.accepted(machine.create(shard.token(epoch=5, sequence=6)))  # control: only newer


# FEN-5: a refused call changes nothing.


async def _mark_stays(trial: Trial, state: State, *, often: int = 1) -> None:
    machine = trial.machine
    for verb in calm(trial, state):
        shard = await marked(trial, state)
        # The last two: not lowered, neither to (4, 99) nor to (5, 3) ...
        for numbers in ((4, 99), (5, 3), (0, 0), (5, 4), *((5, 5),) * often):
            await expect.fenced(machine.call(verb, shard.token_of(numbers)))
        await expect.accepted(machine.call(verb, shard.token_of((5, 6))))  # ... and not raised to (5, 99)


@behaviour("FEN-5a", machines=1, start=State.IDLE)
async def test_a_fenced_call_moves_no_mark_at_idle(trial: Trial) -> None:
    await _mark_stays(trial, State.IDLE, often=24)  # nor worn out


@behaviour("FEN-5b", machines=1, start=State.CONFIGURED)
async def test_a_fenced_call_moves_no_mark_at_configured(trial: Trial) -> None:
    await _mark_stays(trial, State.CONFIGURED)


@behaviour("FEN-5c", machines=1, start=State.IDLE, transitions=2)
async def test_a_fenced_configure_or_delete_starts_nothing(trial: Trial) -> None:
    machine, shard = trial.machine, await marked(trial, State.IDLE)
    before = await machine.read()
    for token in (shard.token(epoch=5, sequence=5), shard.token(epoch=4, sequence=9)):
        for verb in offered(trial):
            await expect.fenced(machine.call(verb, token))
    await expect.unchanged(machine, before, by="fenced calls", seconds=trial.window)
    await _moves(trial, Verb.CONFIGURE, shard.token(epoch=5, sequence=6))  # control: only newer


@behaviour("FEN-5d", machines=1, start=State.CONFIGURED, transitions=2)
async def test_a_fenced_drain_or_configure_leaves_the_binding(trial: Trial) -> None:
    machine, shard = trial.machine, await marked(trial, State.CONFIGURED)
    before, bound = await machine.read(), await machine.configure()
    known = (await machine.configure()).operation_id == bound.operation_id  # where not, that is OPS-2's matter
    stale = (shard.token(epoch=5, sequence=5), shard.token(epoch=4, sequence=9))
    for token in stale:
        for verb in offered(trial):
            await expect.fenced(machine.call(verb, token))
        await expect.fenced(machine.configure(token, cluster=trial.unique("cluster"), metadata={"zombie": "was here"}))
    await expect.unchanged(machine, before, by="fenced calls", seconds=trial.window)
    if known and bound.ok:
        await expect.same_operation(bound, machine.configure())
    await _moves(trial, Verb.DRAIN, shard.token(epoch=5, sequence=6))  # control: only newer


async def _moves(trial: Trial, verb: Verb, token: Token) -> None:
    """The call passes the fence and starts its transition: what stood still before could have moved."""
    machine = trial.machine
    await trial.drive(machine, verb, expect.accepted(machine.call(verb, token)))


@behaviour("FEN-5e", machines=1, start=State.SPECULATIVE, transitions=2, creates=True)
async def test_a_fenced_create_of_a_slot_starts_nothing(trial: Trial) -> None:
    machine, shard = trial.machine, await marked(trial, State.SPECULATIVE)
    stale = (shard.token(epoch=5, sequence=5), shard.token(epoch=4, sequence=9))
    for token in stale:
        for verb in offered(trial):
            await expect.fenced(machine.call(verb, token))
            await expect.rests(machine, State.SPECULATIVE)  # what lives now is not asked for anything more
    await expect.stays([machine], State.SPECULATIVE, seconds=trial.window)
    fresh = await expect.accepted(machine.create(shard.token(epoch=5, sequence=6)))  # control: only newer
    await asyncio.gather(*(expect.fenced(machine.call(v, t)) for t in stale for v in offered(trial)))
    if not fresh.ok or (await machine.settle()).state is not State.IDLE:
        raise Unprepared(f"{machine.id} is {machine.state.name} after Create, which answered {fresh.outcome()}")
    await asyncio.gather(*(expect.fenced(machine.call(v, t)) for t in stale for v in offered(trial)))
    await expect.stays([machine], State.IDLE, seconds=trial.window)


@behaviour("FEN-5f", machines=1, start=State.CONFIGURED, transitions=2)
async def test_fenced_calls_do_not_disturb_a_transition(trial: Trial) -> None:
    machine, shard = trial.machine, await marked(trial, State.CONFIGURED)
    token = shard.token(epoch=5, sequence=5)
    undisturbed = await expect.rests(machine, State.CONFIGURED)

    async def attack() -> None:
        other = machine.configure(token, cluster=trial.unique("cluster"), metadata={"zombie": "was here"})
        # No other Configure: where one of two is obeyed, the last would hide the first.
        rest = (machine.call(verb, token) for verb in offered(trial) if verb is not Verb.CONFIGURE)
        await asyncio.gather(expect.fenced(other), *(expect.fenced(call) for call in rest))

    seen = await in_flight(trial, Verb.CONFIGURE, attack)
    disturbed = await machine.settle()
    expect.same(undisturbed, disturbed.machine, what=f"{machine.id} configured among fenced calls")
    await expect.accepted(machine.create(shard.token(epoch=5, sequence=6)))  # control: only newer
    if not seen:
        raise Unsupported("the transition was over within a call or two: there was no time in which to look")


# FEN-6: a token that passes moves the mark, whatever becomes of its call.


@behaviour("FEN-6a")
async def test_a_call_for_an_unknown_machine_moves_the_mark(trial: Trial) -> None:
    machine = trial.stranger()

    for first in offered(trial):
        for second in offered(trial):
            shard = await introduced(trial, machine)
            await expect.accepted(machine.call(first, shard.token_of(MARK)))  # the control, too: only newer
            await expect.fenced(machine.call(second, shard.token_of(STALE)))


async def _failures_count(trial: Trial, state: State) -> None:
    """Calls that are retries or have no edge: each moves the mark."""
    machine = trial.machine
    # One shard after the other: who has room for one only is FEN-9's to judge.
    for verb in calm(trial, state):
        shard = await marked(trial, state, epoch=1, sequence=1)
        await expect.accepted(machine.call(verb, shard.token_of(MARK)))  # the control, too: only newer
        for each in calm(trial, state):
            await expect.fenced(machine.call(each, shard.token_of(STALE)))  # newer than the mark before


@behaviour("FEN-6b", machines=1, start=State.IDLE)
async def test_a_call_that_starts_nothing_moves_the_mark_at_idle(trial: Trial) -> None:
    await _failures_count(trial, State.IDLE)


@behaviour("FEN-6c", machines=1, start=State.CONFIGURED)
async def test_a_call_that_starts_nothing_moves_the_mark_at_configured(trial: Trial) -> None:
    await _failures_count(trial, State.CONFIGURED)


@behaviour("FEN-6d", machines=1, start=State.SPECULATIVE)
async def test_a_call_that_starts_nothing_moves_the_mark_of_a_slot(trial: Trial) -> None:
    await _failures_count(trial, State.SPECULATIVE)


# FEN-8: reads are never fenced.


@behaviour("FEN-8a", machines=1, start=State.IDLE)
async def test_reads_go_on_after_a_fenced_call(trial: Trial) -> None:
    machine, shard = trial.machine, await marked(trial, State.IDLE)
    async with trial.connections(1) as others:
        for client in (trial.client, *others):
            for verb in offered(trial):
                await expect.fenced(machine.call(verb, shard.token(epoch=5, sequence=5), client=client))
                for reader in (trial.client, *others):
                    await expect.accepted(reader.get(machine.id))
                    await expect.accepted(reader.list(cap=1))


@behaviour("FEN-8b", machines=1, start=State.IDLE)
async def test_reads_go_on_among_fenced_calls(trial: Trial) -> None:
    machine, shard = trial.machine, await marked(trial, State.IDLE)

    async def one(number: int) -> Call:
        match number % 3:
            case 0:
                return await expect.accepted(trial.client.get(machine.id))
            case 1:
                return await expect.accepted(trial.client.list(cap=1))
            case _:
                verb = offered(trial)[number % len(offered(trial))]
                return await expect.fenced(machine.call(verb, shard.token(epoch=5, sequence=5)))

    for _ in range(2):  # a fenced call takes us longer than a read: those of the second time come after some
        await trial.together(18, one)
    await expect.accepted(machine.create(shard.token(epoch=5, sequence=6)))  # control: only newer
