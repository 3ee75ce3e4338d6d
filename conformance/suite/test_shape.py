"""SHP: what a machine is and costs, so that a shard can choose (contract §8).

The fleet is looked at as it is, one answer at a time, which costs nothing; a machine of our own shows whether
the shape holds while it moves. Of a large fleet a sample is looked at.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.lifecycle import State, state_of
from conformance.rpc.call import cut
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.recording import BINDING, LEAVING, LIFE, shared_recording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.testkit.trial import Trial

SAMPLE, READ = 2000, 6
QUANTITY: Final = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)"
    r"([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?",
    re.ASCII,
)
"""What Kubernetes reads as a quantity: `2`, `1930m`, `7.5Gi`, `12e6`."""


def typed(machine: pb.Machine, where: str) -> None:
    """State, instance type and capacity type are there (SHP-1)."""
    known = state_of(machine.state) is not State.UNSPECIFIED
    expect.fact(known, wanted=f"{where} to show a state", got=f"state {machine.state}")
    expect.fact(machine.instance_type, wanted=f"{where} to show an instance_type", got="none")
    specified = machine.capacity_type != pb.CAPACITY_TYPE_UNSPECIFIED
    expect.fact(specified, wanted=f"{where} to show a capacity_type", got="CAPACITY_TYPE_UNSPECIFIED")


def zoned(machine: pb.Machine, where: str) -> None:
    """A machine with a host is somewhere (SHP-1)."""
    if machine.host.ref:
        expect.fact(machine.zone, wanted=f"{where} to show a zone, as it has a host", got="none")


def priced(machine: pb.Machine, where: str) -> None:
    """The price is one (SHP-2)."""
    price = machine.price_per_hour
    expect.fact(math.isfinite(price) and price >= 0, wanted=f"{where} to cost a finite price, not below 0", got=price)


def risked(machine: pb.Machine, where: str) -> None:
    """The probability is one, and SPOT is never safe (SHP-2)."""
    risk = machine.interruption_probability
    expect.fact(0 <= risk <= 1, wanted=f"{where} to have an interruption_probability in [0, 1]", got=risk)
    if machine.capacity_type == pb.CAPACITY_TYPE_SPOT:
        expect.fact(risk > 0, wanted=f"{where}, SPOT, to have an interruption_probability above 0", got=risk)


def quantified(machine: pb.Machine, where: str) -> None:
    """Resources are quantities (SHP-3)."""
    for field, resources in (("resources", machine.resources), ("allocatable", machine.allocatable)):
        for name, quantity in resources.resources.items():
            wanted = f"{where} to hold a Kubernetes quantity for {name!r} in {field}"
            expect.fact(QUANTITY.fullmatch(quantity), wanted=wanted, got=repr(cut(quantity)))


def filled(machine: pb.Machine, where: str) -> None:
    """What is set is not empty (SHP-3)."""
    if machine.HasField("resources"):
        expect.fact(machine.resources.resources, wanted=f"{where}: resources not empty, as set", got="empty")
    if machine.HasField("allocatable"):
        expect.fact(machine.allocatable.resources, wanted=f"{where}: allocatable not empty, as set", got="empty")


def explained(machine: pb.Machine, where: str) -> None:
    """FAILED says why, and nothing else does (SHP-4)."""
    if state_of(machine.state) is State.FAILED:
        expect.fact(machine.last_error, wanted=f"{where}, FAILED, to say why in last_error", got="nothing")
    else:
        got = f"{state_of(machine.state).name} with last_error {cut(machine.last_error, 80)!r}"
        expect.fact(not machine.last_error, wanted=f"{where} to have a last_error only if FAILED", got=got)


async def fleet(trial: Trial) -> list[tuple[str, pb.Machine]]:
    """The machines of one List, a few of them by Get too, each with where it was seen."""
    machines: Sequence[pb.Machine] = await trial.some()
    if len(machines) > SAMPLE:
        machines = trial.random.sample(machines, SAMPLE)
    seen = [(f"List of {machine.id}", machine) for machine in machines]
    some = [machine.id for machine in trial.random.sample(machines, min(READ, len(machines)))]
    for machine_id in [*some, *(machine.id for machine in trial.machines)]:
        call = await trial.client.get(machine_id)
        if call.ok:
            seen.append((f"Get of {machine_id}", call.response))
    return seen


async def shown(trial: Trial) -> list[tuple[str, pb.Machine]]:
    """Whatever was shown of a machine of ours on its way, acks included, each with where it was seen."""
    return [(sighting.where, sighting.machine) for sighting in (await shared_recording(trial)).seen]


@behaviour("SHP-1a", machines=1)
async def test_every_machine_has_a_type(trial: Trial) -> None:
    for where, machine in await fleet(trial):
        typed(machine, where)


@behaviour("SHP-1b", watches=BINDING)
async def test_every_machine_with_a_host_has_a_zone(trial: Trial) -> None:
    for where, machine in [*await fleet(trial), *await shown(trial)]:
        zoned(machine, where)


@behaviour("SHP-1c", watches=BINDING)
async def test_a_machine_keeps_its_type_on_its_way(trial: Trial) -> None:
    for where, machine in await shown(trial):
        typed(machine, where)


@behaviour("SHP-1d", watches=LIFE)
async def test_a_slot_has_a_type_before_and_while_it_comes_to_life(trial: Trial) -> None:
    for where, machine in await shown(trial):
        typed(machine, where)


@behaviour("SHP-1e", watches=LEAVING)
async def test_a_slot_has_a_type_while_and_after_it_is_given_back(trial: Trial) -> None:
    for where, machine in await shown(trial):
        typed(machine, where)


@behaviour("SHP-2a", machines=1)
async def test_every_price_is_finite_and_not_negative(trial: Trial) -> None:
    for where, machine in await fleet(trial):
        priced(machine, where)


@behaviour("SHP-2b", machines=1)
async def test_every_interruption_probability_is_one(trial: Trial) -> None:
    for where, machine in await fleet(trial):
        risked(machine, where)


@behaviour("SHP-2c", watches=BINDING)
async def test_a_machine_keeps_a_price_and_a_risk_on_its_way(trial: Trial) -> None:
    for where, machine in await shown(trial):
        priced(machine, where)
        risked(machine, where)


@behaviour("SHP-2d", watches=LIFE)
async def test_a_slot_has_a_price_and_a_risk_while_it_comes_to_life(trial: Trial) -> None:
    for where, machine in await shown(trial):
        priced(machine, where)
        risked(machine, where)


@behaviour("SHP-3a", machines=1)
async def test_resources_are_quantities(trial: Trial) -> None:
    for where, machine in await fleet(trial):
        quantified(machine, where)


@behaviour("SHP-3b", watches=BINDING)
async def test_resources_that_are_set_are_not_empty(trial: Trial) -> None:
    for where, machine in [*await fleet(trial), *await shown(trial)]:
        filled(machine, where)


@behaviour("SHP-4a", machines=1)
async def test_failed_and_only_failed_says_why(trial: Trial) -> None:
    for where, machine in await fleet(trial):
        explained(machine, where)


@behaviour("SHP-4b", watches=BINDING)
async def test_a_machine_shows_no_error_on_its_way(trial: Trial) -> None:
    for where, machine in await shown(trial):
        explained(machine, where)


@behaviour("SHP-4d", watches=LIFE)
async def test_a_machine_that_comes_shows_no_error(trial: Trial) -> None:
    for where, machine in await shown(trial):
        explained(machine, where)


@behaviour("SHP-4e", watches=LEAVING)
async def test_a_machine_that_goes_shows_no_error(trial: Trial) -> None:
    for where, machine in await shown(trial):
        explained(machine, where)


@behaviour("SHP-4c", machines=2, bound=1)
async def test_a_refused_call_is_not_the_machines_error(trial: Trial) -> None:
    other, bound = trial.machines
    await bound.create()
    await bound.configure(cluster=trial.unique("cluster"))
    if trial.found.delete:
        await bound.delete()
    await bound.drain(grace=-1)
    await other.configure(cluster="")
    for machine in (bound, other):
        await machine.settle()
        explained(await machine.read(), f"Get of {machine.id} after refused calls")
    listing = await trial.list([State.CONFIGURED, State.IDLE])
    for seen in listing.machines:
        if seen.id in (bound.id, other.id):
            explained(seen, f"List of {seen.id} after refused calls")
