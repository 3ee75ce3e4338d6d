"""COD: what a refusal says, and that a refused call changes nothing (contract §4).

Ids that do not exist, and calls that have no edge from where the machine is: at rest these cost nothing. What
the fence alone may say, FAILED_PRECONDITION, is looked for in everything that is sent.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grpc import StatusCode

from conformance.core.errors import Unprepared, Unsupported
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.rpc.call import Call, cut, describe_machine
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from conformance.fleet.machine import Machine
    from conformance.testkit.trial import Trial

ROUNDS = 3
MARGIN = 5
"""What is answered within a fifth of the time that a transition takes did not wait for its end."""


async def unknown(stranger: Machine) -> None:
    """No RPC finds the machine, and none makes it up (COD-1)."""
    for verb in Verb:
        codes = (StatusCode.NOT_FOUND, StatusCode.UNIMPLEMENTED)[: 1 + (verb is Verb.DELETE)]
        await expect.code(stranger.call(verb, stranger.shard.next_in_new_epoch()), *codes)
    await expect.code(stranger.get(), StatusCode.NOT_FOUND)


async def all_unknown(trial: Trial, strangers: Sequence[Machine]) -> None:
    """None of the machines is found, and List shows none of them afterwards either."""
    fates = await asyncio.gather(*(unknown(stranger) for stranger in strangers), return_exceptions=True)
    for fate in fates:
        if isinstance(fate, BaseException):
            raise fate
    ids = {stranger.id for stranger in strangers}
    made_up = sorted(ids & {machine.id for machine in await trial.changed()})
    expect.fact(not made_up, wanted="List to show no machine that nobody has", got=", ".join(map(cut, made_up)))


@behaviour("COD-1a")
async def test_an_unknown_id_is_not_found_and_not_made(trial: Trial) -> None:
    await all_unknown(trial, [trial.stranger()])


@behaviour("COD-1b")
async def test_odd_ids_are_not_found_either(trial: Trial) -> None:
    name = trial.unique("odd-")
    odd = (
        "{} with spaces ",
        "/{}/../",
        "{}é中🦖",
        "{}\0\n",
        "{}' OR '1'='1",
        "{}%s%n%2F",
        "{}" + "x" * (4096 - len(name)),
    )
    strangers = [trial.stranger(shape.replace("{}", name)) for shape in odd]
    await all_unknown(trial, strangers)


@behaviour("COD-1c", machines=1, start=State.CONFIGURED)
async def test_an_id_that_is_nearly_a_machines_is_not_found(trial: Trial) -> None:
    machine = trial.machine
    known = {one.id for one in await trial.some()}.union(trial.found.speculative, trial.found.idle)
    i = machine.id
    near = {
        i.upper(),
        i.swapcase(),
        f" {i}",
        f"{i} ",
        f"{i}\n",
        f"{i}\0",
        f"{i}/",
        f"/{i}",
        f"{i}x",
        f"{i}0",
        f"{i}%",
        i + i,
    }
    await all_unknown(trial, [trial.stranger(name) for name in sorted(near - known)])
    for name in sorted({i[:-1], i[1:], f"{i[:-1]}*", f"{i[:-1]}_"} - known - {""}):
        # It could be taken for somebody else's machine, so these are only read.
        await expect.code(trial.client.get(name), StatusCode.NOT_FOUND)


async def no_edge(machine: Machine, verb: Verb, state: State, *, or_retry: bool = False, seconds: float = 0.0) -> None:
    """The call is refused, and the machine is as it was, for so many seconds (COD-2)."""
    before = await machine.read()
    call = await machine.call(verb)
    if not (call.ok and or_retry):
        await expect.refused(call)
    await expect.unchanged(machine, before, by=f"{verb.value}, which has no edge from {state.name}", seconds=seconds)


@behaviour("COD-2a", machines=1, start=State.SPECULATIVE)
async def test_a_slot_refuses_configure_and_drain(trial: Trial) -> None:
    await no_edge(trial.machine, Verb.CONFIGURE, State.SPECULATIVE)
    await no_edge(trial.machine, Verb.DRAIN, State.SPECULATIVE)
    await no_edge(trial.machine, Verb.DELETE, State.SPECULATIVE, or_retry=True, seconds=trial.window)


@behaviour("COD-2b", machines=1, start=State.CONFIGURED, transitions=1)
async def test_a_configured_machine_refuses_create_and_delete(trial: Trial) -> None:
    machine = trial.machine
    first, again = await trial.begin(machine, Verb.CONFIGURE), await machine.configure()
    await no_edge(machine, Verb.CREATE, State.CONFIGURED)
    await no_edge(machine, Verb.DELETE, State.CONFIGURED, seconds=trial.window)
    if again.operation_id == first.operation_id:  # where not, that is OPS-2's matter
        await expect.same_operation(first, machine.configure())


@behaviour("COD-2c", machines=1, start=State.IDLE, transitions=2)
async def test_an_idle_machine_stays_idle_at_a_drain(trial: Trial) -> None:
    machine = trial.machine
    await no_edge(machine, Verb.DRAIN, State.IDLE, or_retry=True, seconds=trial.window)
    await trial.bind(machine, cluster=machine.cluster)  # control: what is not drained can be bound


async def refused_on_the_way(trial: Trial, machine: Machine, going: Verb, others: Iterable[Verb]) -> bool:
    """During `going`, each of the other calls is refused and disturbs nothing; False where it was over at once.

    Nor is its operation forgotten for them.

    A call may find the machine settled already. What has an edge from there is not asked for here; what may be
    answered as a retry there shows by its snapshot that it was.
    """
    edge, seen = EDGES[going], False
    ack = await trial.begin(machine, going)
    known = (await machine.call(going)).operation_id == ack.operation_id  # where not, that is OPS-2's matter
    for verb in others:
        seen |= await trial.in_motion(machine, going)
        call = await machine.call(verb)
        settled = call.ok and state_of(call.response.machine.state) is edge.target
        if not (settled and EDGES[verb].target is edge.target):
            await expect.refused(call)
    watch = await machine.settle(patience=machine.patience.for_verb(going))
    expect.fact(
        watch.state in (edge.target, State.FAILED),
        wanted=f"{going.value} to go on to {edge.target.name} after calls that have no edge",
        got=describe_machine(watch.machine),
        calls=[ack],
    )
    if watch.state is State.FAILED:
        raise Unprepared(f"{machine.id} is {describe_machine(watch.machine)} after {going.value}")
    again = await machine.call(going)
    if known and again.ok:
        await expect.same_operation(ack, again)
    return seen


@behaviour("COD-2d", machines=1, start=State.IDLE, transitions=1)
async def test_create_and_delete_are_refused_while_configuring(trial: Trial) -> None:
    machine = trial.machine
    seen = await refused_on_the_way(trial, machine, Verb.CONFIGURE, (Verb.CREATE, Verb.DELETE))
    shown = await machine.read()
    expect.fact(shown.cluster == machine.cluster, wanted=f"cluster {machine.cluster}", got=describe_machine(shown))
    if not seen:
        raise Unsupported("Configure is over with its ack: nothing can be asked meanwhile")


@behaviour("COD-2e", machines=1, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_a_machine_that_comes_refuses_drain(trial: Trial) -> None:
    machine = trial.machine
    await refused_on_the_way(trial, machine, Verb.CREATE, (Verb.DRAIN,))
    before, again = await machine.create(), await machine.create()
    await no_edge(machine, Verb.DRAIN, State.IDLE, or_retry=True)
    if before.ok and again.operation_id == before.operation_id:  # where not, that is OPS-2's matter
        await expect.same_operation(before, machine.create())


@behaviour("COD-2i", machines=1, start=State.IDLE, transitions=1, deletes=True)
async def test_a_machine_that_goes_refuses_configure_and_drain(trial: Trial) -> None:
    await refused_on_the_way(trial, trial.machine, Verb.DELETE, (Verb.CONFIGURE, Verb.DRAIN))


@behaviour("COD-2f", machines=1, start=State.CONFIGURED, transitions=1)
async def test_delete_is_refused_while_draining(trial: Trial) -> None:
    machine = trial.machine
    await under_way(trial, machine, Verb.DRAIN)
    call = await machine.delete()
    if call.ok:
        expect.fact(
            not call.response.machine.cluster and not call.response.machine.shard_metadata,
            wanted="Delete to be refused while DRAINING",
            got=f"an ack for a machine that is bound: {describe_machine(call.response.machine)}",
            calls=[call],
        )
        raise Unsupported("the Delete came when the Drain was over")
    await expect.refused(call)
    watch = await machine.settle(patience=machine.patience.drain)
    expect.fact(
        watch.state in (State.IDLE, State.FAILED), wanted="IDLE after Drain", got=describe_machine(watch.machine)
    )


async def premature(trial: Trial, going: Verb, *early: Callable[[], Awaitable[Call]]) -> None:
    """What has an edge only from where `going` ends is refused on the way there (COD-2).

    One call that is accepted may have come when the transition was over. Three that were all accepted at once,
    where the transition takes many times as long whenever nobody asks, did not.
    """
    machine, edge = trial.machine, EDGES[going]
    calls: list[Call] = []
    for _ in range(ROUNDS):
        ack = await under_way(trial, machine, going)
        for ask in early:
            call = await ask()
            if call.ok:
                break
            await expect.refused(call)
        else:
            await expect.settles(machine, going)
            return
        await machine.settle()  # by then others' transitions, too, were timed
        soon = not trial.slowest or MARGIN * (call.ended - ack.ended) < trial.slowest
        if going is Verb.CREATE and not (soon and trial.found.delete):  # to try again costs a machine, and a Delete
            raise Unsupported(f"{call.rpc} was accepted after Create, which may have been over")
        await trial.bring(machine, State.IDLE)
        await trial.bring(machine, edge.source)
        control = await trial.drive(machine, going)
        if trial.client.now() - control.ended > MARGIN * (call.ended - ack.ended):
            calls.append(call)
    if len(calls) < ROUNDS:
        raise Unsupported(f"{going.value} is too fast, or {call.rpc} waits for its end: nobody can tell")
    expect.fact(
        False,
        wanted=f"{call.rpc} to be refused while {edge.via.name}",
        got=f"{ROUNDS} of {ROUNDS} accepted at once",
        calls=calls,
    )


async def under_way(trial: Trial, machine: Machine, going: Verb) -> Call:
    """Set out from the source, and be still on the way; raises Unsupported where that is too fast."""
    for _ in range(ROUNDS):
        await trial.bring(machine, EDGES[going].source)
        ack = await trial.begin(machine, going)
        if await trial.in_motion(machine, going):
            return ack
        if state_of(ack.response.machine.state) is EDGES[going].target or going is Verb.CREATE:
            break  # another Create would cost a machine
    raise Unsupported(f"{going.value} is over before anything can be asked")


@behaviour("COD-2g", machines=1, start=State.IDLE, transitions=1)
async def test_drain_is_refused_while_configuring(trial: Trial) -> None:
    await premature(trial, Verb.CONFIGURE, trial.machine.drain)


@behaviour("COD-2h", machines=1, start=State.CONFIGURED, transitions=1)
async def test_configure_is_refused_while_draining(trial: Trial) -> None:
    machine, other = trial.machine, trial.unique("other")
    await premature(trial, Verb.DRAIN, lambda: machine.configure(cluster=other), machine.configure)


@behaviour("COD-2j", machines=1, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_a_machine_that_comes_refuses_configure_and_delete(trial: Trial) -> None:
    machine = trial.machine
    early = (machine.configure, machine.delete) if trial.found.delete else (machine.configure,)
    await premature(trial, Verb.CREATE, *early)


@behaviour("COD-2k", machines=1, start=State.CONFIGURED, transitions=1)
async def test_create_leaves_a_drain_alone(trial: Trial) -> None:
    machine = trial.machine
    before = await machine.read()
    await under_way(trial, machine, Verb.DRAIN)
    call = await expect.accepted(machine.create())  # its own target, too, is IDLE: a retry's answer will do
    watch = await machine.settle(patience=machine.patience.drain)
    if watch.state is State.FAILED:
        raise Unprepared(f"{machine.id} is {describe_machine(watch.machine)} after Drain")
    expect.fact(
        watch.state is State.IDLE and State.CREATING not in watch.states and watch.machine.host.ref == before.host.ref,
        wanted=f"a Create not to disturb the Drain of {machine.id}, whose host is {before.host.ref!r}",
        got=" -> ".join(state.name for state in watch.states) + f", {describe_machine(watch.machine)}",
        calls=[call],
    )
