"""Providers that create unknown machines or accept calls without an edge (contract §4, COD-1 and COD-2)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import CapacityType, InstanceType, Machine, State, Verb
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.request import Ack, Request

# COD-1: ids that do not exist.


@mutant(
    "COD-1",
    "COD-1a",
    also=("SHP-1b", "WIR-1a"),
    because="the machine that it makes up has no zone, and exists for the second call of WIR-1a",
)
class CreateMakesMachinesUp(Core):
    """Creates a machine for an unknown id, because Create is an upsert."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        if verb is Verb.CREATE and request.machine_id and request.machine_id not in self.machines:
            self.put(
                Machine(
                    id=request.machine_id,
                    instance_type=InstanceType(name="m6.large"),
                    capacity_type=CapacityType.ON_DEMAND,
                )
            )
        return super().serve(verb, request, now)


@mutant(
    "COD-1", "COD-1a", also=("COD-3b", "SHP-1b"), because="the machine that it makes up can be created, and has no zone"
)
class GetMakesMachinesUp(Core):
    """Adds a machine to its map for each unknown id that Get looks up."""

    def get(self, machine_id: str, now: float) -> Machine:
        if machine_id and machine_id not in self.machines:
            self.put(
                Machine(
                    id=machine_id, instance_type=InstanceType(name="m6.large"), capacity_type=CapacityType.ON_DEMAND
                )
            )
        return super().get(machine_id, now)


@mutant("COD-1", "COD-1a", also=("LST-4d",), because="Get does not find the machine that List shows")
class RefusedCreateIsListed(Core):
    """Answers NOT_FOUND to a Create of an unknown id, but has already written the row."""

    def find(self, machine_id: str) -> Machine:
        if machine_id not in self.machines:
            self.__dict__.setdefault("made", {})[machine_id] = next(iter(self.machines.values()))
        return super().find(machine_id)

    def oldest_first(self, since: int) -> list[Machine]:
        made: dict[str, Machine] = self.__dict__.get("made", {})
        return [*super().oldest_first(since), *(replace(machine, id=name) for name, machine in made.items())]


class _Unknown(Core):
    """Answers another code for an unknown id, on some RPCs."""

    verbs: frozenset[Verb | None]
    code: Code

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        if verb in self.verbs and request.machine_id and request.machine_id not in self.machines:
            self.fence(verb, request.machine_id, request.token)
            raise Rejected(self.code, "unknown")
        return super().serve(verb, request, now)

    def get(self, machine_id: str, now: float) -> Machine:
        if None in self.verbs and machine_id and machine_id not in self.machines:
            raise Rejected(self.code, "unknown")
        return super().get(machine_id, now)


@mutant("COD-1", "COD-1a", "COD-1b")
class UnknownIsInvalid(_Unknown):
    """Answers INVALID_ARGUMENT instead of NOT_FOUND for an unknown id."""

    verbs, code = frozenset({Verb.CREATE, Verb.CONFIGURE, Verb.DRAIN}), Code.INVALID_ARGUMENT


@mutant("COD-1", "COD-1a")
class UnknownConfigureIsInternal(_Unknown):
    """Answers INTERNAL to a Configure of an unknown id, because nothing catches the KeyError."""

    verbs, code = frozenset({Verb.CONFIGURE}), Code.INTERNAL


@mutant("COD-1", "COD-1a")
class UnknownDrainIsAborted(_Unknown):
    """Answers ABORTED to a Drain of an unknown id."""

    verbs, code = frozenset({Verb.DRAIN}), Code.ABORTED


@mutant("COD-1", "COD-1a")
class UnknownCreateIsExhausted(_Unknown):
    """Answers RESOURCE_EXHAUSTED to a Create of an unknown id, as if it exceeded the quota."""

    verbs, code = frozenset({Verb.CREATE}), Code.RESOURCE_EXHAUSTED


@mutant("COD-1", "COD-1a")
class UnknownDeleteIsInvalid(_Unknown):
    """Answers INVALID_ARGUMENT to a Delete of an unknown id, because it validates ids first."""

    verbs, code = frozenset({Verb.DELETE}), Code.INVALID_ARGUMENT


