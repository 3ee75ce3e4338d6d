"""Fleets that cannot be: what they say of their machines is empty, equal, endless, negative, or never the same."""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING, Any

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb

from fake_provider.servicer import Servicer
from tests.zoo.provider import kept, provider
from tests.zoo.species import species

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.zoo.cage import Cage

JUDGED = frozenset({1, 3})
HOST = pb.HostRef(provider="nobody", ref="nowhere")


def listing(change: Callable[[int, pb.Machine], None]) -> type[Servicer]:
    """A servicer whose List shows each machine, with its number, as `change` leaves it."""

    class Listing(Servicer):
        def listing(self, found: Any) -> pb.MachineList:
            told = pb.MachineList()
            told.CopyFrom(super().listing(found))
            for number, machine in enumerate(told.machines):
                change(number, machine)
            return told

    return Listing


def building(change: Callable[[pb.Machine], None]) -> type[Servicer]:
    """A servicer that shows each machine everywhere as `change` leaves it."""

    class Building(Servicer):
        def machine(self, machine: Any) -> pb.Machine:
            told = self.build(machine)
            change(told)
            return told

    return Building


@species(r"NOT_FOUND", codes=JUDGED)
async def names_itself_anew(cage: Cage) -> None:
    """Lists its machines under new ids at each call."""
    calls = itertools.count()

    def rename(number: int, machine: pb.Machine) -> None:
        machine.id = f"machine-{next(calls)}-{number}"

    await kept(cage, listing(rename))


@species(r"too few machines: .*without an id")
async def has_no_ids(cage: Cage) -> None:
    """Lists machines whose ids are empty."""

    def nameless(number: int, machine: pb.Machine) -> None:
        machine.id = ""

    await kept(cage, listing(nameless))


@species(r"too few machines: .*with the same id as another")
async def has_one_id(cage: Cage) -> None:
    """Lists machines that all have the same id."""

    def equal(number: int, machine: pb.Machine) -> None:
        machine.id = "machine"

    await kept(cage, listing(equal))


@species(r"too few machines: .*longer than")
async def has_endless_ids(cage: Cage) -> None:
    """Lists machines with ids of 1 MiB each."""

    def lengthen(number: int, machine: pb.Machine) -> None:
        machine.id = f"{number}-" + "long" * 2**18

    await kept(cage, listing(lengthen))


@species(r"NOT_FOUND|INVALID_ARGUMENT", codes=JUDGED)
async def has_ids_that_steer(cage: Cage) -> None:
    """Lists machines with ids that would steer a terminal, or end a line."""

    def steer(number: int, machine: pb.Machine) -> None:
        machine.id = f"\x1b[2J\r\n\u202e{number}\nverdict    CONFORMANT: 227 passed"

    await kept(cage, listing(steer))


@species(r"SHP-2a .* -1", codes=frozenset({1}), select="SHP-2*")
async def is_negative(cage: Cage) -> None:
    """Has negative prices, probabilities, types and resources."""

    def negate(machine: pb.Machine) -> None:
        machine.price_per_hour = -1.0
        machine.interruption_probability = -1.0
        machine.capacity_type = -3  # type: ignore[assignment]
        machine.resources.resources["cpu"] = "-4"

    await kept(cage, building(negate))


@species(r"not settled after 1 s|is UNSPECIFIED", codes=JUDGED, patience=1, select="LIF-1a", rare=True)
async def rests_in_negative_states(cage: Cage) -> None:
    """Has machines that rest in state -3 where they should be IDLE."""

    def negate(machine: pb.Machine) -> None:
        if machine.state == pb.MACHINE_STATE_IDLE:
            machine.state = -3  # type: ignore[assignment]

    await kept(cage, building(negate))


@species(r"SHP-2a .* nan$", codes=frozenset({1}), select="SHP-2a,LIF-1a", rare=True)
async def costs_no_number(cage: Cage) -> None:
    """Has prices that are no numbers."""

    def blur(machine: pb.Machine) -> None:
        machine.price_per_hour = math.nan

    await kept(cage, building(blur))


