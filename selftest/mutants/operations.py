"""Providers that do not recognise a retry (contract §3, OPS-1 and OPS-2)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.machine import Machine, State, Verb
from fake_provider.request import Ack, Configure, Request
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
    """Leaves the operation_id of Create empty."""

    verb = Verb.CREATE


@mutant("OPS-1", "OPS-1a")
class ConfigureHasNoId(_NoId):
    """Leaves the operation_id of Configure empty."""

    verb = Verb.CONFIGURE


@mutant("OPS-1", "OPS-1a")
class DrainHasNoId(_NoId):
    """Leaves the operation_id of Drain empty."""

    verb = Verb.DRAIN


@mutant("OPS-1", "OPS-1b")
class DeleteHasNoId(_NoId):
    """Leaves the operation_id of Delete empty."""

    verb = Verb.DELETE


@mutant("OPS-1", "OPS-1a", "OPS-1b")
class RetryHasNoId(Core):
    """Leaves the operation_id of a retry empty."""

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


@mutant(
    "OPS-2",
    "OPS-2a",
    latency="120ms",
    also=("OPS-4a",),
    because="concurrent retries arrive while the transition runs",
)
class CreateInFlightHasANewId(_NewId):
    """Gives a repeated Create a new operation_id while the transition runs."""

    verb, moving = Verb.CREATE, True


@mutant("OPS-2", "OPS-2a")
class CreateAtRestHasANewId(_NewId):
    """Gives a repeated Create a new operation_id at rest."""

    verb, moving = Verb.CREATE, False


@mutant("OPS-2", "OPS-2b")
class ConfigureInFlightHasANewId(_NewId):
    """Gives a repeated Configure a new operation_id while the transition runs."""

    verb, moving = Verb.CONFIGURE, True


@mutant("OPS-2", "OPS-2b", "OPS-2d", "OPS-4d")
class ConfigureAtRestHasANewId(_NewId):
    """Gives a repeated Configure a new operation_id at rest."""

    verb, moving = Verb.CONFIGURE, False


@mutant("OPS-2", "OPS-2c")
class DrainInFlightHasANewId(_NewId):
    """Gives a repeated Drain a new operation_id while the transition runs."""

    verb, moving = Verb.DRAIN, True


@mutant("OPS-2", "OPS-2c")
class DrainAtRestHasANewId(_NewId):
    """Gives a repeated Drain a new operation_id at rest."""

    verb, moving = Verb.DRAIN, False


@mutant("OPS-2", "OPS-2f")
class DeleteInFlightHasANewId(_NewId):
    """Gives a repeated Delete a new operation_id while the transition runs."""

    verb, moving = Verb.DELETE, True


@mutant("OPS-2", "OPS-2f")
class DeleteAtRestHasANewId(_NewId):
    """Gives a repeated Delete a new operation_id at rest."""

    verb, moving = Verb.DELETE, False


class _RefusesRetries(Core):
    """Refuses retries of some RPCs, in flight or at rest."""

    verbs: frozenset[Verb]
    moving: bool

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        if verb in self.verbs and machine.moving is self.moving:
            return None
        return super().retry_of(verb, machine, request)


@mutant("OPS-2", "OPS-2a", "OPS-2b", "OPS-2c", "OPS-2f", latency="120ms")
class BusyMachinesRefuseRetries(_RefusesRetries):
    """Refuses retries while the transition runs."""

    verbs, moving = frozenset(Verb), True


@mutant("OPS-2", "OPS-2b", "OPS-2d")
class BoundIsAlreadyExists(_RefusesRetries):
    """Refuses a repeated Configure at CONFIGURED."""

    verbs, moving = frozenset({Verb.CONFIGURE}), False


@mutant("OPS-2", "OPS-2a")
class LivingIsAlreadyExists(_RefusesRetries):
    """Refuses a repeated Create at IDLE."""

    verbs, moving = frozenset({Verb.CREATE}), False


@mutant("OPS-2", "OPS-2c", "OPS-2f")
class GoneIsNotThere(_RefusesRetries):
    """Refuses a repeated Drain or Delete at rest."""

    verbs, moving = frozenset({Verb.DRAIN, Verb.DELETE}), False


class _Keyed(Core):
    """Recognises a retry by more than machine and target, and gives any other call a new operation_id."""

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
    """Gives a retry by another shard another operation_id."""

    def key(self, request: Request) -> object:
        return request.token.shard


@mutant("OPS-2", "OPS-2b", "OPS-2d")
class RetriesAreKeyedOnTheToken(_Keyed):
    """Gives a retry with another token another operation_id."""

    def key(self, request: Request) -> object:
        return request.token


@mutant("OPS-2", "OPS-2d")
class RetriesAreKeyedOnTheEpoch(_Keyed):
    """Gives a retry with another epoch another operation_id."""

    def key(self, request: Request) -> object:
        return request.token.epoch


@mutant("OPS-2", "OPS-2d")
class RetriesAreKeyedOnTheBlob(_Keyed):
    """Gives a retry with another bootstrap blob another operation_id."""

    def key(self, request: Request) -> object:
        return request.blob if isinstance(request, Configure) else b""


@mutant("OPS-2", "OPS-2d")
class RetriesAreKeyedOnTheConnection(Servicer):
    """Gives a retry over another connection another operation_id."""

    async def Configure(self, request: pb.ConfigureRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        ack = await super().Configure(request, context)
        first = self.__dict__.setdefault("peers", {}).setdefault(ack.operation_id, context.peer())
        if first != context.peer():
            ack.operation_id += f"-{context.peer()}"
        return ack


@mutant("OPS-2", "OPS-2d")
class RetriesAreCounted(Core):
    """Gives every retry after the tenth another operation_id."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        counts: dict[str | None, int] = self.__dict__.setdefault("counts", {})
        counts[known] = counts.get(known, 0) + 1
        return f"{known}-late" if known and counts[known] > 10 else known


@mutant(
    "OPS-2", "OPS-2e", also=("LIF-9a",), because="the retry that looks at a neighbour's operation configures it again"
)
class RetryConfiguresAgain(Core):
    """Runs the Configure again on a retry at CONFIGURED, with the same operation_id."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        machine, ack = self.machines.get(request.machine_id), super().serve(verb, request, now)
        if machine and verb is Verb.CONFIGURE and machine.state is State.CONFIGURED:
            self.put(replace(machine, state=State.CONFIGURING))
            self.inventory.schedule(now + 0.04, machine, ack.operation_id)
        return ack


@mutant("OPS-2", "OPS-2c")
class RetryDrainsAgain(Core):
    """Runs the Drain again on a retry at IDLE, with the same operation_id."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        if known and verb is Verb.DRAIN and not machine.moving:
            self.put(replace(machine, state=State.DRAINING))
        return known


@mutant("OPS-2", "OPS-2a", also=("LIF-5e",), because="it compares the hosts before and during a Delete")
class RetryAttachesAnotherHost(Core):
    """Attaches another host on a repeated Create, with the same operation_id."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        if known and verb is Verb.CREATE and machine.operation and machine.host:
            self.inventory.operations += 1
            again = replace(machine.operation, id=f"{self.inventory.operations}")
            self.put(replace(machine, host=self.new_host(machine, again)))
        return known