@mutant("COD-1", "COD-1a")
class UnknownGetIsUnavailable(_Unknown):
    """Answers UNAVAILABLE to a Get of an unknown id, as if its cache were only late."""

    verbs, code = frozenset({None}), Code.UNAVAILABLE


@mutant("COD-1", "COD-1a")
class UnknownDeleteIsOk(Core):
    """Answers OK to a Delete of an unknown id, as if it were already deleted."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        if verb is Verb.DELETE and request.machine_id and request.machine_id not in self.machines:
            self.fence(verb, request.machine_id, request.token)
            return self.ack(verb, "nothing-to-do", next(iter(self.machines.values())))
        return super().serve(verb, request, now)


@mutant("COD-1", "COD-1b")
class OddIdsAreInvalid(Core):
    """Answers INVALID_ARGUMENT for ids that do not match a pattern."""

    def find(self, machine_id: str) -> Machine:
        if not all(c.isalnum() or c in "-._" for c in machine_id):
            raise Rejected(Code.INVALID_ARGUMENT, "not an id")
        return super().find(machine_id)


@mutant("COD-1", "COD-1b")
class LongIdsAreInternal(Core):
    """Answers INTERNAL for ids longer than its 255-character column."""

    def find(self, machine_id: str) -> Machine:
        if len(machine_id) > 255:
            raise ValueError("value too long for type character varying(255)")
        return super().find(machine_id)


class _Lenient(Core):
    """Finds a machine by an id that only resembles its own."""

    def normal(self, machine_id: str) -> str:
        raise NotImplementedError

    def find(self, machine_id: str) -> Machine:
        return super().find(machine_id if machine_id in self.machines else self.normal(machine_id))


@mutant("COD-1", "COD-1c")
class IdsAreTrimmed(_Lenient):
    """Trims whitespace from the ends of machine ids."""

    def normal(self, machine_id: str) -> str:
        return machine_id.strip()


@mutant("COD-1", "COD-1c")
class IdsAreLowercased(_Lenient):
    """Compares machine ids without regard to case, like host names."""

    def normal(self, machine_id: str) -> str:
        return machine_id.lower()


@mutant("COD-1", "COD-1c")
class IdsEndAtNul(_Lenient):
    """Cuts machine ids at the first NUL, because it passes them to C code."""

    def normal(self, machine_id: str) -> str:
        return machine_id.partition("\0")[0]


@mutant("COD-1", "COD-1c")
class IdsAreResourceNames(_Lenient):
    """Uses only the part of a machine id after its last slash."""

    def normal(self, machine_id: str) -> str:
        return machine_id.strip("/").rpartition("/")[2]


@mutant("COD-1", "COD-1c")
class IdsAreMatchedByPrefix(_Lenient):
    """Accepts the beginning of a machine's id, as a command line would."""

    def normal(self, machine_id: str) -> str:
        return next((known for known in self.machines if known.startswith(machine_id)), machine_id)


@mutant("COD-1", "COD-1c")
class IdsArePatterns(_Lenient):
    """Looks machine ids up with SQL LIKE, so that `%` and `_` are wildcards."""

    def normal(self, machine_id: str) -> str:
        start = machine_id.rstrip("%*_")
        patterned = start != machine_id
        return next((known for known in self.machines if patterned and known.startswith(start)), machine_id)


@mutant("COD-1", "COD-1c")
class IdsAreCut(_Lenient):
    """Cuts machine ids at the length of its longest one."""

    def normal(self, machine_id: str) -> str:
        return machine_id[: max(map(len, self.machines))]


