"""COD: requests that no shard should send: who refuses them, with what, and who is still there afterwards (§4).

All of it is asked of machines at rest, where it has no effect in a provider that keeps the contract.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb
from grpc import StatusCode
from hypothesis import strategies as st

from conformance.core.errors import Unsupported
from conformance.core.fencing import Shard
from conformance.core.lifecycle import State, Verb
from conformance.rpc.client import SERVICE
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.trial import PAGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.testkit.trial import Trial

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
HUGE = "h" * 100_000

REQUESTS = {
    "Create": pb.CreateRequest,
    "Configure": pb.ConfigureRequest,
    "Drain": pb.DrainRequest,
    "Delete": pb.DeleteRequest,
    "Get": pb.MachineRef,
    "List": pb.ListFilter,
}


# FAILED_PRECONDITION is the fence's.


@behaviour("COD-3a", machines=1, start=State.IDLE, transitions=2)
async def test_no_state_refuses_a_fresh_token_as_the_fence_would(trial: Trial) -> None:
    machine = trial.machine

    async def ask(*verbs: Verb) -> None:
        for verb in verbs:
            await expect.accepted(machine.call(verb, machine.shard.next_in_new_epoch()))

    await ask(Verb.CREATE, Verb.DRAIN)
    await expect.accepted(machine.configure(machine.shard.next_in_new_epoch(), cluster=""))
    for verb, there in ((Verb.CONFIGURE, State.CONFIGURED), (Verb.DRAIN, State.IDLE)):
        await ask(verb)
        await ask(Verb.CREATE, verb)
        if there is State.CONFIGURED:
            await ask(Verb.DELETE)
        await trial.bring(machine, there)
        await ask(verb, Verb.CREATE)
        if there is State.CONFIGURED:
            await ask(Verb.DELETE)
            await expect.accepted(machine.configure(machine.shard.next_in_new_epoch(), cluster=trial.unique("other")))


@behaviour("COD-3d", machines=1, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_no_slot_and_no_newcomer_refuses_a_fresh_token_as_the_fence_would(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        await expect.accepted(machine.call(verb, machine.shard.next_in_new_epoch()))
    await trial.begin(machine, Verb.CREATE)
    # Neither of the first two has an edge, should the machine be there already; a Configure binds it then.
    for verb in (Verb.CREATE, Verb.DRAIN, Verb.CONFIGURE):
        await expect.accepted(machine.call(verb, machine.shard.next_in_new_epoch()))
    await machine.settle()
    await expect.accepted(machine.drain(machine.shard.next_in_new_epoch()))


TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
ODD = st.tuples(
    st.sampled_from(Verb),
    TEXT,
    st.integers(INT64_MIN, INT64_MAX),
    st.dictionaries(TEXT, TEXT, max_size=4),
    st.binary(max_size=40),
    st.lists(st.integers(INT32_MIN, INT32_MAX), max_size=4),
)


@behaviour("COD-3b", machines=1, start=State.CONFIGURED)
async def test_whatever_is_asked_only_the_fence_says_failed_precondition(trial: Trial) -> None:
    machine = trial.machine

    async def judge(case: tuple[Verb, str, int, dict[str, str], bytes, list[int]]) -> None:
        verb, name, number, metadata, blob, states = case
        stranger, fresh = trial.stranger(trial.unique("odd-") + name), trial.new_shard
        # All at once, for the sake of time; so each from a shard of its own.
        bound, *edgeless, nobody, read, listed = await asyncio.gather(
            machine.configure(fresh().next(), cluster=name, metadata=metadata, blob=blob),
            machine.create(fresh().next()),
            machine.delete(fresh().next()),
            stranger.drain(grace=number) if verb is Verb.DRAIN else stranger.call(verb),
            trial.client.get(stranger.id),
            trial.client.list(states, cap=1 + number % (PAGE if trial.found.large else INT32_MAX), since=blob),
        )
        for call in (bound, read, listed):
            await expect.accepted(call)
        for call in (*edgeless, nobody):
            await expect.refused(call)

    await trial.explore(ODD, judge)


@behaviour("COD-3c")
async def test_no_read_is_answered_failed_precondition(trial: Trial) -> None:
    for name in ("", trial.unique("no-such-machine-"), "\0", "../..", "x" * 4096):
        await expect.accepted(trial.client.get(name))
    for cap in (-1, INT32_MIN, INT32_MAX):
        await expect.accepted(trial.client.list([State.FAILED], cap=cap))
    for cursor in (b"\0", b"conformance", b"\xff" * 64, b"99999999999999999999"):
        await expect.accepted(trial.client.list([State.FAILED], since=cursor))
    for number in (State.UNSPECIFIED, 99, -1):
        await expect.accepted(trial.client.list([number]))


# What is wrong with the request by itself.


def without_id(trial: Trial) -> list[Callable[[], Awaitable[Call]]]:
    """The calls that may not come without a machine id; Delete among them where it is there at all."""
    nobody = trial.stranger("")
    verbs = [verb for verb in Verb if verb is not Verb.DELETE or trial.found.delete]
    return [nobody.get, *(lambda verb=verb: nobody.call(verb, nobody.shard.next_in_new_epoch()) for verb in verbs)]


@behaviour("COD-4a")
async def test_an_empty_machine_id_is_an_invalid_argument(trial: Trial) -> None:
    for ask in without_id(trial):
        await expect.code(ask(), StatusCode.INVALID_ARGUMENT)


@behaviour("COD-4b")
async def test_an_empty_machine_id_has_no_effect(trial: Trial) -> None:
    for ask in without_id(trial):
        await expect.refused(ask())
    nameless = sum(not machine.id for machine in await trial.changed())
    expect.fact(not nameless, wanted="List to show no machine without an id", got=f"{nameless} of them")


@behaviour("COD-4c", machines=1, start=State.IDLE, transitions=1)
async def test_an_empty_cluster_id_is_an_invalid_argument(trial: Trial) -> None:
    machine = trial.machine
    await expect.code(machine.configure(cluster=""), StatusCode.INVALID_ARGUMENT)
    await trial.bind(machine, cluster=machine.cluster)  # control: only the cluster was missing


@behaviour("COD-4d", machines=1, start=State.IDLE, transitions=1)
async def test_an_empty_cluster_id_has_no_effect(trial: Trial) -> None:
    machine = trial.machine
    before = await machine.read()
    await expect.refused(machine.configure(cluster="", metadata={"owner": "nobody"}))
    await expect.unchanged(machine, before, by="a Configure without a cluster_id", seconds=trial.window)


NEGATIVE_GRACE = (-1, INT32_MIN, INT64_MIN)


@behaviour("COD-4e", machines=1, start=State.CONFIGURED, transitions=1)
async def test_a_negative_grace_period_is_an_invalid_argument(trial: Trial) -> None:
    for grace in NEGATIVE_GRACE:
        await expect.code(trial.machine.drain(grace=grace), StatusCode.INVALID_ARGUMENT)
    await trial.drive(trial.machine, Verb.DRAIN, trial.machine.drain(grace=0))  # control: only the sign differs


@behaviour("COD-4f", machines=1, start=State.CONFIGURED, transitions=1)
async def test_a_refused_negative_grace_period_has_no_effect(trial: Trial) -> None:
    machine = trial.machine
    before, bound = await machine.read(), await machine.configure()
    known = (await machine.configure()).operation_id == bound.operation_id  # where not, that is OPS-2's matter
    for grace in NEGATIVE_GRACE:
        call = await expect.accepted(machine.drain(grace=grace))
        if call.ok:
            raise Unsupported("a negative grace period is taken for none, of which COD-4e warns")
    await expect.unchanged(machine, before, by="Drains with a negative grace period", seconds=trial.window)
    if bound.ok and known:
        await expect.same_operation(bound, machine.configure())


NEGATIVE_NUMBERS = ((-1, 1), (1, -1), (-1, -1), (INT64_MIN, INT64_MAX), (0, INT64_MIN))


@behaviour("COD-4g", machines=1, start=State.CONFIGURED)
async def test_a_first_token_with_a_negative_number_is_an_invalid_argument(trial: Trial) -> None:
    machine = trial.machine
    for epoch, sequence in NEGATIVE_NUMBERS:
        token = trial.new_shard().token(epoch=epoch, sequence=sequence)
        await expect.code(machine.configure(token), StatusCode.INVALID_ARGUMENT)
    await expect.acked(machine.configure(trial.new_shard().token(epoch=1, sequence=1)))  # control
    for epoch, sequence in NEGATIVE_NUMBERS[:2]:
        token = trial.new_shard().token(epoch=epoch, sequence=sequence)
        await expect.code(machine.drain(token), StatusCode.INVALID_ARGUMENT)


@behaviour("COD-4h", machines=1, start=State.CONFIGURED)
async def test_a_first_token_with_a_negative_number_is_never_fenced(trial: Trial) -> None:
    machine, stranger = trial.machine, trial.stranger()
    before = await machine.read()
    for epoch, sequence in NEGATIVE_NUMBERS:
        for verb in (Verb.CREATE, Verb.CONFIGURE, Verb.DELETE):
            await expect.accepted(machine.call(verb, trial.new_shard().token(epoch=epoch, sequence=sequence)))
        await expect.accepted(stranger.drain(trial.new_shard().token(epoch=epoch, sequence=sequence)))
    await expect.unchanged(machine, before, by="tokens with negative numbers")


# The server is still there. These run alone: a server that goes down takes every other verdict with it.


async def next_calls(machine: Machine, client: Client) -> list[Call]:
    """What comes after the odd request: two reads, and a Configure that is a retry."""
    reads = client.get(machine.id), client.list([State.FAILED])
    return list(await asyncio.gather(*reads, machine.configure(client=client)))


async def still_answers(trial: Trial, machine: Machine, *, after: str) -> None:
    """Reads and mutating calls are answered: over the same connection or, where that is gone, over a new one."""
    calls = await next_calls(machine, trial.client)
    if not all(call.answered for call in calls):
        with suppress(TimeoutError):
            async with asyncio.timeout(trial.client.rpc_timeout), trial.connections(1) as [client]:
                calls = await next_calls(machine, client)
    failed = [call for call in calls if not call.ok]
    expect.fact(
        not failed,
        wanted=f"the next calls to be answered after {after}",
        got="; ".join(f"{call.rpc}: {call.outcome()}" for call in failed),
        calls=calls,
    )


async def send(trial: Trial, rpc: str, payload: bytes) -> None:
    """Send bytes as a request; whatever comes back is right. A List of a large fleet gets a cap before them."""
    if payload and rpc == "List" and trial.found.large:
        payload = pb.ListFilter(max_results=PAGE).SerializeToString() + payload
    method: Any = trial.client.channel.unary_unary(SERVICE + rpc)
    with suppress(grpc.aio.AioRpcError):
        await method(payload, timeout=trial.client.rpc_timeout, metadata=trial.client.target.headers or None)


@behaviour("COD-5a", machines=1, start=State.CONFIGURED, alone=True)
async def test_empty_requests_and_bytes_that_are_none_do_no_harm(trial: Trial) -> None:
    for rpc in REQUESTS:
        payloads = (b"", b"\xff" * 16, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"\x0b" * 2000)
        await asyncio.gather(*(send(trial, rpc, payload) for payload in payloads))
        await still_answers(trial, trial.machine, after=f"a {rpc} of no bytes and of bytes that are no request")


@behaviour("COD-5b", machines=1, start=State.CONFIGURED, alone=True)
async def test_odd_numbers_in_a_list_do_no_harm(trial: Trial) -> None:
    client = trial.client
    for numbers in ([*range(9)], [-1], [9, 99], [INT32_MAX, INT32_MIN], [State.IDLE] * 1000):
        await client.list(numbers, cap=1)
        await still_answers(trial, trial.machine, after=f"a List of states {numbers[:9]}")
    for cap in (-1, INT32_MIN, INT32_MAX):
        await client.list([State.FAILED], cap=cap)
        await still_answers(trial, trial.machine, after=f"a List with a cap of {cap}")
    for cursor in (b"\0" * 8, b"\xff" * 8, b"-1", "é".encode(), b"c" * 100_000):
        await client.list([State.FAILED], since=cursor)
        await still_answers(trial, trial.machine, after=f"a List since a cursor of {len(cursor)} bytes")


@behaviour("COD-5c", machines=1, start=State.CONFIGURED, alone=True)
async def test_huge_texts_do_no_harm(trial: Trial) -> None:
    machine, client, shard = trial.machine, trial.client, trial.new_shard()
    await client.get(HUGE)
    await still_answers(trial, machine, after="a Get of a huge id")
    for verb, request in REQUESTS.items():
        if verb in list(Verb):
            await client.call(verb, request(machine_id=HUGE, shard_id=shard.id, shard_epoch=1))
            shard = trial.new_shard()
            await still_answers(trial, machine, after=f"a {verb} of a huge id")
    await machine.create(Shard(shard.id + HUGE).next())
    await still_answers(trial, machine, after="a huge shard id")
    await machine.configure(cluster=machine.cluster + HUGE)
    await still_answers(trial, machine, after="a huge cluster_id")
    await machine.configure(metadata={HUGE: HUGE}, blob=HUGE.encode())
    await still_answers(trial, machine, after="huge metadata")


# A tag of two bytes is a field from 16 on, which no request has; 0 is a number as its value.
UNKNOWN = st.lists(st.tuples(st.integers(16, 2047), st.integers(0, 127)), min_size=1, max_size=6)
FIELDS = UNKNOWN.map(lambda pairs: b"".join(bytes((n << 3 & 0x7F | 0x80, n >> 4, value)) for n, value in pairs))
PAYLOADS = st.binary(max_size=64) | FIELDS


@behaviour("COD-5d", machines=1, start=State.CONFIGURED, alone=True)
async def test_no_bytes_bring_the_server_down(trial: Trial) -> None:
    machine = trial.machine

    async def judge(payload: bytes) -> None:
        await asyncio.gather(*(send(trial, rpc, payload) for rpc in REQUESTS))
        await still_answers(trial, machine, after=f"requests of {payload!r}")

    await trial.explore(PAYLOADS, judge)
