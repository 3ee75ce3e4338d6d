"""SHP: type, resources, price and risk of a machine, by which a shard chooses (contract §8).

The fleet, or a sample of a large one, is checked as Lists and Gets show it, which costs nothing. The recording of a
machine that the kit drives shows whether the facts hold during transitions too.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.errors import Unsupported
from conformance.core.lifecycle import State, state_of
from conformance.rpc.call import cut
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.recording import BINDING, LEAVING, LIFE, shared_recording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.testkit.trial import Trial

MAX_LISTED, MAX_READ = 2000, 6
"""Maximum numbers of machines to check as List shows them, and to read by Get too."""
QUANTITY: Final = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)"
    r"([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?",
    re.ASCII,
)
"""A Kubernetes quantity, such as `2`, `1930m`, `7.5Gi` or `12e6`."""


def check_type(machine: pb.Machine, where: str) -> None:
    """Checks that state, instance type and capacity type are set (SHP-1)."""
    known = state_of(machine.state) is not State.UNSPECIFIED
    expect.fact(known, wanted=f"{where} to show a state", got=f"state {machine.state}")
    expect.fact(machine.instance_type, wanted=f"{where} to show an instance_type", got="an empty instance_type")
    specified = machine.capacity_type != pb.CAPACITY_TYPE_UNSPECIFIED
    expect.fact(specified, wanted=f"{where} to show a capacity_type", got="CAPACITY_TYPE_UNSPECIFIED")


def check_zone(machine: pb.Machine, where: str) -> None:
    """Checks that a machine with a host has a zone (SHP-1)."""
    if machine.host.ref:
        expect.fact(machine.zone, wanted=f"{where} to show a zone, as it has a host", got="an empty zone")


def check_price(machine: pb.Machine, where: str) -> None:
    """Checks that the price is finite and not negative (SHP-2)."""
    price = machine.price_per_hour
    expect.fact(
        math.isfinite(price) and price >= 0, wanted=f"{where} to show a finite price_per_hour of at least 0", got=price
    )


def check_risk(machine: pb.Machine, where: str) -> None:
    """Checks that the interruption probability is between 0 and 1, and above 0 for SPOT (SHP-2)."""
    risk = machine.interruption_probability
    expect.fact(0 <= risk <= 1, wanted=f"{where} to show an interruption_probability in [0, 1]", got=risk)
    if machine.capacity_type == pb.CAPACITY_TYPE_SPOT:
        expect.fact(risk > 0, wanted=f"{where}, SPOT, to show an interruption_probability above 0", got=risk)


def check_quantities(machine: pb.Machine, where: str) -> None:
    """Checks that resources are Kubernetes quantities (SHP-3)."""
    for field, resources in (("resources", machine.resources), ("allocatable", machine.allocatable)):
        for name, quantity in resources.resources.items():
            wanted = f"{where} to show a Kubernetes quantity for {name!r} in {field}"
            expect.fact(QUANTITY.fullmatch(quantity), wanted=wanted, got=repr(cut(quantity)))


def check_not_empty(machine: pb.Machine, where: str) -> None:
    """Checks that resources and allocatable are not empty if they are set (SHP-3)."""
    if machine.HasField("resources"):
        expect.fact(
            machine.resources.resources,
            wanted=f"{where} to show resources that are not empty, as the field is set",
            got="empty",
        )
    if machine.HasField("allocatable"):
        expect.fact(
            machine.allocatable.resources,
            wanted=f"{where} to show allocatable that is not empty, as the field is set",
            got="empty",
        )


def check_last_error(machine: pb.Machine, where: str) -> None:
    """Checks that a FAILED machine has a last_error, and no other machine (SHP-4)."""
    if state_of(machine.state) is State.FAILED:
        expect.fact(machine.last_error, wanted=f"{where}, FAILED, to show a last_error", got="an empty last_error")
    else:
        got = f"{state_of(machine.state).name} with last_error {cut(machine.last_error, 80)!r}"
        expect.fact(not machine.last_error, wanted=f"{where} to show a last_error only if FAILED", got=got)


async def fleet(trial: Trial) -> list[tuple[str, pb.Machine]]:
    """Returns machines of the fleet as a List shows them, and a few as Get does, each with the text that says where.

    Leaves out machines that other behaviours drive meanwhile.
    """
    resting = trial.resting()
    machines: Sequence[pb.Machine] = await trial.undisturbed()
    if len(machines) > MAX_LISTED:
        machines = trial.random.sample(machines, MAX_LISTED)
    readings = [(f"List of {machine.id}", machine) for machine in machines]
    some = [machine.id for machine in trial.random.sample(machines, min(MAX_READ, len(machines)))]
    for machine_id in [*some, *(machine.id for machine in trial.machines)]:
        call = await trial.client.get(machine_id)
        if call.ok:
            readings.append((f"Get of {machine_id}", call.response))
    elsewhere = trial.driven_elsewhere(resting)
    return [(where, machine) for where, machine in readings if machine.id not in elsewhere]


async def recorded(trial: Trial) -> list[tuple[str, pb.Machine]]:
    """Returns all readings and acks of the recording, each with the text that says where."""
    return [(reading.where, reading.machine) for reading in (await shared_recording(trial)).seen]


@behaviour("SHP-1a", machines=1)
async def test_every_machine_has_a_type(trial: Trial) -> None:
    for where, machine in await fleet(trial):
        check_type(machine, where)


@behaviour("SHP-1b", watches=BINDING)
async def test_every_machine_with_a_host_has_a_zone(trial: Trial) -> None:
    for where, machine in [*await fleet(trial), *await recorded(trial)]:
        check_zone(machine, where)


@behaviour("SHP-1f", watches=BINDING)
async def test_on_a_provider_with_zones_every_machine_with_a_host_has_one(trial: Trial) -> None:
    readings = [*await fleet(trial), *await recorded(trial)]
    zones = {machine.zone for _, machine in readings if machine.zone}
    if len(zones) < 2:
        raise Unsupported("the provider does not show more than one zone: SHP-1b judges it")
    for where, machine in readings:
        check_zone(machine, where)


@behaviour("SHP-1c", watches=BINDING)
async def test_a_machine_keeps_its_type_on_its_way(trial: Trial) -> None:
    for where, machine in await recorded(trial):
        check_type(machine, where)


@behaviour("SHP-1d", watches=LIFE)
async def test_a_slot_has_a_type_before_and_while_it_comes_to_life(trial: Trial) -> None:
    for where, machine in await recorded(trial):
        check_type(machine, where)


@behaviour("SHP-1e", watches=LEAVING)
async def test_a_slot_has_a_type_while_and_after_it_is_given_back(trial: Trial) -> None:
    for where, machine in await recorded(trial):
        check_type(machine, where)


@behaviour("SHP-2a", machines=1)
async def test_every_price_is_finite_and_not_negative(trial: Trial) -> None:
    for where, machine in await fleet(trial):
        check_price(machine, where)


@behaviour("SHP-2b", machines=1)
async def test_every_interruption_probability_is_one(trial: Trial) -> None:
    for where, machine in await fleet(trial):
        check_risk(machine, where)


@behaviour("SHP-2c", watches=BINDING)
async def test_a_machine_keeps_a_price_and_a_risk_on_its_way(trial: Trial) -> None:
    for where, machine in await recorded(trial):
        check_price(machine, where)
        check_risk(machine, where)


@behaviour("SHP-2d", watches=LIFE)
async def test_a_slot_has_a_price_and_a_risk_while_it_comes_to_life(trial: Trial) -> None:
    for where, machine in await recorded(trial):
        check_price(machine, where)
        check_risk(machine, where)


@behaviour("SHP-3a", machines=1)
async def test_resources_are_quantities(trial: Trial) -> None:
    for where, machine in await fleet(trial):
        check_quantities(machine, where)


@behaviour("SHP-3b", watches=BINDING)
async def test_resources_that_are_set_are_not_empty(trial: Trial) -> None:
    for where, machine in [*await fleet(trial), *await recorded(trial)]:
        check_not_empty(machine, where)


@behaviour("SHP-4a", machines=1)
async def test_failed_and_only_failed_says_why(trial: Trial) -> None:
    for where, machine in await fleet(trial):
        check_last_error(machine, where)


@behaviour("SHP-4b", watches=BINDING)
async def test_a_machine_shows_no_error_on_its_way(trial: Trial) -> None:
    for where, machine in await recorded(trial):
        check_last_error(machine, where)


@behaviour("SHP-4d", watches=LIFE)
async def test_a_machine_that_comes_shows_no_error(trial: Trial) -> None:
    for where, machine in await recorded(trial):
        check_last_error(machine, where)


@behaviour("SHP-4e", watches=LEAVING)
async def test_a_machine_that_goes_shows_no_error(trial: Trial) -> None:
    for where, machine in await recorded(trial):
        check_last_error(machine, where)


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
        check_last_error(await machine.read(), f"Get of {machine.id} after refused calls")
    listing = await trial.list([State.CONFIGURED, State.IDLE])
    for seen in listing.machines:
        if seen.id in (bound.id, other.id):
            check_last_error(seen, f"List of {seen.id} after refused calls")
