"""LIF: how long a machine shows its id, its host and its binding (contract §2).

The id never changes. The host is shown from Create to Delete, the binding from Configure to the end of Drain, and
neither leaves a trace. Facts about a single answer are judged on the whole fleet, including other clients' machines.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.errors import Unprepared, Unsupported
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.fleet.machine import FIRST_POLL
from conformance.rpc.call import cut, describe_machine, require_from_provider
from conformance.suite._names import ODD_CLUSTER_TAIL
from conformance.suite._shown import check_cluster, check_cluster_presence, check_host_presence, host_of
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.recording import BINDING, LIFE, shared_recording

if TYPE_CHECKING:
    from conformance.fleet.machine import Machine
    from conformance.testkit.trial import Trial


def check_host(machine: pb.Machine, host: tuple[str, str], *, where: str) -> None:
    """Checks that the machine shows exactly this host."""
    expect.fact(
        host_of(machine) == host,
        wanted=f"{where} to show host {host} until Delete",
        got=f"{state_of(machine.state).name} with host {host_of(machine)}",
    )


def check_no_trace(machine: pb.Machine, *, where: str) -> None:
    """Checks that the machine shows no cluster, no metadata and no error."""
    traces = [
        name
        for name, left in (
            ("cluster", machine.cluster),
            ("shard_metadata", len(machine.shard_metadata)),
            ("last_error", machine.last_error),
        )
        if left
    ]
    expect.fact(not traces, wanted=f"{where} not to show a trace of a binding", got=f"{', '.join(traces)} still set")


@behaviour("LIF-4a", machines=1, start=State.SPECULATIVE, transitions=3, creates=True)
async def test_a_machine_keeps_its_id_from_its_slot_on(trial: Trial) -> None:
    for verb in (Verb.CREATE, Verb.CONFIGURE, Verb.DRAIN):
        await check_id_until_settled(trial, verb)


@behaviour("LIF-4b", machines=1, start=State.IDLE, transitions=1, deletes=True)
async def test_the_slot_comes_back_under_its_id(trial: Trial) -> None:
    await check_id_until_settled(trial, Verb.DELETE)


async def check_id_until_settled(trial: Trial, verb: Verb) -> None:
    """Takes one edge. Checks that the ack and every Get until the transition has ended show the machine's id."""
    machine = trial.machine
    ack = await trial.begin(machine, verb)
    expect.fact(ack.response.machine.id == machine.id, wanted=f"id {machine.id}", got=ack.response.machine.id)
    loop = asyncio.get_running_loop()
    started, limit, given_up = loop.time(), machine.patience.for_verb(verb), machine.record.calls.given_up
    while True:
        call = await expect.code(machine.get(), grpc.StatusCode.OK)
        expect.fact(
            call.response.id == machine.id,
            wanted=f"Get of {machine.id} to show this id",
            got=repr(call.response.id),
            calls=[call],
        )
        if state_of(call.response.state) is EDGES[verb].target:
            return
        waited = loop.time() - started
        failed = call.response.state == State.FAILED or machine.record.calls.given_up > given_up
        if waited > limit or failed:
            raise Unprepared(f"{machine.id} is {describe_machine(call.response)} after {verb.value}")
        await asyncio.sleep(max(FIRST_POLL, waited * 0.04))


@behaviour("LIF-5a", watches=BINDING)
async def test_the_host_stays_the_same_while_it_lives(trial: Trial) -> None:
    readings = [reading for reading in (await shared_recording(trial)).seen if reading.rpc != "List"]
    host = host_of(readings[0].machine)
    expect.fact(all(host), wanted="an IDLE machine to have host.provider and host.ref", got=f"host {host}")
    for reading in readings:
        check_host(reading.machine, host, where=reading.where)


