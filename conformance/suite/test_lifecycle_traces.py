"""LIF: what a machine shows of its host, its binding and its past (contract §2).

The id stays, the host lives from Create to Delete, the binding from Configure to the end of Drain; of what is over
nothing is left. Facts that hold within one answer are judged on the whole fleet, whoever drives it.
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
from conformance.rpc.call import describe_machine
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.recording import BINDING, LIFE, shared_recording

if TYPE_CHECKING:
    from conformance.fleet.machine import Machine
    from conformance.testkit.trial import Trial

BOUND = (State.CONFIGURING, State.CONFIGURED, State.DRAINING)
HOUSED = (State.IDLE, *BOUND)
UNBOUND = (State.SPECULATIVE, State.CREATING, State.IDLE, State.DELETING)


def host_of(machine: pb.Machine) -> tuple[str, str]:
    """The host as a pair that can be compared and shown."""
    return machine.host.provider, machine.host.ref


def housed(machine: pb.Machine, host: tuple[str, str], *, where: str) -> None:
    """The machine has this very host."""
    expect.fact(
        host_of(machine) == host,
        wanted=f"{where} to show host {host} for as long as it lives",
        got=f"{state_of(machine.state).name} with host {host_of(machine)}",
    )


def bound(machine: pb.Machine, cluster: str, *, where: str) -> None:
    """The machine shows `cluster` while it is bound, and none otherwise."""
    state = state_of(machine.state)
    wanted = cluster if state in BOUND else ""
    expect.fact(
        machine.cluster == wanted,
        wanted=f"{where} to show cluster {wanted!r} while {state.name}",
        got=f"cluster {machine.cluster!r}",
    )


def traceless(machine: pb.Machine, *, where: str) -> None:
    """No cluster, no metadata, no error."""
    traces = [
        name
        for name, left in (
            ("cluster", machine.cluster),
            ("shard_metadata", len(machine.shard_metadata)),
            ("last_error", machine.last_error),
        )
        if left
    ]
    expect.fact(not traces, wanted=f"{where} to show no trace of a binding", got=f"{', '.join(traces)} of it left")


@behaviour("LIF-4a", machines=1, start=State.SPECULATIVE, transitions=3, creates=True)
async def test_a_machine_keeps_its_id_from_its_slot_on(trial: Trial) -> None:
    for verb in (Verb.CREATE, Verb.CONFIGURE, Verb.DRAIN):
        await named_until_settled(trial, verb)


@behaviour("LIF-4b", machines=1, start=State.IDLE, transitions=1, deletes=True)
async def test_the_slot_comes_back_under_its_id(trial: Trial) -> None:
    await named_until_settled(trial, Verb.DELETE)


async def named_until_settled(trial: Trial, verb: Verb) -> None:
    """Take one edge: the ack and every Get until the transition is over have the machine's id."""
    machine = trial.machine
    ack = await trial.begin(machine, verb)
    expect.fact(ack.response.machine.id == machine.id, wanted=f"id {machine.id}", got=ack.response.machine.id)
    loop = asyncio.get_running_loop()
    began, limit = loop.time(), machine.patience.for_verb(verb)
    while True:
        call = await expect.code(machine.get(), grpc.StatusCode.OK)
        expect.fact(
            call.response.id == machine.id,
            wanted=f"the machine asked for, {machine.id}, in each answer",
            got=repr(call.response.id),
            calls=[call],
        )
        if state_of(call.response.state) is EDGES[verb].target:
            return
        waited = loop.time() - began
        if waited > limit or call.response.state == State.FAILED:
            raise Unprepared(f"{machine.id} is {describe_machine(call.response)} after {verb.value}")
        await asyncio.sleep(max(FIRST_POLL, waited * 0.04))


@behaviour("LIF-5a", watches=BINDING)
async def test_the_host_stays_the_same_while_it_lives(trial: Trial) -> None:
    told = [sighting for sighting in (await shared_recording(trial)).seen if sighting.rpc != "List"]
    host = host_of(told[0].machine)
    expect.fact(all(host), wanted="an IDLE machine to have host.provider and host.ref", got=f"host {host}")
    for sighting in told:
        housed(sighting.machine, host, where=sighting.where)


@behaviour("LIF-5b", watches=LIFE)
async def test_a_host_comes_with_create_and_stays(trial: Trial) -> None:
    passage = await shared_recording(trial)
    first = next(passage.at(Verb.CREATE)).call
    host = next(host_of(s.machine) for s in passage.seen if s.rpc == "Get" and s.state is State.IDLE)
    expect.fact(all(host), wanted="an IDLE machine to have host.provider and host.ref", got=f"host {host}")
    # What is answered to a call sent again may be of the time of the first; and what List shows may be older.
    over = next(passage.at(Verb.CONFIGURE)).call.started
    gets = [call for call in passage.calls if call.rpc == "Get" and first.started <= call.started < over]
    told = [(first, first.response.machine)]
    told += [(call, call.response) for call in gets if isinstance(call.response, pb.Machine)]
    attached = min((call.ended for call, machine in told if machine.host.ref), default=math.inf)
    for call, machine in told:
        if call.started >= attached or machine.host.ref:  # who asked before that may have been answered before
            housed(machine, host, where=f"each {call.rpc} from the first answer with a host")


