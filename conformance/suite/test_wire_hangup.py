"""WIR: once a call is accepted, the client no longer matters (contract §1).

That a call was accepted is seen by Get, over another connection; then its client goes, in one of the ways in
which clients go. What is left behind must be what would have been there anyway.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from grpc import StatusCode

from conformance.core.errors import Unprepared, Unsupported
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.fleet.machine import FIRST_POLL, POLL_SHARE
from conformance.rpc.proxy import proxy
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from conformance.core.fencing import Token
    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.testkit.trial import Trial

METADATA = {"who": "the client that went", "empty": ""}


def ask(
    machine: Machine, verb: Verb, client: Client, *, token: Token | None = None, timeout: float | None = None
) -> Coroutine[Any, Any, Call]:
    """The verb's call; a Configure carries metadata that must not get lost."""
    if verb is Verb.CONFIGURE:
        return machine.configure(token, metadata=METADATA, client=client, timeout=timeout)
    return machine.call(verb, token, client=client, timeout=timeout)


async def leaves(trial: Trial, machine: Machine, verb: Verb, asked: asyncio.Task[Call]) -> None:
    """Return as soon as Get shows that the call was accepted: the machine is not where it was."""
    clock, source = trial.client.now, EDGES[verb].source
    started = clock()
    while state_of((await machine.read()).state) is source:
        waited = clock() - started
        if asked.done() and not asked.result().ok:
            raise Unprepared(f"{verb.value} of {machine.id} answered {asked.result().outcome()}")
        if waited > trial.patience.for_verb(verb):
            raise Unprepared(f"{machine.id} does not leave {source.name}")
        await asyncio.sleep(max(FIRST_POLL, POLL_SHARE * waited))


async def arrives(machine: Machine, verb: Verb) -> None:
    """The machine settles as if the client had stayed."""
    watch = await expect.settles(machine, verb)
    if verb is Verb.CONFIGURE:
        cluster = watch.machine.cluster
        expect.fact(cluster == machine.cluster, wanted=f"cluster {machine.cluster}", got=cluster or "none")
        expect.echoes(watch.machine, METADATA, where=f"Get of {machine.id}")
    elif verb is Verb.DRAIN:
        expect.fact(not watch.machine.cluster, wanted="no cluster at IDLE", got=watch.machine.cluster)


async def hang_up(trial: Trial, machine: Machine, verb: Verb, *, token: Token | None = None) -> None:
    """The client cancels what is pending and closes its connection."""
    async with trial.client.another() as client:
        await client.channel.channel_ready()
        asked = asyncio.ensure_future(ask(machine, verb, client, token=token))
        await leaves(trial, machine, verb, asked)
        await client.disconnect()
        await asked
    if token is None:
        await arrives(machine, verb)


async def cut(trial: Trial, machine: Machine, verb: Verb) -> None:
    """The connection is reset while the answer is on its way."""
    async with proxy(trial.client.target) as line, trial.client.another(target=line.target) as client:
        await client.channel.channel_ready()
        line.pause_responses()
        asked = asyncio.ensure_future(ask(machine, verb, client))
        try:
            await leaves(trial, machine, verb, asked)
        finally:
            line.cut()
            await asked
    await arrives(machine, verb)


@behaviour("WIR-3a", machines=1, transitions=2)
async def test_a_client_that_hangs_up_disturbs_nothing(trial: Trial) -> None:
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        await hang_up(trial, trial.machine, verb)


@behaviour("FEN-6e", machines=1, transitions=2)
async def test_a_call_whose_client_hangs_up_moves_the_mark(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        shard = trial.new_shard()
        await hang_up(trial, machine, verb, token=shard.token(epoch=5, sequence=5))
        await trial.bring(machine, EDGES[verb].target)
        await expect.fenced(machine.call(verb, shard.token(epoch=5, sequence=5)))
        await expect.accepted(machine.call(verb, shard.token(epoch=5, sequence=6)))  # control: only newer


@behaviour("WIR-3b", machines=1, transitions=2)
async def test_a_connection_that_breaks_disturbs_nothing(trial: Trial) -> None:
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        await cut(trial, trial.machine, verb)


@behaviour("WIR-3c", machines=1, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_a_broken_connection_does_not_disturb_create(trial: Trial) -> None:
    machine = trial.machine
    await cut(trial, machine, Verb.CREATE)
    again = await machine.create()  # as a shard would that never heard the answer
    if not again.ok:
        raise Unprepared(f"Create again of {machine.id} answered {again.outcome()}")


@behaviour("WIR-3f", machines=1, start=State.IDLE, transitions=1, deletes=True)
async def test_a_broken_connection_does_not_disturb_delete(trial: Trial) -> None:
    await cut(trial, trial.machine, Verb.DELETE)


@behaviour("WIR-3d", machines=1, transitions=2)
async def test_a_deadline_that_passes_disturbs_nothing(trial: Trial) -> None:
    machine = trial.machine
    read = await machine.get()
    deadline = max(0.1, 4 * (read.ended - read.started))
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        for timeout in (deadline, 4 * deadline, 16 * deadline):
            call = await ask(machine, verb, trial.client, timeout=timeout)
            if call.ok:
                break
            if call.answered and call.code is not StatusCode.DEADLINE_EXCEEDED:  # a provider may say so itself
                raise Unprepared(f"{verb.value} of {machine.id} answered {call.outcome()}")
            watch = await machine.settle(patience=trial.patience.for_verb(verb))
            if watch.state is not EDGES[verb].source:
                break
            kept = dict(watch.machine.shard_metadata), watch.machine.cluster
            whole = kept == ({}, "") if verb is Verb.CONFIGURE else kept == (METADATA, machine.cluster)
            expect.fact(whole, wanted=f"no effect of a {verb.value} that did not happen", got=kept, calls=[call])
        else:
            raise Unsupported(f"no {verb.value} was accepted before its deadline")
        await arrives(machine, verb)


@behaviour("WIR-3e", machines=1, transitions=2)
async def test_others_that_hang_up_disturb_nothing(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(trial.client.another()) for _ in range(6)]
            await asyncio.gather(*(client.channel.channel_ready() for client in clients))
            call = await ask(machine, verb, trial.client)
            if not call.ok:
                raise Unprepared(f"{verb.value} of {machine.id} answered {call.outcome()}")
            again = await ask(machine, verb, trial.client)
            # The same again, and a reading, from connections that do not wait for the answer.
            pending = [asyncio.ensure_future(ask(machine, verb, client)) for client in clients]
            reading = [asyncio.ensure_future(client.list(cap=9)) for client in clients]
            await machine.read()
            await asyncio.gather(*(client.disconnect() for client in clients))
            await asyncio.gather(*pending, *reading)
        await arrives(machine, verb)
        late = await ask(machine, verb, trial.client)
        if late.ok and again.operation_id == call.operation_id:  # where not, that is OPS-2's matter
            await expect.same_operation(call, late)