@behaviour("LIF-5b", watches=LIFE)
async def test_a_host_comes_with_create_and_stays(trial: Trial) -> None:
    recording = await shared_recording(trial)
    first = next(recording.at(Verb.CREATE)).call
    host = next(
        host_of(reading.machine) for reading in recording.seen if reading.rpc == "Get" and reading.state is State.IDLE
    )
    expect.fact(all(host), wanted="an IDLE machine to have host.provider and host.ref", got=f"host {host}")
    # The ack of a repeated call may be that of the first call, and a List may lag: only first acks and Gets count.
    end = next(recording.at(Verb.CONFIGURE)).call.started
    gets = [call for call in recording.calls if call.rpc == "Get" and first.started <= call.started < end]
    readings = [(first, first.response.machine)]
    readings += [(call, call.response) for call in gets if isinstance(call.response, pb.Machine)]
    attached = min((call.ended for call, machine in readings if machine.host.ref), default=math.inf)
    for call, machine in readings:
        if call.started >= attached or machine.host.ref:  # an earlier call may still show no host
            check_host(machine, host, where=f"each {call.rpc} after the first answer with a host")


@behaviour("LIF-5c", machines=1, start=State.CONFIGURED)
async def test_slots_have_no_host_and_living_machines_have_one(trial: Trial) -> None:
    for machine in await trial.undisturbed():
        check_host_presence(machine, where=machine.id)


@behaviour("LIF-6a", machines=1, start=State.IDLE, transitions=2)
async def test_the_cluster_shows_from_configure_to_the_end_of_drain(trial: Trial) -> None:
    machine, cluster = trial.machine, trial.unique("cluster") + ODD_CLUSTER_TAIL
    check_cluster(await machine.read(), cluster, where="Get")
    first = await machine.configure(cluster=cluster)
    if not first.ok:  # a provider may refuse such a name
        cluster = trial.unique("cluster")
        first = await trial.begin(machine, Verb.CONFIGURE, machine.configure(cluster=cluster))
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        ack = first if verb is Verb.CONFIGURE else await trial.begin(machine, verb)
        check_cluster(ack.response.machine, cluster, where=f"the ack of {verb.value}")
        check_cluster(await machine.read(), cluster, where="Get")
        await check_listed_cluster(trial, machine, EDGES[verb].via, cluster)
        check_cluster(await trial.bring(machine, EDGES[verb].target), cluster, where="Get")
        await check_listed_cluster(trial, machine, EDGES[verb].target, cluster)
        again = await (machine.configure(cluster=cluster) if verb is Verb.CONFIGURE else machine.drain())
        if again.ok:  # if not, OPS-2 judges it
            check_cluster(again.response.machine, cluster, where=f"the ack of {verb.value} sent again")


async def check_listed_cluster(trial: Trial, machine: Machine, state: State, cluster: str) -> None:
    """Checks the cluster in a List of `state`. A List that lags may show an older binding, which is not judged."""
    shown = await trial.listed(machine, state)
    if shown is not None and shown.cluster in ("", cluster):
        check_cluster(shown, cluster, where="List")


@behaviour("LIF-6b", machines=1, start=State.IDLE, transitions=1)
async def test_a_configure_without_a_cluster_never_ends_in_configured(trial: Trial) -> None:
    machine = trial.machine
    call = await machine.configure(cluster="")
    seen = (await machine.settle()).machine
    expect.fact(
        state_of(seen.state) is not State.CONFIGURED,
        wanted="a Configure without a cluster_id not to end in CONFIGURED",
        got=describe_machine(seen),
        calls=[call],
    )


@behaviour("LIF-6c", machines=1, start=State.IDLE, transitions=2)
async def test_the_cluster_is_shown_just_as_it_was_given(trial: Trial) -> None:
    machine = trial.machine
    long = "-" + "x" * 256
    for odd in (long + " of Zürich/İ ", " of Zürich/İ ", long + ".EU_West-1", ".EU_West-1", "-EU"):
        cluster = trial.unique("Cluster") + odd
        call = await machine.configure(cluster=cluster)
        if call.ok:
            check_cluster(call.response.machine, cluster, where="the ack of Configure")
            check_cluster(await trial.bring(machine, State.CONFIGURED), cluster, where="Get")
            return
    raise Unsupported("the provider refuses cluster ids with capitals, dots or spaces")


@behaviour("LIF-6d", machines=1, start=State.CONFIGURED)
async def test_within_one_listing_just_the_bound_machines_show_a_cluster(trial: Trial) -> None:
    for machine in await trial.undisturbed():
        check_cluster_presence(machine, where=machine.id)


