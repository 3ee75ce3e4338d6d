from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.errors import NoAnswer, Violation
from conformance.core.lifecycle import State, Verb
from conformance.core.timeouts import Patience
from conformance.core.virtual_clock import virtual_clock
from conformance.testkit import expect
from tests.clockwork import SettlingClient, serving_in_process, with_virtual_clock
from tests.runs import fleet_context, machines_of, provider
from tests.values import a_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call

Status = grpc.StatusCode
TOKEN = pb.CreateRequest(machine_id="m", shard_id="s", shard_epoch=1, sequence_number=2)


def create(code: grpc.StatusCode = Status.OK, *, operation: str = "op-1", answered: bool = True) -> Call:
    ack = pb.TransitionAck(operation_id=operation, machine=pb.Machine(id="m", state=pb.MACHINE_STATE_CREATING))
    return a_call("Create", TOKEN, code=code, response=ack if code is Status.OK else None, answered=answered)


def broken(pending: Awaitable[Any]) -> Violation:
    async def go() -> None:
        await pending

    with pytest.raises(Violation) as caught:
        asyncio.run(go())
    return caught.value


@pytest.mark.parametrize(
    ("verb", "good", "bad"),
    [
        (expect.accepted, [Status.OK, Status.ABORTED, Status.UNAVAILABLE], [Status.FAILED_PRECONDITION]),
        (expect.fenced, [Status.FAILED_PRECONDITION], [Status.OK, Status.ABORTED, Status.NOT_FOUND]),
        (expect.acked, [Status.OK], [Status.ABORTED, Status.FAILED_PRECONDITION]),
        (expect.refused, [Status.ABORTED, Status.UNIMPLEMENTED], [Status.OK, Status.FAILED_PRECONDITION]),
    ],
)
def test_a_verb_about_a_call_returns_it_or_raises_with_wanted_and_got(
    verb: Callable[[Call], Awaitable[Call]], good: list[grpc.StatusCode], bad: list[grpc.StatusCode]
) -> None:
    for code in good:
        call = create(code)
        assert asyncio.run(_await(verb(call))) is call
    for code in bad:
        call = create(code)
        violation = broken(verb(call))
        assert violation.wanted.startswith("Create ")
        assert violation.got.startswith(code.name)
        assert violation.calls == (call,)


async def _await(pending: Awaitable[Call]) -> Call:
    return await pending


@pytest.mark.parametrize(
    "verb",
    [
        expect.accepted,
        expect.fenced,
        expect.acked,
        expect.refused,
        lambda call: expect.code(call, Status.UNAVAILABLE),
        lambda call: expect.same_operation(create(), call),
    ],
)
def test_an_unanswered_call_raises_no_answer_and_no_violation(
    verb: Callable[[Call], Awaitable[Any]],
) -> None:
    async def go() -> None:
        await verb(create(Status.UNAVAILABLE, answered=False))

    with pytest.raises(NoAnswer, match="Create was not answered: UNAVAILABLE"):
        asyncio.run(go())


def test_a_verb_accepts_an_awaitable() -> None:
    async def later() -> Call:
        return create()

    assert asyncio.run(expect.acked(later())).operation_id == "op-1"


def test_code_accepts_any_of_its_codes() -> None:
    assert asyncio.run(expect.code(create(Status.ABORTED), Status.NOT_FOUND, Status.ABORTED)).code is Status.ABORTED
    violation = broken(expect.code(create(), Status.NOT_FOUND, Status.UNIMPLEMENTED))
    assert violation.wanted == "Create to answer NOT_FOUND or UNIMPLEMENTED"
    assert violation.got == "OK operation 'op-1', CREATING"
    assert violation.calls == (create(),)


def test_a_fact_holds_or_not() -> None:
    expect.fact([0], wanted="something", got=[])
    call = create()
    with pytest.raises(Violation, match=r"wanted something; got \[\]") as caught:
        expect.fact([], wanted="something", got=[], calls=[call])
    assert caught.value.calls == (call,)


