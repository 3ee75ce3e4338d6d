"""LIF: what a machine shows during each transition, as a shard requires it (contract §12).

A shard rejects a record with a host or a cluster in a state that has none, and one without them in a state that needs
them. The shared recordings show each transition without starting further machines.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from conformance.core.errors import Unsupported
from conformance.core.lifecycle import SHOWN, Presence, State, Verb, state_of
from conformance.suite._shown import check_cluster_presence, check_host_presence, host_of
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.observer import observe
from conformance.testkit.recording import BINDING, LEAVING, LIFE, shared_recording

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.testkit.observations import Observation, Recording
    from conformance.testkit.trial import Trial


def readings_in(recording: Recording, state: State) -> Sequence[Observation]:
    """Returns the readings of the recording in this state. Raises Unsupported if the transition ended with its ack.

    In that case even the ack shows the machine at its target.
    """
    readings = [reading for reading in recording.seen if reading.state is state]
    if not readings:
        raise Unsupported(f"{recording.machine} was not seen {state.name}: the transition was too fast")
    return readings


@behaviour("LIF-5d", watches=LIFE)
async def test_a_machine_that_is_created_has_no_host_yet(trial: Trial) -> None:
    for reading in readings_in(await shared_recording(trial), State.CREATING):
        check_host_presence(reading.machine, where=reading.rpc)


@behaviour("LIF-5e", watches=LEAVING)
async def test_a_machine_that_is_deleted_still_has_its_host(trial: Trial) -> None:
    recording = await shared_recording(trial)
    host = host_of(recording.seen[0].machine)
    for reading in readings_in(recording, State.DELETING):
        check_host_presence(reading.machine, where=reading.rpc)
        shown = host_of(reading.machine)
        # A List that lags may show an earlier Delete of the same slot, with another host.
        expect.fact(
            shown == host or reading.rpc == "List",
            wanted=f"{reading.where} to show host {host} until Delete ends",
            got=f"host {shown}",
        )


@behaviour("LIF-5f", machines=2, start=State.IDLE)
async def test_no_two_living_machines_show_the_same_host(trial: Trial) -> None:
    for host, ids in shared_hosts(await trial.undisturbed()).items():
        # In a List that was assembled slowly, one machine may have got the host that the other one had lost.
        calls = [await trial.client.get(machine_id) for machine_id in sorted(ids)]
        again = shared_hosts(call.response for call in calls if call.ok)
        expect.fact(
            host not in again,
            wanted="every living machine to show a host of its own",
            got=f"{' and '.join(sorted(again.get(host, ()))[:3])} show host {host}",
            calls=calls[:3],
        )


def shared_hosts(machines: Iterable[pb.Machine]) -> dict[tuple[str, str], set[str]]:
    """Returns the hosts that several living machines show, each with the ids of these machines."""
    ids: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for machine in machines:
        if SHOWN[state_of(machine.state)].host is Presence.SET and machine.host.ref:
            ids[host_of(machine)].add(machine.id)
    return {host: owners for host, owners in ids.items() if len(owners) > 1}


@behaviour("LIF-6e", machines=1, start=State.IDLE, transitions=4)
async def test_a_machine_that_is_configured_shows_no_other_cluster(trial: Trial) -> None:
    machine, earlier, cluster = trial.machine, trial.unique("earlier"), trial.unique("cluster")
    await trial.bind(machine, cluster=earlier)
    await trial.drive(machine, Verb.DRAIN)
    async with observe(trial, machine, rpcs=("Get",), enough=State.CONFIGURING) as seen:
        ack = await trial.bind(machine, cluster=cluster)
    shown = [("the ack of Configure", ack.response.machine)]
    shown += [(reading.where, reading.machine) for reading in seen.at(State.CONFIGURING)]
    configuring = [(where, each) for where, each in shown if state_of(each.state) is State.CONFIGURING]
    if not configuring:
        raise Unsupported(f"{machine.id} was not seen CONFIGURING: the transition was too fast")
    for where, each in configuring:
        expect.fact(
            each.cluster in ("", cluster),
            wanted=f"{where} to show cluster {cluster!r}, or none yet",
            got=f"cluster {each.cluster!r}" + (", of the previous binding" if each.cluster == earlier else ""),
            calls=[ack],
        )


@behaviour("LIF-6f", watches=LIFE)
async def test_a_machine_that_is_created_shows_no_cluster(trial: Trial) -> None:
    for reading in readings_in(await shared_recording(trial), State.CREATING):
        check_cluster_presence(reading.machine, where=reading.rpc)


@behaviour("LIF-6g", watches=LEAVING)
async def test_a_machine_that_is_deleted_shows_no_cluster(trial: Trial) -> None:
    for reading in readings_in(await shared_recording(trial), State.DELETING):
        check_cluster_presence(reading.machine, where=reading.rpc)


@behaviour("LIF-6h", watches=BINDING)
async def test_a_machine_that_is_configured_shows_its_cluster(trial: Trial) -> None:
    for reading in readings_in(await shared_recording(trial), State.CONFIGURING):
        expect.fact(reading.machine.cluster, wanted=f"{reading.where} to show the cluster", got="no cluster")
