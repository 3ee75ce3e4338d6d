"""Species with impossible fleets: ids and fields that are empty, equal, too long, negative, or always different."""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING, Any

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb

from fake_provider.servicer import Servicer
from tests.zoo.provider import provider, serve_until_over
from tests.zoo.species import species

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.zoo.sandbox import Sandbox

JUDGED = frozenset({1, 3})
BROKEN = frozenset({1})
HOST = pb.HostRef(provider="none", ref="unknown")


def listing(change: Callable[[int, pb.Machine], None]) -> type[Servicer]:
    """Returns a servicer that calls `change` on each machine of a List, with its index."""

    class Listing(Servicer):
        def listing(self, found: Any) -> pb.MachineList:
            answer = pb.MachineList()
            answer.CopyFrom(super().listing(found))
            for number, machine in enumerate(answer.machines):
                change(number, machine)
            return answer

    return Listing


def building(change: Callable[[pb.Machine], None]) -> type[Servicer]:
    """Returns a servicer that calls `change` on each machine in all answers."""

    class Building(Servicer):
        def machine(self, machine: Any) -> pb.Machine:
            built = self.build(machine)
            change(built)
            return built

    return Building


@species(r"NOT_FOUND", codes=JUDGED)
async def names_itself_anew(sandbox: Sandbox) -> None:
    """Lists its machines under new ids at each call."""
    calls = itertools.count()

    def rename(number: int, machine: pb.Machine) -> None:
        machine.id = f"machine-{next(calls)}-{number}"

    await serve_until_over(sandbox, listing(rename))


@species(r"LST-3a is broken: .*; so too few machines: .*without an id", codes=BROKEN)
async def has_no_ids(sandbox: Sandbox) -> None:
    """Lists machines whose ids are empty."""

    def nameless(number: int, machine: pb.Machine) -> None:
        machine.id = ""

    await serve_until_over(sandbox, listing(nameless))


@species(r"LST-3a is broken: .*; so too few machines: .*with the same id as another", codes=BROKEN)
async def has_one_id(sandbox: Sandbox) -> None:
    """Lists machines that all have the same id."""

    def equal(number: int, machine: pb.Machine) -> None:
        machine.id = "machine"

    await serve_until_over(sandbox, listing(equal))


@species(r"LST-4a is broken: .*; so too few machines", codes=BROKEN)
async def has_endless_ids(sandbox: Sandbox) -> None:
    """Lists machines with ids of 1 MiB each."""

    def lengthen(number: int, machine: pb.Machine) -> None:
        machine.id = f"{number}-" + "long" * 2**18

    await serve_until_over(sandbox, listing(lengthen))


@species(r"NOT_FOUND|INVALID_ARGUMENT", codes=JUDGED)
async def has_ids_that_steer(sandbox: Sandbox) -> None:
    """Lists machines whose ids contain terminal control sequences and line breaks."""

    def steer(number: int, machine: pb.Machine) -> None:
        machine.id = f"\x1b[2J\r\n\u202e{number}\nverdict    CONFORMANT: 227 passed"

    await serve_until_over(sandbox, listing(steer))


@species(r"SHP-2[a-d] .* -1", codes=frozenset({1}), select="SHP-2*")
async def is_negative(sandbox: Sandbox) -> None:
    """Has negative prices, probabilities, types and resources."""

    def negate(machine: pb.Machine) -> None:
        machine.price_per_hour = -1.0
        machine.interruption_probability = -1.0
        machine.capacity_type = -3  # type: ignore[assignment]
        machine.resources.resources["cpu"] = "-4"

    await serve_until_over(sandbox, building(negate))


@species(r"not settled after 1 s|is UNSPECIFIED", codes=JUDGED, patience=1, select="LIF-1a", rare=True)
async def rests_in_negative_states(sandbox: Sandbox) -> None:
    """Shows IDLE machines in state -3."""

    def negate(machine: pb.Machine) -> None:
        if machine.state == pb.MACHINE_STATE_IDLE:
            machine.state = -3  # type: ignore[assignment]

    await serve_until_over(sandbox, building(negate))


@species(r"SHP-2a .* nan$", codes=frozenset({1}), select="SHP-2a,LIF-1a", rare=True)
async def costs_no_number(sandbox: Sandbox) -> None:
    """Has prices that are NaN."""

    def blur(machine: pb.Machine) -> None:
        machine.price_per_hour = math.nan

    await serve_until_over(sandbox, building(blur))


