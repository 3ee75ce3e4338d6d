"""COD: invalid and odd requests: the codes with which they are refused, and that the server survives them (§4).

They are sent to machines at rest, where they have no effect if the provider keeps the contract.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb
from grpc import StatusCode
from hypothesis import strategies as st

from conformance.core.errors import NotObserved, Unsupported
from conformance.core.fencing import Shard
from conformance.core.lifecycle import State, Verb
from conformance.rpc.call import answers_of
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
MAX_CONNECTIONS = 3
"""Maximum number of new connections that are tried after a call that was not answered."""
HUGE_TEXT = "h" * 100_000
CANCELLED_ROUNDS, CANCELLED_CALLS = 10, 20
"""Rounds of Gets that are cancelled, each after one more answer, and the Gets of one round."""

REQUESTS = {
    "Create": pb.CreateRequest,
    "Configure": pb.ConfigureRequest,
    "Drain": pb.DrainRequest,
    "Delete": pb.DeleteRequest,
    "Get": pb.MachineRef,
    "List": pb.ListFilter,
}


# Only the fence answers FAILED_PRECONDITION.


@behaviour("COD-3a", machines=1, start=State.IDLE, transitions=2)
async def test_no_state_refuses_a_fresh_token_as_the_fence_would(trial: Trial) -> None:
    machine = trial.machine

    async def check_accepted(*verbs: Verb) -> None:
        for verb in verbs:
            await expect.accepted(machine.call(verb, machine.shard.next_in_new_epoch()))

    await check_accepted(Verb.CREATE, Verb.DRAIN)
    await expect.accepted(machine.configure(machine.shard.next_in_new_epoch(), cluster=""))
    for verb, target in ((Verb.CONFIGURE, State.CONFIGURED), (Verb.DRAIN, State.IDLE)):
        await check_accepted(verb)
        await check_accepted(Verb.CREATE, verb)
        if target is State.CONFIGURED:
            await check_accepted(Verb.DELETE)
        await trial.bring(machine, target)
        await check_accepted(verb, Verb.CREATE)
        if target is State.CONFIGURED:
            await check_accepted(Verb.DELETE)
            await expect.accepted(machine.configure(machine.shard.next_in_new_epoch(), cluster=trial.unique("other")))


@behaviour("COD-3d", machines=1, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_no_slot_and_no_newcomer_refuses_a_fresh_token_as_the_fence_would(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        await expect.accepted(machine.call(verb, machine.shard.next_in_new_epoch()))
    await trial.begin(machine, Verb.CREATE)
    # If the machine is IDLE already, the first two have no edge, and Configure binds it.
    for verb in (Verb.CREATE, Verb.DRAIN, Verb.CONFIGURE):
        await expect.accepted(machine.call(verb, machine.shard.next_in_new_epoch()))
    await machine.settle()
    await expect.accepted(machine.drain(machine.shard.next_in_new_epoch()))


TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
ODD_CALLS = st.tuples(
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
        unknown, new_shard = trial.stranger(trial.unique("odd-") + name), trial.new_shard
        # Sent concurrently to save time, so each call comes from its own shard.
        configured, *without_edge, for_unknown, read, listed = await asyncio.gather(
            machine.configure(new_shard().next(), cluster=name, metadata=metadata, blob=blob),
            machine.create(new_shard().next()),
            machine.delete(new_shard().next()),
            unknown.drain(grace=number) if verb is Verb.DRAIN else unknown.call(verb),
            trial.client.get(unknown.id),
            trial.client.list(states, cap=1 + number % (PAGE if trial.found.large else INT32_MAX), since=blob),
        )
        for call in (configured, read, listed):
            await expect.accepted(call)
        for call in (*without_edge, for_unknown):
            await expect.refused(call)

    await trial.explore(ODD_CALLS, judge)


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


# Requests that are invalid in any state.


def calls_without_id(trial: Trial) -> list[Callable[[], Awaitable[Call]]]:
    """Returns calls with an empty machine id, one for each RPC that needs one; Delete only if it is supported."""
    nameless = trial.stranger("")
    verbs = [verb for verb in Verb if verb is not Verb.DELETE or trial.found.delete]
    return [
        nameless.get,
        *(lambda verb=verb: nameless.call(verb, nameless.shard.next_in_new_epoch()) for verb in verbs),
    ]


@behaviour("COD-4a")
async def test_an_empty_machine_id_is_an_invalid_argument(trial: Trial) -> None:
    for call in calls_without_id(trial):
        await expect.code(call(), StatusCode.INVALID_ARGUMENT)


@behaviour("COD-4b")
async def test_an_empty_machine_id_has_no_effect(trial: Trial) -> None:
    for call in calls_without_id(trial):
        await expect.refused(call())
    nameless = sum(not machine.id for machine in await trial.changed())
    expect.fact(not nameless, wanted="List not to show a machine with an empty id", got=f"{nameless} such machines")


@behaviour("COD-4c", machines=1, start=State.IDLE, transitions=1)
async def test_an_empty_cluster_id_is_an_invalid_argument(trial: Trial) -> None:
    machine = trial.machine
    await expect.code(machine.configure(cluster=""), StatusCode.INVALID_ARGUMENT)
    await trial.bind(machine, cluster=machine.cluster)  # control: only the cluster differs


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
    await trial.drive(trial.machine, Verb.DRAIN, trial.machine.drain(grace=1))  # control: only the sign differs


@behaviour("COD-4f", machines=1, start=State.CONFIGURED, transitions=1)
async def test_a_refused_negative_grace_period_has_no_effect(trial: Trial) -> None:
    machine = trial.machine
    before, configured = await machine.read(), await machine.configure()
    repeatable = (await machine.configure()).operation_id == configured.operation_id  # if not, OPS-2 judges it
    for grace in NEGATIVE_GRACE:
        call = await expect.accepted(machine.drain(grace=grace))
        if call.ok:
            raise Unsupported("the provider accepts a negative grace period: COD-4e warns about that")
    await expect.unchanged(machine, before, by="Drains with a negative grace period", seconds=trial.window)
    if configured.ok and repeatable:
        await expect.same_operation(configured, machine.configure())


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
    machine, unknown = trial.machine, trial.stranger()
    before = await machine.read()
    for epoch, sequence in NEGATIVE_NUMBERS:
        for verb in (Verb.CREATE, Verb.CONFIGURE, Verb.DELETE):
            await expect.accepted(machine.call(verb, trial.new_shard().token(epoch=epoch, sequence=sequence)))
        await expect.accepted(unknown.drain(trial.new_shard().token(epoch=epoch, sequence=sequence)))
    await expect.unchanged(machine, before, by="tokens with negative numbers")


# The server still answers. These run alone: if the server stops, no other behaviour can be judged.


async def send_next_calls(machine: Machine, client: Client) -> list[Call]:
    """Sends the calls that follow the odd request: two reads, and a Configure that is a retry."""
    reads = client.get(machine.id), client.list([State.FAILED])
    return list(await asyncio.gather(*reads, machine.configure(client=client)))


async def check_still_answers(trial: Trial, machine: Machine, *, after: str) -> None:
    """Checks that reads and mutating calls are answered, over the same connection or else over a new one."""
    calls = await send_next_calls(machine, trial.client)
    for number in range(MAX_CONNECTIONS):
        if len(answers_of(calls)) == len(calls) or (number and not any(call.cut_off for call in calls)):
            break
        # One connection may have been cut. A provider that answers over none of several new ones does not run any more.
        try:
            async with asyncio.timeout(trial.client.rpc_timeout), trial.connections(1) as [client]:
                calls = await send_next_calls(machine, client)
        except (TimeoutError, NotObserved):
            # The number of connections may be limited. gRPC has reconnected the first one, if the provider still runs.
            calls = await send_next_calls(machine, trial.client)
    answers_of(calls)
    failed = [call for call in calls if not call.answered_ok]
    expect.fact(
        not failed,
        wanted=f"the next calls to be answered OK after {after}",
        got="; ".join(f"{call.rpc}: {call.outcome()}" for call in failed),
        calls=calls,
    )


async def send_bytes(trial: Trial, rpc: str, payload: bytes) -> None:
    """Sends bytes as a request. Any answer is allowed. For a List of a large fleet, a cap is put before the bytes."""
    if payload and rpc == "List" and trial.found.large:
        payload = pb.ListFilter(max_results=PAGE).SerializeToString() + payload
    method: Any = trial.client.channel.unary_unary(SERVICE + rpc)
    with suppress(grpc.aio.AioRpcError):
        await method(payload, timeout=trial.client.rpc_timeout, metadata=trial.client.target.headers or None)


@behaviour("COD-5a", machines=1, start=State.CONFIGURED, alone=True)
async def test_empty_requests_and_bytes_that_are_none_do_no_harm(trial: Trial) -> None:
    for rpc in REQUESTS:
        payloads = (b"", b"\xff" * 16, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"\x0b" * 2000)
        await asyncio.gather(*(send_bytes(trial, rpc, payload) for payload in payloads))
        await check_still_answers(trial, trial.machine, after=f"{rpc} with an empty and with undecodable payloads")


@behaviour("COD-5b", machines=1, start=State.CONFIGURED, alone=True)
async def test_odd_numbers_in_a_list_do_no_harm(trial: Trial) -> None:
    client = trial.client
    for numbers in ([*range(9)], [-1], [9, 99], [INT32_MAX, INT32_MIN], [State.IDLE] * 1000):
        await client.list(numbers, cap=1)
        await check_still_answers(trial, trial.machine, after=f"a List with states {numbers[:9]}")
    for cap in (-1, INT32_MIN, INT32_MAX):
        await client.list([State.FAILED], cap=cap)
        await check_still_answers(trial, trial.machine, after=f"a List with max_results {cap}")
    for cursor in (b"\0" * 8, b"\xff" * 8, b"-1", "é".encode(), b"c" * 100_000):
        await client.list([State.FAILED], since=cursor)
        await check_still_answers(trial, trial.machine, after=f"a List with a cursor of {len(cursor)} bytes")


@behaviour("COD-5c", machines=1, start=State.CONFIGURED, alone=True)
async def test_huge_texts_do_no_harm(trial: Trial) -> None:
    machine, client, shard = trial.machine, trial.client, trial.new_shard()
    await client.get(HUGE_TEXT)
    await check_still_answers(trial, machine, after="a Get with a huge id")
    for verb, request in REQUESTS.items():
        if verb in list(Verb):
            await client.call(verb, request(machine_id=HUGE_TEXT, shard_id=shard.id, shard_epoch=1))
            shard = trial.new_shard()
            await check_still_answers(trial, machine, after=f"a {verb} with a huge id")
    await machine.create(Shard(shard.id + HUGE_TEXT).next())
    await check_still_answers(trial, machine, after="a Create with a huge shard id")
    await machine.configure(cluster=machine.cluster + HUGE_TEXT)
    await check_still_answers(trial, machine, after="a Configure with a huge cluster_id")
    await machine.configure(metadata={HUGE_TEXT: HUGE_TEXT}, blob=HUGE_TEXT.encode())
    await check_still_answers(trial, machine, after="a Configure with huge metadata and a huge blob")


# A tag of two bytes is a field number of 16 or more, which no request has; wire type 0 is a varint.
UNKNOWN_FIELDS = st.lists(st.tuples(st.integers(16, 2047), st.integers(0, 127)), min_size=1, max_size=6)
ENCODED_FIELDS = UNKNOWN_FIELDS.map(
    lambda pairs: b"".join(bytes((n << 3 & 0x7F | 0x80, n >> 4, value)) for n, value in pairs)
)
PAYLOADS = st.binary(max_size=64) | ENCODED_FIELDS


@behaviour("COD-5d", machines=1, start=State.CONFIGURED, alone=True)
async def test_no_bytes_bring_the_server_down(trial: Trial) -> None:
    machine = trial.machine

    async def judge(payload: bytes) -> None:
        await asyncio.gather(*(send_bytes(trial, rpc, payload) for rpc in REQUESTS))
        await check_still_answers(trial, machine, after=f"requests with the bytes {payload!r}")

    await trial.explore(PAYLOADS, judge)


@behaviour("COD-5e", machines=1, start=State.CONFIGURED, alone=True)
async def test_cancelled_calls_do_no_harm(trial: Trial) -> None:
    async with trial.connections(1) as [client]:
        for answers in range(CANCELLED_ROUNDS):
            if not await cancel_gets(client, trial.machine.id, after=answers):
                break
    await check_still_answers(trial, trial.machine, after=f"{CANCELLED_ROUNDS * CANCELLED_CALLS} cancelled calls")


async def cancel_gets(client: Client, machine_id: str, *, after: int) -> bool:
    """Sends many Gets together, and cancels the others once so many are answered. False if one of these was not."""
    method: Any = client.channel.unary_unary(SERVICE + "Get")
    payload, headers = pb.MachineRef(id=machine_id).SerializeToString(), client.target.headers or None

    async def get() -> bool:
        with suppress(grpc.aio.AioRpcError):
            await method(payload, timeout=client.rpc_timeout, metadata=headers)
            return True
        return False

    tasks = [asyncio.ensure_future(get()) for _ in range(CANCELLED_CALLS)]
    answered = [await first for first in islice(asyncio.as_completed(tasks), after)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return all(answered)
