"""Providers that use an operation id twice or let a retry change something (contract §3, OPS-3 and OPS-5)."""

from __future__ import annotations

from dataclasses import replace

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import EDGES, Machine, State, Verb
from fake_provider.request import Configure, Drain, Request
from selftest.mutant import mutant

# OPS-3: a new transition has a new id.


@mutant("OPS-3", "OPS-3a", "OPS-3b")
class IdIsTheMachines(Core):
    """Uses one operation_id for each machine."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        return f"op-{machine.id}"


@mutant("OPS-3", "OPS-3a")
class IdIsMachineAndVerb(Core):
    """Uses one operation_id for each machine and RPC."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        return f"{verb}-{machine.id}"


@mutant("OPS-3", "OPS-3a")
class IdsAreCountedPerMachine(Core):
    """Uses a counter for each machine as the operation_id, so that machines share ids."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        counts: dict[str, int] = self.__dict__.setdefault("counts", {})
        counts[machine.id] = counts.get(machine.id, 0) + 1
        return f"op-{counts[machine.id]}"


@mutant("OPS-3", "OPS-3a")
class IdIsMachineAndCluster(Core):
    """Builds the operation_id from RPC, machine and cluster, so that a second binding reuses it."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        self.__dict__["cluster"] = request.cluster if isinstance(request, Configure) else machine.cluster
        return super().start(verb, machine, request, now)

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        cluster: str = self.__dict__.get("cluster", "")
        return f"{verb}-{machine.id}-{cluster}" if cluster else super().new_operation_id(verb, machine)


@mutant("OPS-3", "OPS-3a", also=("LIF-5f",), because="the fake derives a host from the operation that started it")
class IdsAreTimestamps(Core):
    """Uses the current second as the operation_id."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        return f"op-{int(self.__dict__.get('now', 0))}"

    def advance(self, now: float) -> None:
        self.__dict__["now"] = now
        super().advance(now)


@mutant("OPS-3", "OPS-3b", "OPS-3c")
class CounterStartsAnewWithEachLife(Core):
    """Restarts the machine's operation counter at each Create."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        counts: dict[str, int] = self.__dict__.setdefault("counts", {})
        counts[machine.id] = 1 if verb is Verb.CREATE else counts.get(machine.id, 0) + 1
        return f"{machine.id}-{counts[machine.id]}"


@mutant(
    "OPS-3",
    "OPS-3b",
    also=("COD-2e", "COD-4f", "FEN-5c", "FEN-5d", "OPS-5a", "OPS-5d"),
    because="their machine may have been created and deleted before",
)
class CreateIsRememberedForGood(Core):
    """Treats a Create after a Delete as a retry of the first Create."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        created: dict[str, str] = self.__dict__.setdefault("created", {})
        if machine.created_by:
            created[machine.id] = machine.created_by
        if verb is Verb.CREATE and machine.state is State.SPECULATIVE and machine.id in created:
            return created[machine.id]
        return super().retry_of(verb, machine, request)


@mutant(
    "OPS-3",
    "OPS-3b",
    also=("COD-2e", "FEN-5c", "LIF-1b", "OPS-6a"),
    because="their machines may have been created and deleted before",
)
class SecondCreateDoesNothing(Core):
    """Answers OK with a new operation_id to a Create after a Delete, but never ends it."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        if verb is Verb.CREATE and machine.operation and machine.operation.verb is Verb.DELETE:
            self.inventory.operations += 1
            created = replace(machine, state=EDGES[verb].via)
            operation = replace(machine.operation, id=f"op-{self.inventory.operations}-new")
            return replace(created, operation=operation)
        return super().start(verb, machine, request, now)


@mutant("OPS-3", "OPS-3a", also=("FEN-5f", "LIF-1b"), because="the second Configure of a machine does nothing")
class SecondBindingIsTakenForTheFirst(Core):
    """Treats a second Configure for the same cluster as a retry of the first, although a Drain came between."""

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
    """Answers a Drain of an IDLE machine with the operation_id of a Drain from an earlier life."""

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
    """Changes the binding on a Configure for another cluster."""

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
    """Rebinds a CONFIGURED machine to another cluster under the old operation_id."""

    rebound = State.CONFIGURED


@mutant("OPS-5", "OPS-5a")
class ConfiguredIsReboundAnew(_Rebinds):
    """Rebinds a CONFIGURED machine to another cluster under a new operation_id."""

    rebound, new_id = State.CONFIGURED, True


