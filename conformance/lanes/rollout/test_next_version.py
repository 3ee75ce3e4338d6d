"""ROL-3: a newer version of the provider on the state of the older one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from conformance.core.errors import NotObserved
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.lanes.rollout.older_client import OlderClient
from conformance.lanes.rollout.stops import at_rest, has_new_ids, is_as_it_was, judge_all, marks_hold, marks_of, stop
from conformance.rpc.call import describe_machine
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.restarted import Edge, back, look

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.fleet.machine import Machine
    from conformance.testkit.trial import Trial

UPGRADE: Final = "the start of the newer version"
POLL_S: Final = 0.02
CIRCLE: Final = (Verb.CONFIGURE, Verb.DRAIN, Verb.DELETE, Verb.CREATE)
"""The edges of an IDLE machine, in the order in which they lead back to IDLE."""


@behaviour("ROL-3a", machines=4, start=State.IDLE, bound=1, transitions=5, upgrades=True)
async def test_the_newer_version_has_everything_as_it_was(trial: Trial) -> None:
    if not trial.restarts.can_upgrade:
        raise NotObserved("the newer version runs already")
    drained, bound, *moving = trial.machines
    rest = await at_rest(trial, drained, bound)
    marks = await marks_of(trial, (drained, bound))
    edges = [Edge.of(trial, moving[0], Verb.CONFIGURE), Edge.of(trial, moving[1], Verb.DRAIN)]
    seen, before = {edge.machine.id: await edge.machine.read() for edge in edges}, await look(trial)
    calls = [await trial.begin(edge.machine, edge.verb, edge.send()) for edge in edges]
    await stop(trial, upgrade=True)
    await back(trial, before, UPGRADE, moving=seen.keys(), whole=True)
    await is_as_it_was(rest, UPGRADE)
    await marks_hold(marks)
    await judge_all(trial, list(zip(edges, calls, strict=True)), seen, UPGRADE)
    await has_new_ids(trial, rest, UPGRADE)


@behaviour("ROL-3b", machines=1, start=State.IDLE, creates=True, transitions=6, upgrades=True)
async def test_a_client_of_the_older_contract_drives_the_newer_version(trial: Trial) -> None:
    """One whole life with the messages of the last released contract."""
    if trial.restarts.can_upgrade:
        before = await look(trial)
        await stop(trial, upgrade=True)
        await back(trial, before, UPGRADE)
    machine, older = trial.machine, OlderClient(trial.client)
    try:
        await older.wait_until_connected()
        for verb in CIRCLE if trial.found.delete else CIRCLE[:2]:
            edge = Edge.of(trial, machine, verb)
            await expect.acked(edge.send(client=older))
            shown = await settled(older, machine)
            expect.fact(
                state_of(shown.state) is EDGES[verb].target,
                wanted=f"{machine.id} to settle at {EDGES[verb].target.name} after {verb.value} of an older client",
                got=describe_machine(shown),
            )
            bound = verb is Verb.CONFIGURE
            expect.fact(
                shown.cluster == (edge.values["cluster"] if bound else ""),
                wanted=f"{machine.id} to show the cluster of an older client's {verb.value}",
                got=f"cluster {shown.cluster or 'none'}",
            )
            expect.echoes(shown, edge.values["metadata"] if bound else {}, where=f"{machine.id}, to an older client,")
            await expect.same_operation(await expect.acked(edge.send(client=older)), edge.send(client=older))
    finally:
        await older.close()


async def settled(client: OlderClient, machine: Machine) -> pb.Machine:
    """Returns the machine as soon as the client sees it at rest, or when it had time enough."""
    end = client.now() + machine.patience.longest
    while True:
        call = await client.get(machine.id)
        if not call.answered_ok:
            raise NotObserved(f"Get of {machine.id} answered {call.outcome()}")
        shown: pb.Machine = call.response
        if state_of(shown.state).stable or client.now() >= end:
            return shown
        await asyncio.sleep(POLL_S)
