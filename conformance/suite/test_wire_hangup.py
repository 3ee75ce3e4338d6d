"""WIR: an accepted call takes effect even if its client disconnects (contract §1).

A Get over another connection shows that the call was accepted. Then the client cancels, disconnects or times out, and
the transition must end as if the client had stayed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grpc import StatusCode

from conformance.core.errors import Unprepared, Unsupported
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.fleet.machine import FIRST_POLL, POLL_SHARE
from conformance.rpc.proxy import proxy
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from conformance.core.fencing import Token
    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.testkit.trial import Trial

METADATA = {"who": "the client that went", "empty": ""}
SHORT_DEADLINE_S = 0.2
MAX_POLLS = 1000
"""The number of times that the kit looks whether a call was sent; after that, it was disturbed itself."""


def send(
    machine: Machine, verb: Verb, client: Client, *, token: Token | None = None, timeout: float | None = None
) -> Coroutine[Any, Any, Call]:
    """Sends the verb's call; Configure has metadata, to check that it is not lost."""
    if verb is Verb.CONFIGURE:
        return machine.configure(token, metadata=METADATA, client=client, timeout=timeout)
    return machine.call(verb, token, client=client, timeout=timeout)


async def wait_until_accepted(trial: Trial, machine: Machine, verb: Verb, pending: asyncio.Task[Call]) -> None:
    """Returns when a Get shows that the machine has left the source state, so that the call was accepted."""
    clock, source = trial.client.now, EDGES[verb].source
    started, given_up = clock(), machine.record.calls.given_up
    while state_of((await machine.read()).state) is source:
        waited = clock() - started
        if pending.done() and not pending.result().ok:
            raise Unprepared(f"{verb.value} of {machine.id} answered {pending.result().outcome()}")
        if waited > trial.patience.for_verb(verb) or machine.record.calls.given_up > given_up:
            raise Unprepared(f"{machine.id} is still {source.name} after {verb.value}")
        await asyncio.sleep(max(FIRST_POLL, POLL_SHARE * waited))


async def check_settles(machine: Machine, verb: Verb) -> None:
    """Checks that the machine shows its binding on the way, and settles, as if the client had stayed."""
    await check_on_the_way(machine, verb)
    watch = await expect.settles(machine, verb)
    if verb is Verb.CONFIGURE:
        cluster = watch.machine.cluster
        expect.fact(
            cluster == machine.cluster,
            wanted=f"Get of {machine.id} to show cluster {machine.cluster}",
            got=repr(cluster),
        )
        expect.echoes(watch.machine, METADATA, where=f"Get of {machine.id}")
    elif verb is Verb.DRAIN:
        expect.fact(
            not watch.machine.cluster, wanted="Get not to show a cluster at IDLE", got=repr(watch.machine.cluster)
        )


async def check_on_the_way(machine: Machine, verb: Verb) -> None:
    """Checks that Configure and Drain show the binding in each reading until the transition ends, or patience does."""
    loop, limit = asyncio.get_running_loop(), machine.patience.for_verb(verb)
    started = loop.time()
    while verb in (Verb.CONFIGURE, Verb.DRAIN) and (waited := loop.time() - started) < limit:
        shown = await machine.read()
        if state_of(shown.state) is not EDGES[verb].via:
            return
        hidden = verb is Verb.CONFIGURE and not shown.cluster  # allowed while CONFIGURING
        expect.fact(
            hidden or shown.cluster == machine.cluster,
            wanted=f"Get of {machine.id}, {EDGES[verb].via.name}, to show cluster {machine.cluster}",
            got=repr(shown.cluster),
        )
        expect.echoes(shown, METADATA, where=f"Get of {machine.id}, {EDGES[verb].via.name},")
        await asyncio.sleep(max(FIRST_POLL, POLL_SHARE * waited))


async def disconnect_client(trial: Trial, machine: Machine, verb: Verb, *, token: Token | None = None) -> None:
    """Sends the call, and lets its client cancel it and close the connection once it is accepted."""
    async with trial.client.another() as client:
        await client.wait_until_connected()
        pending = asyncio.ensure_future(send(machine, verb, client, token=token))
        await wait_until_accepted(trial, machine, verb, pending)
        await client.disconnect()
        await pending
    if token is None:
        await check_settles(machine, verb)


async def reset_connection(trial: Trial, machine: Machine, verb: Verb, *, repeated: bool = False) -> None:
    """Sends the call over a proxy that holds the answer back, and resets the connection once the call is accepted.

    With `repeated`, other clients repeat the call before: one holds the operation id, one goes, one has a deadline.
    """
    held: Call | None = None
    async with proxy(trial.client.target) as relay, trial.client.another(target=relay.target) as client:
        await client.wait_until_connected()
        relay.pause_responses()
        pending = asyncio.ensure_future(send(machine, verb, client))
        others: asyncio.Task[Call] | None = None
        try:
            await wait_until_accepted(trial, machine, verb, pending)
            if repeated:
                others = asyncio.ensure_future(repeat_and_leave(trial, machine, verb))
                await machine.read()
                await machine.read()
        finally:
            relay.cut()
            await pending
            if others is not None:
                held = await others
    await check_settles(machine, verb)
    if held is None or not held.ok:
        return
    late, again = await machine.call(verb), await machine.call(verb)
    if late.ok and again.operation_id == late.operation_id:  # if not, OPS-2 judges it
        await expect.same_operation(held, late)