@mutant("COD-1", "COD-1c")
class MutationsCleanIds(Core):
    """Removes quotes, braces and dots from the ends of the ids in mutating calls."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        cleaned = request.machine_id.strip('."{}')
        return super().serve(verb, replace(request, machine_id=cleaned) if cleaned in self.machines else request, now)


# COD-2: edges that are not there.


class _TakesEdge(Core):
    """Accepts a verb from one more state."""

    verb: Verb
    rests: State

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if (verb, machine.state) != (self.verb, self.rests):
            super().check_edge(verb, machine, request)


@mutant("COD-2", "COD-2a", also=("LIF-5c",), because="such a machine is CONFIGURED without a host")
class ConfigureStartsSlots(_TakesEdge):
    """Creates a SPECULATIVE machine when it is configured."""

    verb, rests = Verb.CONFIGURE, State.SPECULATIVE


@mutant("COD-2", "COD-2a")
class DrainOfASlotStarts(_TakesEdge):
    """Starts a Drain of a SPECULATIVE machine, because it does not check the state."""

    verb, rests = Verb.DRAIN, State.SPECULATIVE


@mutant(
    "COD-2",
    "COD-2b",
    also=("LIF-1b", "COD-5c", "LIF-6d", "LIF-6g"),
    because="the kit claims a machine with a Create, and another behaviour may hold it",
)
class CreateRebuildsBoundMachines(_TakesEdge):
    """Launches a CONFIGURED machine again when Create is called."""

    verb, rests = Verb.CREATE, State.CONFIGURED


@mutant("COD-2", "COD-2b", also=("COD-3b",), because="it deletes machines that are still bound there")
class DeleteTakesBoundMachines(_TakesEdge):
    """Drains and deletes a CONFIGURED machine when Delete is called."""

    verb, rests = Verb.DELETE, State.CONFIGURED


@mutant("COD-2", "COD-2e", latency="250ms")
class DrainOfIdleStarts(_TakesEdge):
    """Starts a Drain of an IDLE machine."""

    verb, rests = Verb.DRAIN, State.IDLE


@mutant("COD-2", "COD-2c", "COD-2e", also=("OPS-2c", "LIF-9c"), because="a repeated Drain is a new operation")
class DrainOfIdleStartsAgain(Core):
    """Starts another Drain of an IDLE machine, even if that machine was already drained."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        idle = verb is Verb.DRAIN and machine.state is State.IDLE
        return None if idle else super().retry_of(verb, machine, request)

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if (verb, machine.state) != (Verb.DRAIN, State.IDLE):
            super().check_edge(verb, machine, request)


@mutant("COD-2", "COD-2d", latency="120ms")
class CreateInterruptsConfigure(_TakesEdge):
    """Launches a CONFIGURING machine again when Create is called."""

    verb, rests = Verb.CREATE, State.CONFIGURING


@mutant("COD-2", "COD-2d", latency="120ms")
class DeleteInterruptsConfigure(_TakesEdge):
    """Deletes a CONFIGURING machine when Delete is called."""

    verb, rests = Verb.DELETE, State.CONFIGURING


@mutant(
    "COD-2",
    "COD-2e",
    latency="120ms",
    also=("LIF-2a", "OPS-2a", "LIF-5e"),
    because="the kit claims a new machine with a Drain",
)
class DrainInterruptsCreate(_TakesEdge):
    """Cancels a running Create when Drain is called."""

    verb, rests = Verb.DRAIN, State.CREATING


@mutant("COD-2", "COD-2i", latency="120ms")
class ConfigureInterruptsDelete(_TakesEdge):
    """Cancels a running Delete when Configure is called."""

    verb, rests = Verb.CONFIGURE, State.DELETING


@mutant("COD-2", "COD-2i", latency="120ms")
class DrainInterruptsDelete(_TakesEdge):
    """Drains a DELETING machine when Drain is called."""

    verb, rests = Verb.DRAIN, State.DELETING


@mutant("COD-2", "COD-2f", latency="120ms")
class DeleteInterruptsDrain(_TakesEdge):
    """Deletes a DRAINING machine when Delete is called."""

    verb, rests = Verb.DELETE, State.DRAINING


@mutant("COD-2", "COD-2g", latency="250ms")
class DrainInterruptsConfigure(_TakesEdge):
    """Cancels a running Configure when Drain is called."""

    verb, rests = Verb.DRAIN, State.CONFIGURING


@mutant("COD-2", "COD-2h", latency="600ms")
class ConfigureInterruptsDrain(_TakesEdge):
    """Configures a DRAINING machine before it is empty."""

    verb, rests = Verb.CONFIGURE, State.DRAINING