@mutant("OPS-5", "OPS-5b", "OPS-6a")
class ConfiguringIsRebound(_Rebinds):
    """Rebinds a CONFIGURING machine to another cluster."""

    rebound = State.CONFIGURING


@mutant(
    "OPS-5",
    "OPS-5a",
    "OPS-5b",
    also=("COD-2h",),
    because="a Configure for another cluster starts while the machine is DRAINING",
)
class OtherClusterIsANewOperation(Core):
    """Answers OK with a new operation_id to a Configure for another cluster, and does nothing."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        if isinstance(request, Configure) and machine.cluster and request.cluster != machine.cluster:
            return self.new_operation_id(verb, machine)
        return super().retry_of(verb, machine, request)


@mutant("OPS-5", "OPS-5a", also=("OPS-6c",), because="the racing calls of OPS-6c name other clusters")
class OtherClusterForgetsTheOperation(Core):
    """Changes the stored operation_id before it refuses a Configure for another cluster."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if verb is Verb.CONFIGURE and machine.cluster and machine.operation:
            self.put(replace(machine, operation=replace(machine.operation, id=machine.operation.id + "-")))
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
    """Stores the metadata of a repeated Configure at CONFIGURED."""

    moving = False


@mutant("OPS-5", "OPS-5c")
class RetryInFlightStoresItsMetadata(_StoresMetadata):
    """Stores the metadata of a repeated Configure while it runs."""

    moving = True


@mutant("OPS-5", "OPS-5d")
class RetryOfDrainTakesItsGrace(Core):
    """Postpones the end of a Drain that is repeated with a longer grace period."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        if known and isinstance(request, Drain) and request.grace > 1 and machine.operation and machine.moving:
            self.put(replace(machine, operation=replace(machine.operation, id="later")))
        return known


@mutant("OPS-5", "OPS-5d")
class OtherGraceIsAnotherDrain(Core):
    """Gives a Drain that is repeated with a longer grace period another operation_id."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        return f"{known}-{request.grace}" if known and isinstance(request, Drain) and request.grace > 1 else known


@mutant("OPS-5", "OPS-5a")
class OtherClusterIsRefusedWithAnEffect(Core):
    """Stores the other cluster before it refuses a Configure at CONFIGURED."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if isinstance(request, Configure) and machine.state is State.CONFIGURED:
            self.put(replace(machine, cluster=request.cluster))
            raise Rejected(Code.ABORTED, "bound elsewhere")
        super().check_edge(verb, machine, request)


class _Owned(Core):
    """Not a mutant: remembers which shard started a transition, and does not treat some calls as retries."""

    def disowned(self, machine: Machine, mine: bool) -> bool:
        raise NotImplementedError

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        self.__dict__.setdefault("owners", {})[machine.id] = request.token.shard
        return super().start(verb, machine, request, now)

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        owners: dict[str, str] = self.__dict__.setdefault("owners", {})
        mine = owners.get(machine.id) == request.token.shard
        return None if self.disowned(machine, mine) else super().retry_of(verb, machine, request)


@mutant(
    "OPS-2", "OPS-2a", "OPS-2b", "OPS-2d", also=("FEN-14a",), because="a retry without a token is another shard's call"
)
class RestIsTheShardsOwn(_Owned):
    """Refuses a retry at rest from another shard than the first caller."""

    def disowned(self, machine: Machine, mine: bool) -> bool:
        return not machine.moving and not mine


@mutant("OPS-2", "OPS-2a", "OPS-2b", "OPS-2c", latency="120ms")
class OneCallAtATimeForAShard(_Owned):
    """Refuses a retry by the same shard while the transition runs, but not one by another shard."""

    def disowned(self, machine: Machine, mine: bool) -> bool:
        return machine.moving and mine


@mutant("OPS-2", "OPS-2a", "OPS-2b", "OPS-2c", latency="120ms")
class WhatMovesIsTheShardsOwn(_Owned):
    """Refuses a retry by another shard while the transition runs."""

    def disowned(self, machine: Machine, mine: bool) -> bool:
        return machine.moving and not mine


@mutant(
    "OPS-3",
    "OPS-3a",
    alone="the kit cannot claim a machine whose operation_id was used before, so no behaviour gets one",
)
class IdsWrapAround(Core):
    """Uses only six operation ids in turn."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        number = self.__dict__["number"] = (self.__dict__.get("number", -1) + 1) % 6
        return f"slot-{number}"
