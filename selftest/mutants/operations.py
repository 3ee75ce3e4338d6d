"""Providers that lose count of their operations (contract §3, OPS-1..3 and OPS-5)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import EDGES, Machine, State, Verb
from fake_provider.request import Ack, Configure, Drain, Request
from fake_provider.servicer import Context, Servicer
from selftest.mutant import mutant

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

# OPS-1: there is an id.


class _NoId(Core):
    """Leaves the id out of one RPC's ack."""

    verb: Verb

    def ack(self, verb: Verb, operation_id: str, machine: Machine) -> Ack:
        return super().ack(verb, "" if verb is self.verb else operation_id, machine)


@mutant("OPS-1", "OPS-1a")
class CreateHasNoId(_NoId):
    """The cloud gives no id for a launch, so there is none."""

    verb = Verb.CREATE


@mutant("OPS-1", "OPS-1a")
class ConfigureHasNoId(_NoId):
    """Configure is one ssh session, and nobody thought of it as an operation."""

    verb = Verb.CONFIGURE


@mutant("OPS-1", "OPS-1a")
class DrainHasNoId(_NoId):
    """Drain is done by somebody else, who gives no id."""

    verb = Verb.DRAIN


@mutant("OPS-1", "OPS-1a")
class DeleteHasNoId(_NoId):
    """What is gone needs no id."""

    verb = Verb.DELETE


