"""MET: each machine has its own metadata, stored completely or refused (contract §6).

Machines are bound concurrently, to detect a map that they share. Large maps are tried on one machine.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conformance.core.errors import Unprepared
from conformance.core.lifecycle import State, Verb
from conformance.suite._metadata import (
    IDLE_OR_BOUND,
    TOO_LARGE,
    bind_to,
    check_shown,
    configure_with,
    readings_of_binding,
)
from conformance.suite._names import CLUSTER_TAILS
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.observer import observe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.core.fencing import Shard
    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial


def own_metadata(machine: Machine) -> dict[str, str]:
    """Returns a map with a key that all machines have and a key that only this machine has."""
    return {"owner": machine.id, f"only of {machine.id}": "yes"}


@behaviour("MET-3a", machines=3, transitions=2)
async def test_machines_bound_together_keep_their_maps_apart(trial: Trial) -> None:
    one, other, bystander = trial.machines
    stem = trial.unique("cluster")  # the names of the two clusters differ only in case
    async with (
        observe(trial, one, states=IDLE_OR_BOUND) as first,
        observe(trial, other, states=IDLE_OR_BOUND) as second,
    ):
        (cluster, _), (other_cluster, _) = await asyncio.gather(
            bind_to(trial, one, CLUSTER_TAILS["case"], own_metadata(one), stem=stem),
            bind_to(trial, other, CLUSTER_TAILS["other case"], own_metadata(other), stem=stem),
        )
    for seen, name in ((first, cluster), (second, other_cluster)):
        for reading in readings_of_binding(seen, name):
            expect.echoes(reading.machine, own_metadata(seen.machine), where=reading.where)
        await check_shown(trial, seen.machine, own_metadata(seen.machine))
    await check_shown(trial, bystander, {})


async def bind_by_one_shard(trial: Trial) -> Shard:
    """Binds all machines of the trial to one cluster, each with its own map, by calls of one shard; returns the shard.

    Each call is answered before the next one is sent, with a newer token, as any scope of marks requires (FEN-13).
    """
    cluster, shard = trial.unique("cluster"), trial.new_shard()
    for machine in trial.machines:
        await expect.acked(machine.configure(shard, cluster=cluster, metadata=own_metadata(machine)))
    for machine in trial.machines:
        state = (await machine.settle()).state
        if state is not State.CONFIGURED:
            raise Unprepared(f"{machine.id} is {state.name} after Configure by a shard that binds several machines")
    return shard


@behaviour("MET-3b", machines=2, transitions=3)
async def test_a_drain_takes_only_its_own_metadata(trial: Trial) -> None:
    one, other = trial.machines
    shard = await bind_by_one_shard(trial)
    await trial.drive(one, Verb.DRAIN, one.drain(shard))
    await check_shown(trial, other, own_metadata(other))
    await check_shown(trial, one, {})


@behaviour("MET-3c", machines=2, transitions=2)
async def test_machines_of_one_cluster_keep_their_maps_apart(trial: Trial) -> None:
    await bind_by_one_shard(trial)
    for machine in trial.machines:
        await check_shown(trial, machine, own_metadata(machine))


async def check_stored_or_refused(trial: Trial, machine: Machine, metadata: Mapping[str, str], *, what: str) -> Call:
    """Checks that Configure stores all of `metadata`, or refuses it as too large and changes nothing; then drains."""
    before = await machine.read()
    call = await machine.configure(metadata=metadata)
    if call.ok:
        expect.echoes(call.response.machine, metadata, where=f"the ack of Configure with {what}")
        watch = await machine.settle()
        if watch.state is not State.CONFIGURED:
            raise Unprepared(f"{machine.id} is {watch.state.name} after Configure with {what}")
        await check_shown(trial, machine, metadata)
        await trial.drive(machine, Verb.DRAIN)
    elif call.status in TOO_LARGE:
        await expect.unchanged(machine, before, by=f"the refused Configure with {what}")
    else:
        control = await machine.configure(metadata={"plain": "value"})
        if not control.ok:
            raise Unprepared(f"Configure of {machine.id} answered {control.outcome()}")
        await expect.code(call, *TOO_LARGE)
    return call


@behaviour("MET-4a", machines=1, transitions=2)
async def test_64_keys_and_16_kib_are_taken(trial: Trial) -> None:
    metadata = {f"key-{number:02}": "v" * (256 - len("key-00")) for number in range(64)}
    await configure_with(trial.machine, metadata, plain={"plain": "value"})
    await check_shown(trial, trial.machine, metadata)


@behaviour("MET-4b", machines=1, transitions=2)
async def test_many_keys_are_kept_whole_or_refused(trial: Trial) -> None:
    for count in (256, 2000):
        metadata = {f"{number:04}": str(number) for number in range(count)}
        await check_stored_or_refused(trial, trial.machine, metadata, what=f"{count} keys")


@behaviour("MET-4c", machines=1, transitions=4)
async def test_long_values_are_kept_whole_or_refused(trial: Trial) -> None:
    machine = trial.machine
    await check_stored_or_refused(
        trial, machine, {"long": "ä" * 1000 + "a" * 9000, "k" * 2000: "v"}, what="13 kB in two keys"
    )
    await check_stored_or_refused(trial, machine, {"long": "ä" * (1 << 19) + "end"}, what="1 MiB in one value")
    # Refused metadata, and metadata of a drained binding, must not appear in the next binding.
    await trial.bind(machine, cluster=machine.cluster, metadata={"small": "1"})
    await check_shown(trial, machine, {"small": "1"})
