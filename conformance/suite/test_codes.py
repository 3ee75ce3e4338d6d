"""COD: the status codes of refused calls, and that a refused call changes nothing (contract §4).

The calls are for ids that do not exist, or have no edge from the machine's state: on machines at rest they start
nothing. Only the fence may answer FAILED_PRECONDITION, so every answer is checked for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grpc import StatusCode

from conformance.core.errors import KitTooSlow, NotObserved, Unprepared, Unsupported
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.rpc.call import Call, cut, describe_machine
from conformance.suite._fencing import inert_verbs
from conformance.suite._names import similar_ids
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.timing import missed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from conformance.fleet.machine import Machine
    from conformance.testkit.trial import Trial

MAX_ROUNDS = 3
"""Maximum number of times that a transition is started in which another call must arrive."""
EARLY_ANSWER_FACTOR = 5
"""A call that was answered within a fifth of the transition's time did not wait for the end of the transition."""


async def check_not_found(machine: Machine) -> None:
    """Checks that every RPC answers that the machine does not exist (COD-1)."""
    for verb in Verb:
        codes = (StatusCode.NOT_FOUND, StatusCode.UNIMPLEMENTED)[: 1 + (verb is Verb.DELETE)]
        await expect.code(machine.call(verb, machine.shard.next_in_new_epoch()), *codes)
    await expect.code(machine.get(), StatusCode.NOT_FOUND)