@mutant("OPS-1", "OPS-1a")
class RetryHasNoId(Core):
    """The early return for a retry builds its own ack, without the id."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        return None if super().retry_of(verb, machine, request) is None else ""


# OPS-2: a retry is the same operation.


class _NewId(Core):
    """Gives a retry of one RPC an id of its own, in flight or at rest."""

    verb: Verb
    moving: bool

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        if known and verb is self.verb and machine.moving is self.moving:
            return self.new_operation_id(verb, machine)
        return known


@mutant("OPS-2", "OPS-2a")
class CreateInFlightHasANewId(_NewId):
    """Makes the id before it looks whether the launch is under way."""

    verb, moving = Verb.CREATE, True


@mutant("OPS-2", "OPS-2a")
class CreateAtRestHasANewId(_NewId):
    """Forgets the launch as soon as it is over."""

    verb, moving = Verb.CREATE, False


@mutant("OPS-2", "OPS-2b")
class ConfigureInFlightHasANewId(_NewId):
    """Makes the id before it looks whether the bootstrap is under way."""

    verb, moving = Verb.CONFIGURE, True


@mutant("OPS-2", "OPS-2b", "OPS-2d", "OPS-4d")
class ConfigureAtRestHasANewId(_NewId):
    """A bound machine is a success of its own, with an id of its own."""

    verb, moving = Verb.CONFIGURE, False


@mutant("OPS-2", "OPS-2c")
class DrainInFlightHasANewId(_NewId):
    """Makes the id before it looks whether the eviction is under way."""

    verb, moving = Verb.DRAIN, True


@mutant("OPS-2", "OPS-2c")
class DrainAtRestHasANewId(_NewId):
    """An empty machine is a success of its own, with an id of its own."""

    verb, moving = Verb.DRAIN, False


@mutant("OPS-2", "OPS-2a")
class DeleteInFlightHasANewId(_NewId):
    """Makes the id before it looks whether the termination is under way."""

    verb, moving = Verb.DELETE, True


@mutant("OPS-2", "OPS-2a")
class DeleteAtRestHasANewId(_NewId):
    """An empty slot is a success of its own, with an id of its own."""

    verb, moving = Verb.DELETE, False


class _RefusesRetries(Core):
    """Refuses retries of some RPCs, in flight or at rest."""

    verbs: frozenset[Verb]
    moving: bool

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        if verb in self.verbs and machine.moving is self.moving:
            return None
        return super().retry_of(verb, machine, request)


@mutant("OPS-2", "OPS-2a", "OPS-2b", "OPS-2c")
class BusyMachinesRefuseRetries(_RefusesRetries):
    """A lock on the machine while it is on its way, which the caller itself meets again."""

    verbs, moving = frozenset(Verb), True


@mutant("OPS-2", "OPS-2b", "OPS-2d")
class BoundIsAlreadyExists(_RefusesRetries):
    """Configure of a bound machine is ALREADY_EXISTS, whoever bound it."""

    verbs, moving = frozenset({Verb.CONFIGURE}), False


@mutant("OPS-2", "OPS-2a")
class LivingIsAlreadyExists(_RefusesRetries):
    """Create of a machine that lives is ALREADY_EXISTS, whoever created it."""

    verbs, moving = frozenset({Verb.CREATE}), False


@mutant("OPS-2", "OPS-2a", "OPS-2c")
class GoneIsNotThere(_RefusesRetries):
    """A Drain or a Delete that is over has nothing left to do, and says so with an error."""

    verbs, moving = frozenset({Verb.DRAIN, Verb.DELETE}), False


class _Keyed(Core):
    """Keys the retry on something more than machine and target; whoever comes with another gets a new id."""

    def key(self, request: Request) -> object:
        raise NotImplementedError

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        keys: dict[tuple[str | None, object], str] = self.__dict__.setdefault("keys", {})
        first = self.__dict__.setdefault("firsts", {}).setdefault(known, self.key(request))
        if known is None or first == self.key(request):
            return known
        return keys.setdefault((known, self.key(request)), f"{known}-{len(keys)}")


@mutant("OPS-2", "OPS-2b", "OPS-2d")
class RetriesAreKeyedOnTheShard(_Keyed):
    """Each shard has operations of its own."""

    def key(self, request: Request) -> object:
        return request.token.shard


@mutant("OPS-2", "OPS-2b", "OPS-2d")
class RetriesAreKeyedOnTheToken(_Keyed):
    """The token is the idempotency key."""

    def key(self, request: Request) -> object:
        return request.token


@mutant("OPS-2", "OPS-2d")
class RetriesAreKeyedOnTheEpoch(_Keyed):
    """A shard that was restarted starts anew."""

    def key(self, request: Request) -> object:
        return request.token.epoch


@mutant("OPS-2", "OPS-2d")
class RetriesAreKeyedOnTheBlob(_Keyed):
    """The idempotency key is a hash of the whole request."""

    def key(self, request: Request) -> object:
        return request.blob if isinstance(request, Configure) else b""


@mutant("OPS-2", "OPS-2d")
class RetriesAreKeyedOnTheConnection(Servicer):
    """Operations live in the session of a connection."""

    async def Configure(self, request: pb.ConfigureRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        ack = await super().Configure(request, context)
        first = self.__dict__.setdefault("peers", {}).setdefault(ack.operation_id, context.peer())
        if first != context.peer():
            ack.operation_id += f"-{context.peer()}"
        return ack


@mutant("OPS-2", "OPS-2d")
class RetriesAreCounted(Core):
    """Remembers an operation for the next few calls only."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        counts: dict[str | None, int] = self.__dict__.setdefault("counts", {})
        counts[known] = counts.get(known, 0) + 1
        return f"{known}-late" if known and counts[known] > 10 else known


@mutant("OPS-2", "OPS-2e")
class RetryConfiguresAgain(Core):
    """Runs the bootstrap once more, under the same operation."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        machine, ack = self.machines.get(request.machine_id), super().serve(verb, request, now)
        if machine and verb is Verb.CONFIGURE and machine.state is State.CONFIGURED:
            self.put(replace(machine, state=State.CONFIGURING))
            self.inventory.schedule(now + 0.04, machine, ack.operation_id)
        return ack


@mutant("OPS-2", "OPS-2c")
class RetryDrainsAgain(Core):
    """Runs the eviction once more, under the same operation."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        if known and verb is Verb.DRAIN and not machine.moving:
            self.put(replace(machine, state=State.DRAINING))
        return known