@behaviour("LIF-5c", machines=1, start=State.CONFIGURED)
async def test_slots_have_no_host_and_living_machines_have_one(trial: Trial) -> None:
    for machine in await trial.some():
        state = state_of(machine.state)
        if state is State.SPECULATIVE:
            expect.fact(
                not machine.host.ref,
                wanted=f"{machine.id}, SPECULATIVE, to have no host",
                got=f"host {host_of(machine)}",
            )
        if state in HOUSED:
            expect.fact(
                all(host_of(machine)),
                wanted=f"{machine.id}, {state.name}, to have host.provider and host.ref",
                got=f"host {host_of(machine)}",
            )


@behaviour("LIF-6a", machines=1, start=State.IDLE, transitions=2)
async def test_the_cluster_shows_from_configure_to_the_end_of_drain(trial: Trial) -> None:
    machine, cluster = trial.machine, trial.unique("cluster")
    bound(await machine.read(), cluster, where="Get")
    for verb in (Verb.CONFIGURE, Verb.DRAIN):
        asked = machine.configure(cluster=cluster) if verb is Verb.CONFIGURE else machine.drain()
        ack = await trial.begin(machine, verb, asked)
        bound(ack.response.machine, cluster, where=f"the ack of {verb.value}")
        bound(await machine.read(), cluster, where="Get")
        await bound_in_list(trial, machine, EDGES[verb].via, cluster)
        bound(await trial.bring(machine, EDGES[verb].target), cluster, where="Get")
        await bound_in_list(trial, machine, EDGES[verb].target, cluster)
        again = await (machine.configure(cluster=cluster) if verb is Verb.CONFIGURE else machine.drain())
        if again.ok:  # where not, that is OPS-2's matter
            bound(again.response.machine, cluster, where=f"the ack of {verb.value} sent again")


async def bound_in_list(trial: Trial, machine: Machine, state: State, cluster: str) -> None:
    """A List of `state` shows `cluster` while the machine is bound; one that lags may still show an older binding's."""
    shown = await trial.listed(machine, state)
    if shown is not None and shown.cluster in ("", cluster):
        bound(shown, cluster, where="List")


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
            bound(call.response.machine, cluster, where="the ack of Configure")
            bound(await trial.bring(machine, State.CONFIGURED), cluster, where="Get")
            return
    raise Unsupported("the provider takes no cluster_id with capitals, dots or spaces")


@behaviour("LIF-6d", machines=1, start=State.CONFIGURED)
async def test_within_one_listing_just_the_bound_machines_show_a_cluster(trial: Trial) -> None:
    for machine in await trial.some():
        state = state_of(machine.state)
        if state in BOUND:
            expect.fact(machine.cluster, wanted=f"{machine.id}, {state.name}, to show its cluster", got="no cluster")
        if state in UNBOUND:
            expect.fact(
                not machine.cluster,
                wanted=f"{machine.id}, {state.name}, to show no cluster",
                got=f"cluster {machine.cluster!r}",
            )


@behaviour("LIF-7a", machines=1, start=State.IDLE, transitions=6)
async def test_rounds_leave_no_trace(trial: Trial) -> None:
    machine = trial.machine
    for number in range(3):
        cluster, metadata = trial.unique("cluster"), {f"key-{number}": "value", "kept": str(number)}
        await trial.bind(machine, cluster=cluster, metadata=metadata)
        ack = await trial.drive(machine, Verb.DRAIN, machine.drain(grace=number % 2))
        if ack.response.machine.state == State.IDLE:
            traceless(ack.response.machine, where="the ack of Drain, IDLE,")
        traceless(await machine.read(), where=f"Get after round {number + 1}")
        shown = await trial.listed(machine, State.IDLE)
        if shown is not None:
            traceless(shown, where=f"List after round {number + 1}")


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
            traceless(slot, where=f"{where} after Delete")
            expect.fact(not slot.host.ref, wanted=f"{where} after Delete to show no host", got=describe_machine(slot))


@behaviour("LIF-8b", machines=1, start=State.IDLE, transitions=1)
async def test_without_delete_every_machine_answers_unimplemented(trial: Trial) -> None:
    machine = trial.machine
    without_delete(trial)
    await not_deleted(machine, State.IDLE)
    await trial.begin(machine, Verb.CONFIGURE)
    await expect.code(machine.delete(), grpc.StatusCode.UNIMPLEMENTED)
    await trial.bring(machine, State.CONFIGURED)
    await not_deleted(machine, State.CONFIGURED)
    await expect.code(trial.stranger().delete(), grpc.StatusCode.UNIMPLEMENTED)


@behaviour("LIF-8c", machines=1, start=State.SPECULATIVE)
async def test_without_delete_a_slot_answers_unimplemented(trial: Trial) -> None:
    without_delete(trial)
    await not_deleted(trial.machine, State.SPECULATIVE)


async def not_deleted(machine: Machine, state: State) -> None:
    """Delete of the machine at rest is UNIMPLEMENTED, and the machine stays where it is (LIF-8)."""
    await expect.code(machine.delete(), grpc.StatusCode.UNIMPLEMENTED)
    await expect.rests(machine, state)


def without_delete(trial: Trial) -> None:
    """Go on only where Delete is not there for an id that does not exist."""
    if trial.found.delete:
        raise Unsupported("the provider has Delete")