async def run_all(checks: Iterable[Awaitable[None]]) -> None:
    """Runs the checks concurrently until all have ended. Raises the exception of the first that failed."""
    for outcome in await asyncio.gather(*checks, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def check_all_not_found(trial: Trial, unknown: Sequence[Machine]) -> None:
    """Checks that no RPC finds any of the machines, and that List does not show them afterwards."""
    await run_all([check_not_found(machine) for machine in unknown])
    ids = {machine.id for machine in unknown}
    listed = sorted(ids & {machine.id for machine in await trial.changed()})
    expect.fact(
        not listed, wanted="List not to show an unknown id that was used in a call", got=", ".join(map(cut, listed))
    )


@behaviour("COD-1a")
async def test_an_unknown_id_is_not_found_and_not_made(trial: Trial) -> None:
    await check_all_not_found(trial, [trial.stranger()])


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
    unknown = [trial.stranger(shape.replace("{}", name)) for shape in odd]
    await check_all_not_found(trial, unknown)


@behaviour("COD-1c", machines=1, start=State.CONFIGURED)
async def test_an_id_that_is_nearly_a_machines_is_not_found(trial: Trial) -> None:
    machine = trial.machine
    known = {other.id for other in await trial.some()}.union(trial.found.speculative, trial.found.idle)
    own = machine.id
    similar = {
        own.upper(),
        own.swapcase(),
        f" {own}",
        f"{own} ",
        f"{own}\n",
        f"{own}\0",
        f"{own}/",
        f"/{own}",
        f"{own}x",
        f"{own}0",
        f"{own}%",
        own + own,
    }
    names = [name for name in (*sorted(similar), *similar_ids(own)) if name not in known]
    # With one of them all RPCs are called; the others only show whether the ids are different ones.
    await check_all_not_found(trial, [trial.stranger(names[0])])
    cleaned = [trial.stranger(name) for name in names[1:]]
    await run_all([check_cleaned_id_not_found(unknown, number) for number, unknown in enumerate(cleaned)])
    for name in sorted({own[:-1], own[1:], f"{own[:-1]}*", f"{own[:-1]}_"} - known - {""}):
        # This could be the id of another client's machine, so it is only read.
        await expect.code(trial.client.get(name), StatusCode.NOT_FOUND)


async def check_cleaned_id_not_found(machine: Machine, number: int) -> None:
    """Checks that Get, and for every third number a mutating RPC, answer that the machine does not exist (COD-1)."""
    await expect.code(machine.get(), StatusCode.NOT_FOUND)
    if number % 3 == 0:
        verb = (Verb.CREATE, Verb.CONFIGURE, Verb.DRAIN)[number // 3 % 3]
        await expect.code(machine.call(verb, machine.shard.next_in_new_epoch()), StatusCode.NOT_FOUND)


async def check_refused_without_edge(
    machine: Machine, verb: Verb, state: State, *, retry_allowed: bool = False, seconds: float = 0.0
) -> None:
    """Checks that the call is refused and leaves the machine unchanged for `seconds` (COD-2)."""
    before = await machine.read()
    call = await machine.call(verb)
    if not (call.ok and retry_allowed):
        await expect.refused(call)
    await expect.unchanged(machine, before, by=f"{verb.value}, which has no edge from {state.name}", seconds=seconds)


@behaviour("COD-2a", machines=1, start=State.SPECULATIVE)
async def test_a_slot_refuses_configure_and_drain(trial: Trial) -> None:
    await check_refused_without_edge(trial.machine, Verb.CONFIGURE, State.SPECULATIVE)
    await check_refused_without_edge(trial.machine, Verb.DRAIN, State.SPECULATIVE)
    await check_refused_without_edge(
        trial.machine, Verb.DELETE, State.SPECULATIVE, retry_allowed=True, seconds=trial.window
    )


@behaviour("COD-2b", machines=1, start=State.CONFIGURED, transitions=1)
async def test_a_configured_machine_refuses_create_and_delete(trial: Trial) -> None:
    machine = trial.machine
    first, again = await trial.begin(machine, Verb.CONFIGURE), await machine.configure()
    await check_refused_without_edge(machine, Verb.CREATE, State.CONFIGURED)
    await check_refused_without_edge(machine, Verb.DELETE, State.CONFIGURED, seconds=trial.window)
    if again.operation_id == first.operation_id:  # if not, OPS-2 judges it
        await expect.same_operation(first, machine.configure())


@behaviour("COD-2c", machines=1, start=State.IDLE, transitions=2)
async def test_an_idle_machine_stays_idle_at_a_drain(trial: Trial) -> None:
    machine = trial.machine
    await check_refused_without_edge(machine, Verb.DRAIN, State.IDLE, retry_allowed=True, seconds=trial.window)
    await trial.bind(machine, cluster=machine.cluster)  # control: it can still be bound


BUSY_ROUNDS = 3
"""A call that is answered "try again" in each round, with all its retries, is not rejected for load, if the calls in
between are answered."""


async def check_not_try_again(machine: Machine, verb: Verb, control: Callable[[], Awaitable[Call]]) -> None:
    """Checks that a call without an edge is not answered UNAVAILABLE or RESOURCE_EXHAUSTED each time (COD-2).

    `control` is sent after it in each round. Raises NotObserved if that is rejected too.
    """
    for _ in range(BUSY_ROUNDS):
        call = await expect.answered(machine.call(verb))
        if not call.busy:
            return
        if (await expect.answered(control())).busy:
            raise NotObserved("calls that have an answer in this state were rejected because of overload")
    expect.fact(
        False,
        wanted=f"{verb.value}, which has no edge from {machine.state.name}, not to be refused with {call.status.name}, "
        "which tells the caller to try again",
        got=call.outcome(),
        calls=[call],
    )


@behaviour("COD-2l", machines=1, start=State.SPECULATIVE)
async def test_a_slot_does_not_ask_to_try_again(trial: Trial) -> None:
    for verb in inert_verbs(trial, State.SPECULATIVE):
        await check_not_try_again(trial.machine, verb, trial.machine.get)


@behaviour("COD-2m", machines=1, start=State.CONFIGURED)
async def test_a_configured_machine_does_not_ask_to_try_again(trial: Trial) -> None:
    machine = trial.machine
    for verb in inert_verbs(trial, State.CONFIGURED):
        if verb is not Verb.CONFIGURE:
            await check_not_try_again(machine, verb, machine.configure)


async def check_refused_in_transition(
    trial: Trial, machine: Machine, running: Verb, others: Iterable[Verb]
) -> Unsupported | KitTooSlow | None:
    """Checks that the transition of `running` refuses the other calls and is not disturbed by them.

    Its operation id must stay the same too. Returns the error to raise if no Get showed the transition.

    A call may arrive after the machine has settled, so `others` have no edge from the target state. Those that may be
    answered there as a retry show the target state in their ack.
    """
    edge, was_in_transition, first_answer = EDGES[running], False, None
    ack = await trial.begin(machine, running)
    repeatable = (await machine.call(running)).operation_id == ack.operation_id  # if not, OPS-2 judges it
    for verb in others:
        was_in_transition |= await trial.in_motion(machine, running)
        first_answer = first_answer or trial.client.now()
        call = await machine.call(verb)
        settled = call.ok and state_of(call.response.machine.state) is edge.target
        if not (settled and EDGES[verb].target is edge.target):
            await expect.refused(call)
    watch = await machine.settle(patience=machine.patience.for_verb(running))
    expect.fact(
        watch.state in (edge.target, State.FAILED),
        wanted=f"{running.value} to end at {edge.target.name} despite calls without an edge",
        got=describe_machine(watch.machine),
        calls=[ack],
    )
    if watch.state is State.FAILED:
        raise Unprepared(f"{machine.id} is {describe_machine(watch.machine)} after {running.value}")
    again = await machine.call(running)
    if repeatable and again.ok and (await machine.call(running)).operation_id == again.operation_id:
        await expect.same_operation(ack, again)
    return None if was_in_transition else missed(trial, running, ack, at=first_answer)


@behaviour("COD-2d", machines=1, start=State.IDLE, transitions=1)
async def test_create_and_delete_are_refused_while_configuring(trial: Trial) -> None:
    machine = trial.machine
    not_seen = await check_refused_in_transition(trial, machine, Verb.CONFIGURE, (Verb.CREATE, Verb.DELETE))
    shown = await machine.read()
    expect.fact(shown.cluster == machine.cluster, wanted=f"cluster {machine.cluster}", got=describe_machine(shown))
    if not_seen is not None:
        raise not_seen


@behaviour("COD-2e", machines=1, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_a_machine_that_comes_refuses_drain(trial: Trial) -> None:
    machine = trial.machine
    not_seen = await check_refused_in_transition(trial, machine, Verb.CREATE, (Verb.DRAIN,))
    before, again = await machine.create(), await machine.create()
    await check_refused_without_edge(machine, Verb.DRAIN, State.IDLE, retry_allowed=True)
    if before.ok and again.operation_id == before.operation_id:  # if not, OPS-2 judges it
        await expect.same_operation(before, machine.create())
    if isinstance(not_seen, KitTooSlow):  # if the provider is too fast, the refusals at rest are all there is to judge
        raise not_seen


@behaviour("COD-2i", machines=1, start=State.IDLE, transitions=1, deletes=True)
async def test_a_machine_that_goes_refuses_configure_and_drain(trial: Trial) -> None:
    not_seen = await check_refused_in_transition(trial, trial.machine, Verb.DELETE, (Verb.CONFIGURE, Verb.DRAIN))
    if isinstance(not_seen, KitTooSlow):  # see COD-2e
        raise not_seen


@behaviour("COD-2f", machines=1, start=State.CONFIGURED, transitions=1)
async def test_delete_is_refused_while_draining(trial: Trial) -> None:
    machine = trial.machine
    ack = await start_transition(trial, machine, Verb.DRAIN)
    call = await machine.delete()
    if call.ok:
        expect.fact(
            not call.response.machine.cluster and not call.response.machine.shard_metadata,
            wanted="Delete to be refused while DRAINING",
            got=f"an ack that still shows the binding: {describe_machine(call.response.machine)}",
            calls=[call],
        )
        raise missed(trial, Verb.DRAIN, ack, at=call.ended, calls=2)
    await expect.refused(call)
    watch = await machine.settle(patience=machine.patience.drain)
    expect.fact(
        watch.state in (State.IDLE, State.FAILED), wanted="IDLE after Drain", got=describe_machine(watch.machine)
    )


async def check_refused_until_end(trial: Trial, running: Verb, *early: Callable[[], Awaitable[Call]]) -> None:
    """Checks that calls with an edge only from the target state of `running` are refused in its transition (COD-2).

    One accepted call may have arrived after the transition had ended. Three calls that were all accepted immediately
    did not, if an undisturbed transition takes several times as long.
    """
    machine, edge = trial.machine, EDGES[running]
    accepted: list[Call] = []
    for _ in range(MAX_ROUNDS):
        ack = await start_transition(trial, machine, running)
        for send in early:
            call = await send()
            if call.ok:
                break
            await expect.refused(call)
        else:
            await expect.settles(machine, running)
            return
        await machine.settle()  # meanwhile other behaviours may have timed a transition
        was_early = not trial.slowest or EARLY_ANSWER_FACTOR * (call.ended - ack.ended) < trial.slowest
        # Another Create costs a machine, and needs Delete.
        if running is Verb.CREATE and not (was_early and trial.found.delete):
            why = f"{call.rpc} was accepted, but Create may already have ended"
            raise missed(trial, running, ack, at=call.started, calls=2, otherwise=why)
        await trial.bring(machine, State.IDLE)
        await trial.bring(machine, edge.source)
        control = await trial.drive(machine, running)
        if trial.client.now() - control.ended > EARLY_ANSWER_FACTOR * (call.ended - ack.ended):
            accepted.append(call)
    if len(accepted) < MAX_ROUNDS:
        why = f"cannot judge {call.rpc} during {running.value}: it ends too soon, or {call.rpc} waits for its end"
        raise missed(trial, running, ack, at=call.started, calls=2, otherwise=why)
    expect.fact(
        False,
        wanted=f"{call.rpc} to be refused while {edge.via.name}",
        got=f"accepted immediately in {MAX_ROUNDS} of {MAX_ROUNDS} attempts",
        calls=accepted,
    )


async def start_transition(trial: Trial, machine: Machine, running: Verb) -> Call:
    """Starts a transition and returns its ack. Raises Unsupported or KitTooSlow if it ends before a Get shows it."""
    for _ in range(MAX_ROUNDS):
        await trial.bring(machine, EDGES[running].source)
        ack = await trial.begin(machine, running)
        if await trial.in_motion(machine, running):
            return ack
        if state_of(ack.response.machine.state) is EDGES[running].target or running is Verb.CREATE:
            break  # another Create would cost a machine
    raise missed(trial, running, ack)


@behaviour("COD-2g", machines=1, start=State.IDLE, transitions=1)
async def test_drain_is_refused_while_configuring(trial: Trial) -> None:
    await check_refused_until_end(trial, Verb.CONFIGURE, trial.machine.drain)


@behaviour("COD-2h", machines=1, start=State.CONFIGURED, transitions=1)
async def test_configure_is_refused_while_draining(trial: Trial) -> None:
    machine, other = trial.machine, trial.unique("other")
    await check_refused_until_end(trial, Verb.DRAIN, lambda: machine.configure(cluster=other), machine.configure)


@behaviour("COD-2j", machines=1, start=State.SPECULATIVE, transitions=1, creates=True)
async def test_a_machine_that_comes_refuses_configure_and_delete(trial: Trial) -> None:
    machine = trial.machine
    for verb in (Verb.CONFIGURE, Verb.DRAIN, Verb.DELETE):
        await machine.call(verb)  # refused, so that it has no effect on the Create
    early = (machine.configure, machine.delete) if trial.found.delete else (machine.configure,)
    await check_refused_until_end(trial, Verb.CREATE, *early)


@behaviour("COD-2k", machines=1, start=State.CONFIGURED, transitions=1)
async def test_create_leaves_a_drain_alone(trial: Trial) -> None:
    machine = trial.machine
    before = await machine.read()
    await start_transition(trial, machine, Verb.DRAIN)
    call = await expect.accepted(machine.create())  # Create's target is IDLE too, so it may be answered as a retry
    watch = await machine.settle(patience=machine.patience.drain)
    if watch.state is State.FAILED:
        raise Unprepared(f"{machine.id} is {describe_machine(watch.machine)} after Drain")
    expect.fact(
        watch.state is State.IDLE and State.CREATING not in watch.states and watch.machine.host.ref == before.host.ref,
        wanted=f"Create not to disturb the Drain of {machine.id} with host {before.host.ref!r}",
        got=" -> ".join(state.name for state in watch.states) + f", {describe_machine(watch.machine)}",
        calls=[call],
    )