def test_the_same_operation_is_the_same_id_in_every_retry() -> None:
    asyncio.run(expect.same_operation(create(), create(), create()))
    violation = broken(expect.same_operation(create(), create(), create(operation="op-2")))
    assert (violation.wanted, violation.got) == (
        "the retry of Create to have operation id 'op-1'",
        "operation id 'op-2'",
    )
    assert [call.operation_id for call in violation.calls] == ["op-1", "op-2"]


def test_a_retry_that_is_refused_is_not_the_same_operation() -> None:
    assert broken(expect.same_operation(create(), create(Status.ABORTED))).got == "ABORTED"


# Machines.


def test_two_readings_agree_if_only_volatile_fields_differ() -> None:
    one = pb.Machine(id="m", price_per_hour=1.0, interruption_probability=0.1, labels={"a": "b"}, zone="z")
    other = pb.Machine(id="m", price_per_hour=2.0, interruption_probability=0.2, labels={}, zone="z")
    expect.same(one, other, what="Get and List")


def test_different_readings_are_shown_field_by_field() -> None:
    one = pb.Machine(id="m", state=pb.MACHINE_STATE_IDLE, zone="z", cluster="")
    other = pb.Machine(id="m", state=pb.MACHINE_STATE_CONFIGURED, zone="z", cluster="c\n")
    with pytest.raises(Violation) as caught:
        expect.same(one, other, what="Get and List")
    assert caught.value.wanted == "Get and List: the same cluster, state"
    assert caught.value.got == "cluster empty and then c; state IDLE and then CONFIGURED"


def test_a_field_is_shown_in_one_line_and_cut() -> None:
    one = pb.Machine(host=pb.HostRef(provider="p", ref="r"), last_error="x" * 1000)
    with pytest.raises(Violation) as caught:
        expect.same(one, pb.Machine(), what="it")
    host, error = caught.value.got.split("; ")
    assert host == 'host provider: "p" ref: "r" and then empty'
    assert error == f"last_error {'x' * 120}…(1000 characters) and then empty"


def test_metadata_is_echoed_byte_for_byte() -> None:
    sent = {"k": "v", "empty": "", " ": "\x00"}
    expect.echoes(pb.Machine(shard_metadata=sent), sent, where="Get")
    expect.echoes(pb.Machine(), {}, where="Get")


@pytest.mark.parametrize(
    ("shown", "got"),
    [
        ({}, "no key 'k'"),
        ({"k": "v", "x": "y"}, "unknown key 'x'"),
        ({"k": "V"}, "'k' is 'V', not 'v'"),
        ({"k": "v "}, "'k' is 'v ', not 'v'"),
    ],
)
def test_lost_invented_and_changed_metadata_is_shown(shown: dict[str, str], got: str) -> None:
    with pytest.raises(Violation) as caught:
        expect.echoes(pb.Machine(shard_metadata=shown), {"k": "v"}, where="Get")
    assert (caught.value.wanted, caught.value.got) == ("Get to show the 1 key that Configure sent", got)


def test_a_few_of_many_differences_are_shown_and_the_others_counted() -> None:
    def pairs(*firsts: str, value: str = "v") -> dict[str, str]:
        return {f"{first}{number}{'.' * 100}": value * 100 for first in firsts for number in range(5)}

    shown = pairs("changed", value="w") | pairs("invented")
    with pytest.raises(Violation) as caught:
        expect.echoes(pb.Machine(shard_metadata=shown), pairs("changed", "lost"), where="Get")
    parts = caught.value.got.split("; ")
    assert parts[-1].endswith(" and 6 more")

    def key(name: str) -> str:
        return f"'{name:.<40}…({len(name) + 100} characters)'"

    v, w = (f"'{letter * 40}…(100 characters)'" for letter in "vw")
    assert "; ".join(parts).removesuffix(" and 6 more").split("; ") == [
        *(f"no key {key(f'lost{n}')}" for n in range(3)),
        *(f"unknown key {key(f'invented{n}')}" for n in range(3)),
        *(f"{key(f'changed{n}')} is {w}, not {v}" for n in range(3)),
    ]