@species(r"SHP-1a is broken: .*; so too few machines", codes=BROKEN)
async def is_in_states_that_there_are_not(sandbox: Sandbox) -> None:
    """Has only machines in state 99."""

    def shift(machine: pb.Machine) -> None:
        machine.state = 99  # type: ignore[assignment]

    await serve_until_over(sandbox, building(shift))


@species(r"not settled after 1 s \(seen: CREATING\)", codes=JUDGED, patience=1, select="LIF-1a")
async def never_settles(sandbox: Sandbox) -> None:
    """Accepts every call, and never ends a transition."""
    await serve_until_over(sandbox, core=provider(latency=3600.0))


@species(r"not settled after 1 s|still CREATING", codes=JUDGED, patience=1)
async def lives_on_a_clock_that_jumps(sandbox: Sandbox) -> None:
    """Uses a clock that jumps back by an hour at every seventh reading."""
    readings = itertools.count()

    def clock() -> float:
        return time.monotonic() - 3600.0 * (next(readings) // 7)

    await serve_until_over(sandbox, core=provider(latency=3600.0), clock=clock)


@species(r"Delete of .*PERMISSION_DENIED|PERMISSION_DENIED", codes=JUDGED)
async def never_lets_go(sandbox: Sandbox) -> None:
    """Rejects every Delete of a running machine."""

    class NoDelete(Servicer):
        async def Delete(self, request: pb.DeleteRequest, context: Any) -> pb.TransitionAck:  # noqa: N802
            known = self.core.machines.get(request.machine_id)
            if known is not None and known.state.name != "SPECULATIVE":
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this machine is protected")
            return await super().Delete(request, context)

    await serve_until_over(sandbox, NoDelete)


@species(r"LIF-[123][a-c]|FEN-1a", codes=JUDGED, patience=1)
async def flickers(sandbox: Sandbox) -> None:
    """Shows a running machine in another state at each read."""
    reads = itertools.count()

    def flicker(machine: pb.Machine) -> None:
        # Never as a slot: to the kit, a machine that reappears after it was deleted belongs to another client.
        if machine.state != pb.MACHINE_STATE_SPECULATIVE:
            machine.state = next(reads) % 7 + 2  # type: ignore[assignment]

    await serve_until_over(sandbox, building(flicker))


@species(r"LIF-1a .* showed another machine", codes=JUDGED, patience=1)
async def answers_for_others(sandbox: Sandbox) -> None:
    """Answers Get with another machine than the requested one."""

    class OtherMachine(Servicer):
        async def Get(self, request: pb.MachineRef, context: Any) -> pb.Machine:  # noqa: N802
            await super().Get(request, context)
            return self.machine(next(iter(self.core.machines.values())))

    await serve_until_over(sandbox, OtherMachine)


@species(r"LIF-1a .* FAILED_PRECONDITION", codes=JUDGED)
async def fences_everybody(sandbox: Sandbox) -> None:
    """Fences every mutating call."""

    class Fenced(Servicer):
        def mutate(self, request: Any) -> Any:
            from fake_provider.errors import Code, Rejected

            raise Rejected(Code.FAILED_PRECONDITION, "stale")

    await serve_until_over(sandbox, Fenced)


@species(r"LIF-1a .* settled at SPECULATIVE", codes=JUDGED, patience=1, rare=True)
async def agrees_to_everything(sandbox: Sandbox) -> None:
    """Answers every mutating call with OK and an IDLE machine, and does nothing."""

    class AlwaysOk(Servicer):
        def mutate(self, request: Any) -> pb.TransitionAck:
            idle = pb.Machine(id=request.machine_id, state=pb.MACHINE_STATE_IDLE, host=HOST)
            return pb.TransitionAck(operation_id="yes", machine=idle)

    await serve_until_over(sandbox, AlwaysOk)


@species(r"LST-|LIF-1a|--timeout 4 s is over", codes=JUDGED, timeout=4, select="LST-*")
async def multiplies(sandbox: Sandbox) -> None:
    """Has 5,000 more machines at each List."""
    lists = itertools.count(1)

    class GrowingFleet(Servicer):
        def listing(self, found: Any) -> pb.MachineList:
            answer = super().listing(found)
            answer.machines.extend(
                pb.Machine(id=f"child-{number}", state=pb.MACHINE_STATE_SPECULATIVE, instance_type="m")
                for number in range(5_000 * next(lists))
            )
            return answer

    await serve_until_over(sandbox, GrowingFleet)