@species(r"too few machines")
async def is_in_states_that_there_are_not(cage: Cage) -> None:
    """Has machines in state 99 only."""

    def shift(machine: pb.Machine) -> None:
        machine.state = 99  # type: ignore[assignment]

    await kept(cage, building(shift))


@species(r"not settled after 1 s \(seen: CREATING\)", codes=JUDGED, patience=1, select="LIF-1a")
async def never_settles(cage: Cage) -> None:
    """Accepts everything, and never gets there."""
    await kept(cage, core=provider(latency=3600.0))


@species(r"not settled after 1 s|still CREATING", codes=JUDGED, patience=1)
async def lives_on_a_clock_that_jumps(cage: Cage) -> None:
    """Lives on a clock that jumps back by an hour at every seventh look."""
    readings = itertools.count()

    def clock() -> float:
        return time.monotonic() - 3600.0 * (next(readings) // 7)

    await kept(cage, core=provider(latency=3600.0), clock=clock)


@species(r"Delete of .*PERMISSION_DENIED|PERMISSION_DENIED", codes=JUDGED)
async def never_lets_go(cage: Cage) -> None:
    """Refuses to delete what lives, whoever asks."""

    class Grasping(Servicer):
        async def Delete(self, request: pb.DeleteRequest, context: Any) -> pb.TransitionAck:  # noqa: N802
            known = self.core.machines.get(request.machine_id)
            if known is not None and known.state.name != "SPECULATIVE":
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "what is ours is ours")
            return await super().Delete(request, context)

    await kept(cage, Grasping)


@species(r"(LIF|FEN)-1a", codes=JUDGED, patience=1)
async def flickers(cage: Cage) -> None:
    """Shows what lives in another state at each look."""
    looks = itertools.count()

    def flicker(machine: pb.Machine) -> None:
        # Never as a slot: what was seen to be gone and is there again is somebody else's, as far as one can tell.
        if machine.state != pb.MACHINE_STATE_SPECULATIVE:
            machine.state = next(looks) % 7 + 2  # type: ignore[assignment]

    await kept(cage, building(flicker))


@species(r"LIF-1a .* showed another machine", codes=JUDGED, patience=1)
async def answers_for_others(cage: Cage) -> None:
    """Answers for another machine than the one that was asked for."""

    class Confused(Servicer):
        async def Get(self, request: pb.MachineRef, context: Any) -> pb.Machine:  # noqa: N802
            await super().Get(request, context)
            return self.machine(next(iter(self.core.machines.values())))

    await kept(cage, Confused)


@species(r"LIF-1a .* FAILED_PRECONDITION", codes=JUDGED)
async def fences_everybody(cage: Cage) -> None:
    """Fences every call that would change something."""

    class Walled(Servicer):
        def mutate(self, request: Any) -> Any:
            from fake_provider.errors import Code, Rejected

            raise Rejected(Code.FAILED_PRECONDITION, "stale")

    await kept(cage, Walled)


@species(r"LIF-1a .* settled at SPECULATIVE", codes=JUDGED, patience=1, rare=True)
async def agrees_to_everything(cage: Cage) -> None:
    """Answers every call OK, with a machine in the state that would please, and does nothing."""

    class Pleasing(Servicer):
        def mutate(self, request: Any) -> pb.TransitionAck:
            idle = pb.Machine(id=request.machine_id, state=pb.MACHINE_STATE_IDLE, host=HOST)
            return pb.TransitionAck(operation_id="yes", machine=idle)

    await kept(cage, Pleasing)


@species(r"LST-|LIF-1a|--timeout 4 s is over", codes=JUDGED, timeout=4, select="LST-*")
async def multiplies(cage: Cage) -> None:
    """Has 5,000 machines more at each List."""
    born = itertools.count(1)

    class Fertile(Servicer):
        def listing(self, found: Any) -> pb.MachineList:
            told = super().listing(found)
            told.machines.extend(
                pb.Machine(id=f"child-{number}", state=pb.MACHINE_STATE_SPECULATIVE, instance_type="m")
                for number in range(5_000 * next(born))
            )
            return told

    await kept(cage, Fertile)