def test_a_few_differences_are_all_shown() -> None:
    with pytest.raises(Violation) as caught:
        expect.echoes(pb.Machine(), {"a": "", "b": "", "c": ""}, where="Get")
    assert caught.value.got == "no key 'a'; no key 'b'; no key 'c'"


def on_a_machine(facts: Callable[[Machine], Awaitable[Any]], **options: Any) -> None:
    """Runs `facts` on a virtual clock: however busy this computer is, each transition is seen while it runs."""
    core = provider(1, **options)

    async def go() -> None:
        async with serving_in_process(core) as target, fleet_context(target) as context:
            await facts(machines_of(context, core)[0])

    virtual_clock(go())


def test_a_machine_settles_at_the_target_of_the_verbs_edge() -> None:
    async def facts(machine: Machine) -> None:
        await machine.create()
        watch = await expect.settles(machine, Verb.CREATE)
        assert watch.states[-1] is State.IDLE

    on_a_machine(facts, latency=0.02)


def test_a_machine_that_settles_elsewhere_is_a_violation_with_its_path() -> None:
    async def facts(machine: Machine) -> None:
        await machine.create()
        with pytest.raises(Violation, match="to settle at CONFIGURED after Configure; got settled at IDLE") as caught:
            await expect.settles(machine, Verb.CONFIGURE)
        assert caught.value.got.endswith("(seen: CREATING -> IDLE)")

    on_a_machine(facts, latency=0.02)


def test_a_machine_rests_and_stays_where_it_is() -> None:
    async def facts(machine: Machine) -> None:
        await expect.rests(machine, State.SPECULATIVE)
        await expect.stays([machine], State.SPECULATIVE, seconds=0.01)
        with pytest.raises(Violation, match="to be IDLE; got SPECULATIVE"):
            await expect.rests(machine, State.IDLE)
        with pytest.raises(Violation, match="to be IDLE; got SPECULATIVE"):
            await expect.stays([machine], State.IDLE, seconds=0.01)

    on_a_machine(facts)


def test_a_machine_that_moves_within_the_window_does_not_stay() -> None:
    async def facts(machine: Machine) -> None:
        await machine.create()
        await machine.settle()
        window = asyncio.create_task(expect.stays([machine], State.IDLE, seconds=30.0))
        while not window.done():
            await machine.configure()
            await machine.settle()
            await asyncio.wait([window], timeout=0.01)
        with pytest.raises(Violation, match="to be IDLE; got CONFIGURED"):
            await window

    on_a_machine(facts)


def test_settles_waits_for_the_patience_of_the_verb() -> None:
    client = SettlingClient(settles_at=1e9)

    async def facts(machine: Machine) -> None:
        with pytest.raises(Violation) as caught:
            await expect.settles(machine, Verb.CREATE)
        assert caught.value.wanted == "m to settle at IDLE after Create"
        assert caught.value.got == "not settled after 20 s (seen: CREATING)"

    with_virtual_clock(client, facts, patience=Patience(create=20.0))
    assert client.looks[-1] == pytest.approx(20.0)


@pytest.mark.parametrize("seconds", [0.5, 1.0, 20.0])
def test_stays_reads_at_growing_intervals_and_at_the_end_of_the_window(seconds: float) -> None:
    client = SettlingClient(settles_at=0.0)
    with_virtual_clock(client, lambda machine: expect.stays([machine], State.IDLE, seconds=seconds))
    assert client.looks[0] == 0.0
    assert client.looks[-1] == pytest.approx(seconds)
    pauses = [after - before for before, after in pairwise(client.looks)]
    assert pauses[:4] == pytest.approx([0.01, 0.02, 0.04, 0.08])
    assert max(pauses) == pytest.approx(seconds / 5)
    assert min(pauses) > 0


def test_a_machine_is_unchanged_until_it_changes() -> None:
    async def facts(machine: Machine) -> None:
        before = await machine.read()
        await expect.unchanged(machine, before, by="a Get")
        await machine.create()
        with pytest.raises(Violation, match="to be unchanged by a refused call: the same host, state"):
            await expect.unchanged(machine, before, by="a refused call")

    on_a_machine(facts)