@behaviour("LIF-7a", machines=1, start=State.IDLE, transitions=6)
async def test_rounds_leave_no_trace(trial: Trial) -> None:
    machine = trial.machine
    for number in range(3):
        cluster, metadata = trial.unique("cluster"), {f"key-{number}": "value", "kept": str(number)}
        await trial.bind(machine, cluster=cluster, metadata=metadata)
        ack = await trial.drive(machine, Verb.DRAIN, machine.drain(grace=1 + number % 2))
        if ack.response.machine.state == State.IDLE:
            check_no_trace(ack.response.machine, where="the ack of Drain, IDLE,")
        check_no_trace(await machine.read(), where=f"Get after round {number + 1}")
        shown = await trial.listed(machine, State.IDLE)
        if shown is not None:
            check_no_trace(shown, where=f"List after round {number + 1}")


@behaviour("LIF-8a", machines=1, start=State.IDLE, transitions=3, deletes=True)
async def test_delete_clears_host_cluster_and_metadata(trial: Trial) -> None:
    machine = trial.machine
    await trial.bind(machine, cluster=trial.unique("cluster"), metadata={"owner": "conformance"})
    await trial.drive(machine, Verb.DRAIN)
    ack = await trial.drive(machine, Verb.DELETE)
    shown = [("Get", await machine.read()), ("List", await trial.listed(machine, State.SPECULATIVE))]
    if ack.response.machine.state == State.SPECULATIVE:
        shown.append(("the ack of Delete", ack.response.machine))
    for where, slot in shown:
        if slot is not None:
            check_no_trace(slot, where=f"{where} after Delete")
            expect.fact(
                not slot.host.ref, wanted=f"{where} after Delete not to show a host", got=describe_machine(slot)
            )


@behaviour("LIF-8b", machines=1, start=State.IDLE, transitions=1)
async def test_without_delete_every_machine_answers_unimplemented(trial: Trial) -> None:
    machine = trial.machine
    require_no_delete(trial)
    await check_delete_unimplemented(machine, State.IDLE)
    await trial.begin(machine, Verb.CONFIGURE)
    await expect.code(machine.delete(), grpc.StatusCode.UNIMPLEMENTED)
    await trial.bring(machine, State.CONFIGURED)
    await check_delete_unimplemented(machine, State.CONFIGURED)
    await expect.code(trial.stranger().delete(), grpc.StatusCode.UNIMPLEMENTED)


@behaviour("LIF-8c", machines=1, start=State.SPECULATIVE)
async def test_without_delete_a_slot_answers_unimplemented(trial: Trial) -> None:
    require_no_delete(trial)
    await check_delete_unimplemented(trial.machine, State.SPECULATIVE)


@behaviour("LIF-8d", machines=2, start=State.IDLE, transitions=1, deletes=True)
async def test_delete_is_implemented_for_every_machine_or_for_none(trial: Trial) -> None:
    calls = [await expect.answered(machine.delete()) for machine in trial.machines]
    unimplemented = [call.machine_id for call in calls if call.unimplemented]
    without = [*unimplemented, *trial.without_delete()]
    expect.fact(
        not without,
        wanted="Delete to answer UNIMPLEMENTED for every id or for none: for an id that does not exist, it did not",
        got=f"UNIMPLEMENTED for {', '.join(map(cut, without[:4]))}{' and others' if without[4:] else ''}",
        calls=[call for call in calls if call.machine_id in without],
    )
    for call in calls:
        require_from_provider(call)


async def check_delete_unimplemented(machine: Machine, state: State) -> None:
    """Checks that Delete answers UNIMPLEMENTED and that the machine stays in `state` (LIF-8)."""
    await expect.code(machine.delete(), grpc.StatusCode.UNIMPLEMENTED)
    await expect.rests(machine, state)


def require_no_delete(trial: Trial) -> None:
    """Raises Unsupported if the first probe found that the provider supports Delete."""
    if trial.found.delete:
        raise Unsupported("the provider supports Delete")