@mutant("OPS-2", "OPS-2a")
class RetryAttachesAnotherHost(Core):
    """A Create that comes again launches again, under the same operation."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        if known and verb is Verb.CREATE and machine.operation and machine.host:
            self.inventory.operations += 1
            again = replace(machine.operation, id=f"{self.inventory.operations}")
            self.put(replace(machine, host=self.new_host(machine, again)))
        return known


# OPS-3: a new one is a new one.


@mutant("OPS-3", "OPS-3a", "OPS-3b")
class IdIsTheMachines(Core):
    """One operation per machine, named after it."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        return f"op-{machine.id}"


@mutant("OPS-3", "OPS-3a")
class IdIsMachineAndVerb(Core):
    """Named after what is done to what."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        return f"{verb}-{machine.id}"


@mutant("OPS-3", "OPS-3a")
class IdsAreCountedPerMachine(Core):
    """A counter for each machine, and nothing of the machine in the id."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        counts: dict[str, int] = self.__dict__.setdefault("counts", {})
        counts[machine.id] = counts.get(machine.id, 0) + 1
        return f"op-{counts[machine.id]}"


@mutant("OPS-3", "OPS-3a")
class IdIsMachineAndCluster(Core):
    """A hash of the binding that the operation leads to or from."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        self.__dict__["cluster"] = request.cluster if isinstance(request, Configure) else machine.cluster
        return super().start(verb, machine, request, now)

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        cluster: str = self.__dict__.get("cluster", "")
        return f"{verb}-{machine.id}-{cluster}" if cluster else super().new_operation_id(verb, machine)


@mutant("OPS-3", "OPS-3a")
class IdsAreTimestamps(Core):
    """Named after the second in which it began."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        return f"op-{int(self.__dict__.get('now', 0))}"

    def advance(self, now: float) -> None:
        self.__dict__["now"] = now
        super().advance(now)


@mutant("OPS-3", "OPS-3b", "OPS-3c")
class CounterStartsAnewWithEachLife(Core):
    """The counter is part of the machine's record, and Delete clears the record."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        counts: dict[str, int] = self.__dict__.setdefault("counts", {})
        counts[machine.id] = 1 if verb is Verb.CREATE else counts.get(machine.id, 0) + 1
        return f"{machine.id}-{counts[machine.id]}"


@mutant("OPS-3", "OPS-3b")
class CreateIsRememberedForGood(Core):
    """The idempotency record of a Create outlives the machine, and the next Create is taken for a retry."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        created: dict[str, str] = self.__dict__.setdefault("created", {})
        if machine.created_by:
            created[machine.id] = machine.created_by
        if verb is Verb.CREATE and machine.state is State.SPECULATIVE and machine.id in created:
            return created[machine.id]
        return super().retry_of(verb, machine, request)


@mutant("OPS-3", "OPS-3b")
class SecondCreateDoesNothing(Core):
    """Answers a Create after a Delete with a new id, and leaves it at that."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        if verb is Verb.CREATE and machine.operation and machine.operation.verb is Verb.DELETE:
            self.inventory.operations += 1
            created = replace(machine, state=EDGES[verb].via)
            operation = replace(machine.operation, id=f"op-{self.inventory.operations}-new")
            return replace(created, operation=operation)
        return super().start(verb, machine, request, now)


@mutant("OPS-3", "OPS-3a")
class SecondBindingIsTakenForTheFirst(Core):
    """The idempotency record of a Configure outlives the binding."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        bindings: dict[tuple[str, str], str] = self.__dict__.setdefault("bindings", {})
        if isinstance(request, Configure) and machine.state is State.IDLE:
            return bindings.get((machine.id, request.cluster))
        known = super().retry_of(verb, machine, request)
        if machine.operation and machine.cluster:
            bindings.setdefault((machine.id, machine.cluster), machine.operation.id)
        return known

    def settle(self, machine: Machine) -> Machine:
        if machine.operation and machine.operation.verb is Verb.CONFIGURE:
            self.__dict__.setdefault("bindings", {})[machine.id, machine.cluster] = machine.operation.id
        return super().settle(machine)