async def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for the condition for a while: a call is sent once the ledger is written."""
    for _ in range(MAX_POLLS):
        if condition():
            return
        await asyncio.sleep(FIRST_POLL)


async def repeat_and_leave(trial: Trial, machine: Machine, verb: Verb) -> Call:
    """Repeats the call by three clients, and returns the answer to the one that stays.

    One of the others closes its connection, and one has a deadline that is far shorter than most transitions.
    """
    async with trial.connections(1) as [client]:
        sent = machine.record.calls.sent
        staying = asyncio.ensure_future(machine.call(verb))
        await wait_until(lambda: machine.record.calls.sent > sent or staying.done())
        await machine.read()  # the provider has got the call that stays before the others, whose tokens are newer
        short = asyncio.ensure_future(machine.call(verb, timeout=SHORT_DEADLINE_S))
        leaving = asyncio.ensure_future(machine.call(verb, client=client))
        await wait_until(lambda: client.count > 0 or leaving.done())
        await machine.read()
        await client.disconnect()
        held, *_ = await asyncio.gather(staying, short, leaving)
    return held


@behaviour("WIR-3a", machines=1, transitions=2)
async def test_a_client_that_hangs_up_disturbs_nothing(trial: Trial) -> None:
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        await disconnect_client(trial, trial.machine, verb)


@behaviour("FEN-6e", machines=1, transitions=2)
async def test_a_call_whose_client_hangs_up_moves_the_mark(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        shard = trial.new_shard()
        await disconnect_client(trial, machine, verb, token=shard.token(epoch=5, sequence=5))
        await trial.bring(machine, EDGES[verb].target)
        await expect.fenced(machine.call(verb, shard.token(epoch=5, sequence=5)))
        await expect.accepted(machine.call(verb, shard.token(epoch=5, sequence=6)))  # control: newer token


@behaviour("WIR-3b", machines=1, transitions=2)
async def test_a_connection_that_breaks_disturbs_nothing(trial: Trial) -> None:
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        await reset_connection(trial, trial.machine, verb)


@behaviour("WIR-3c", machines=1, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_a_broken_connection_does_not_disturb_create(trial: Trial) -> None:
    machine = trial.machine
    await reset_connection(trial, machine, Verb.CREATE, repeated=True)
    again = await machine.create()  # like a shard that did not get the answer
    if not again.ok:
        raise Unprepared(f"the repeated Create of {machine.id} answered {again.outcome()}")


@behaviour("WIR-3f", machines=1, start=State.IDLE, transitions=1, deletes=True)
async def test_a_broken_connection_does_not_disturb_delete(trial: Trial) -> None:
    await reset_connection(trial, trial.machine, Verb.DELETE, repeated=True)


@behaviour("WIR-3d", machines=1, transitions=2)
async def test_a_deadline_that_passes_disturbs_nothing(trial: Trial) -> None:
    machine = trial.machine
    get = await machine.get()
    deadline = max(0.1, 4 * (get.ended - get.started))
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        for timeout in (deadline, 4 * deadline, 16 * deadline):
            call = await send(machine, verb, trial.client, timeout=timeout)
            if call.answered_ok:
                break
            # A provider may answer DEADLINE_EXCEEDED itself.
            if call.answered and call.status is not StatusCode.DEADLINE_EXCEEDED:
                raise Unprepared(f"{verb.value} of {machine.id} answered {call.outcome()}")
            watch = await machine.settle(patience=trial.patience.for_verb(verb))
            if watch.state is not EDGES[verb].source:
                break
            left = dict(watch.machine.shard_metadata), watch.machine.cluster
            unchanged = left == ({}, "") if verb is Verb.CONFIGURE else left == (METADATA, machine.cluster)
            expect.fact(
                unchanged,
                wanted=f"no trace of a {verb.value} that did not change the state",
                got=left,
                calls=[call],
            )
        else:
            raise Unsupported(f"{verb.value} was not accepted within any of three deadlines")
        await check_settles(machine, verb)


@behaviour("WIR-3e", machines=1, transitions=2)
async def test_others_that_hang_up_disturb_nothing(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        async with trial.connections(6) as clients:
            call = await send(machine, verb, trial.client)
            if not call.ok:
                raise Unprepared(f"{verb.value} of {machine.id} answered {call.outcome()}")
            again = await send(machine, verb, trial.client)
            # The same call again, and a List or a Get, over connections that are closed before the answer.
            calls, sent = [asyncio.ensure_future(send(machine, verb, client)) for client in clients], trial.client.now()
            reads = [asyncio.ensure_future(client.list(cap=9)) for client in clients[::2]]
            await machine.read()
            seconds = trial.client.now() - sent
            reads += [asyncio.ensure_future(client.get(machine.id)) for client in clients[1::2]]
            await asyncio.sleep(seconds / 2)
            await asyncio.gather(*(client.disconnect() for client in clients))
            await asyncio.gather(*calls, *reads)
        await check_settles(machine, verb)
        late = await send(machine, verb, trial.client)
        if late.ok and again.operation_id == call.operation_id:  # if not, OPS-2 judges it
            await expect.same_operation(call, late)