@mutant("OPS-3", "OPS-3c")
class DrainsAreRememberedForGood(Core):
    """A Drain of an IDLE machine is answered with its last Drain, though that was in another life."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        drains: dict[str, str] = self.__dict__.setdefault("drains", {})
        if machine.operation and machine.operation.verb is Verb.DRAIN:
            drains[machine.id] = machine.operation.id
        if verb is Verb.DRAIN and machine.state is State.IDLE:
            return drains.get(machine.id)
        return super().retry_of(verb, machine, request)

    def settle(self, machine: Machine) -> Machine:
        if machine.operation and machine.operation.verb is Verb.DRAIN:
            self.__dict__.setdefault("drains", {})[machine.id] = machine.operation.id
        return super().settle(machine)


# OPS-5: a retry changes nothing.


class _Rebinds(Core):
    """A Configure for another cluster on a machine that is bound, or being bound, changes the binding."""

    rebound: State
    new_id: bool = False

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        if isinstance(request, Configure) and machine.state is self.rebound and request.cluster:
            operation = machine.operation
            if operation and request.cluster != machine.cluster:
                operation_id = self.new_operation_id(verb, machine) if self.new_id else operation.id
                self.put(self.bound(replace(machine, operation=replace(operation, cluster=request.cluster)), request))
                return operation_id
        return super().retry_of(verb, machine, request)


@mutant("OPS-5", "OPS-5a")
class ConfiguredIsRebound(_Rebinds):
    """Configure is an upsert."""

    rebound = State.CONFIGURED


@mutant("OPS-5", "OPS-5a")
class ConfiguredIsReboundAnew(_Rebinds):
    """Configure is an upsert, and each is an operation."""

    rebound, new_id = State.CONFIGURED, True


@mutant("OPS-5", "OPS-5b", "OPS-6a")
class ConfiguringIsRebound(_Rebinds):
    """The row is written at each call, and what it says when the bootstrap ends counts."""

    rebound = State.CONFIGURING


@mutant("OPS-5", "OPS-5a", "OPS-5b")
class OtherClusterIsANewOperation(Core):
    """Says OK to a Configure for another cluster, with a new id, and does nothing."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        if isinstance(request, Configure) and machine.cluster and request.cluster != machine.cluster:
            return self.new_operation_id(verb, machine)
        return super().retry_of(verb, machine, request)


@mutant("OPS-5", "OPS-5a")
class OtherClusterForgetsTheOperation(Core):
    """Refuses a Configure for another cluster, and has overwritten the record of the operation by then."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if verb is Verb.CONFIGURE and machine.cluster and machine.operation:
            self.put(replace(machine, operation=replace(machine.operation, id="overwritten")))
        super().check_edge(verb, machine, request)


class _StoresMetadata(Core):
    """Stores the metadata of a retry."""

    moving: bool

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        if known and isinstance(request, Configure) and machine.moving is self.moving:
            self.put(replace(machine, shard_metadata=dict(request.metadata)))
        return known


@mutant("OPS-5", "OPS-5c")
class RetryAtRestStoresItsMetadata(_StoresMetadata):
    """Metadata is an upsert."""

    moving = False


@mutant("OPS-5", "OPS-5c")
class RetryInFlightStoresItsMetadata(_StoresMetadata):
    """The last metadata before the end counts."""

    moving = True


@mutant("OPS-5", "OPS-5d")
class RetryOfDrainTakesItsGrace(Core):
    """A Drain that comes again sets a new deadline."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        if known and isinstance(request, Drain) and request.grace and machine.operation and machine.moving:
            self.put(replace(machine, operation=replace(machine.operation, id="later")))
        return known


@mutant("OPS-5", "OPS-5d")
class OtherGraceIsAnotherDrain(Core):
    """Keys a Drain on its grace period."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        return f"{known}-{request.grace}" if known and isinstance(request, Drain) and request.grace else known


@mutant("OPS-5", "OPS-5a")
class OtherClusterIsRefusedWithAnEffect(Core):
    """Validates after the binding is written."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if isinstance(request, Configure) and machine.state is State.CONFIGURED:
            self.put(replace(machine, cluster=request.cluster))
            raise Rejected(Code.ABORTED, "bound elsewhere")
        super().check_edge(verb, machine, request)
