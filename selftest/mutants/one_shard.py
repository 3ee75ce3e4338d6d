"""Providers that mix up what one shard does with its several machines (contract §5, FEN-13)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.fence import Token
from fake_provider.machine import EDGES, State, Verb
from fake_provider.request import Configure
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.machine import Machine
    from fake_provider.request import Ack, Request
    from fake_provider.store import MarkKey


class _KnowsShards(Core):
    """Knows which shard called each machine last, and the shard of the current call."""

    shard, epoch = "", 0

    @property
    def callers(self) -> dict[str, str]:
        callers: dict[str, str] = self.__dict__.setdefault("last_callers", {})
        return callers

    @property
    def kept(self) -> dict[tuple[str, ...], str]:
        kept: dict[tuple[str, ...], str] = self.__dict__.setdefault("kept_values", {})
        return kept

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        super().fence(verb, machine_id, token)
        self.shard, self.epoch = token.shard, token.epoch

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        ack = super().serve(verb, request, now)
        self.callers[request.machine_id] = self.shard
        return ack

    def others_of_the_shard(self, machine: Machine, state: State) -> list[Machine]:
        """Returns the shard's other machines in a state."""
        mine = [self.machines[each] for each, shard in self.callers.items() if shard == self.shard]
        return [each for each in mine if each.id != machine.id and each.state is state]


@mutant("OPS-3", "OPS-3a", whole=True)
class RetriesAreKnownByShardAndCluster(_KnowsShards):
    """Takes a shard's Configure of another machine for the same cluster for a retry of the first one."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        found = super().retry_of(verb, machine, request)
        if found is not None or not isinstance(request, Configure):
            return found
        bound = [*self.others_of_the_shard(machine, State.CONFIGURED)]
        bound += self.others_of_the_shard(machine, State.CONFIGURING)
        same = [other.operation.id for other in bound if other.operation and other.cluster == request.cluster]
        return same[0] if same else None


@mutant("OPS-3", "OPS-3a", whole=True)
class OperationIdsNameShardAndCluster(_KnowsShards):
    """Names the operation of a Configure after the shard and the cluster, which several machines may share."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        started = super().start(verb, machine, request, now)
        if isinstance(request, Configure) and started.operation and "-m" not in self.shard:
            named = replace(started.operation, id=f"configure-{self.shard}-{request.cluster}")
            started = self.put(replace(started, operation=named))
            self.schedule(started, now)
        return self.machines[started.id]


@mutant("LIF-9", "LIF-9a")
class DrainTakesTheShardsOtherMachines(_KnowsShards):
    """Drains all machines that the shard has bound to the same cluster."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        if verb is Verb.DRAIN:
            for other in self.others_of_the_shard(machine, State.CONFIGURED):
                if other.cluster == machine.cluster:
                    super().start(verb, other, request, now)
        return super().start(verb, machine, request, now)


@mutant("LIF-9", "LIF-9c")
class DeleteTakesTheShardsOtherMachines(_KnowsShards):
    """Deletes all IDLE machines that the shard has called last."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        try:
            return super().serve(verb, request, now)
        finally:
            self.callers[request.machine_id] = self.shard

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        if verb is Verb.DELETE:
            for other in self.others_of_the_shard(machine, State.IDLE):
                super().start(verb, other, request, now)
        return super().start(verb, machine, request, now)


@mutant("LIF-9", "LIF-9a")
class ARestartedShardGivesUpItsMachines(_KnowsShards):
    """Drains the machines that a shard has bound in an earlier epoch when it calls with a newer one."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        key = (self.shard, "epoch")
        if verb is Verb.CONFIGURE and str(self.epoch) != self.kept.setdefault(key, str(self.epoch)):
            for other in self.others_of_the_shard(machine, State.CONFIGURED):
                super().start(Verb.DRAIN, other, request, now)
            self.kept[key] = str(self.epoch)
        return super().start(verb, machine, request, now)

    def in_transition(self, verb: Verb, machine: Machine, request: Request, operation: object) -> Machine:
        if verb is Verb.DRAIN:
            return replace(machine, state=EDGES[verb].via)
        return super().in_transition(verb, machine, request, operation)  # type: ignore[arg-type]


@mutant("FEN-13", "FEN-13a")
class ARestartForgetsTheShardsMarks(_KnowsShards):
    """Forgets a shard's marks on all other machines when it calls with a newer epoch."""

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        epochs: dict[str, int] = self.__dict__.setdefault("epochs", {})
        if token.epoch > epochs.get(token.shard, token.epoch):
            for other in [other for other in self.inventory.marks if other[0] == token.shard]:
                self.inventory.mark(other, Token(shard=token.shard, epoch=-1))
        epochs[token.shard] = max(token.epoch, epochs.get(token.shard, token.epoch))
        super().raise_mark(verb, key, token)


@mutant("MET-3", "MET-3c")
class MetadataPerShardAndCluster(_KnowsShards):
    """Keeps the metadata that a shard sends once for each cluster, so that its last Configure decides for all."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        for other in self.others_of_the_shard(machine, State.CONFIGURING):
            if other.cluster == request.cluster:
                self.put(replace(other, shard_metadata=dict(request.metadata)))
        return super().bound(machine, request)


@mutant("MET-3", "MET-3b", also=("LIF-9a",), because="a Drain changes another machine")
class DrainClearsTheShardsMetadata(_KnowsShards):
    """Clears the metadata of all machines that the shard has bound to the cluster of a drained one."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        if verb is Verb.DRAIN:
            for other in self.others_of_the_shard(machine, State.CONFIGURED):
                if other.cluster == machine.cluster:
                    self.put(replace(other, shard_metadata={}))
        return super().start(verb, machine, request, now)


@mutant("LIF-6", "LIF-6a", whole=True)
class AShardHasOneCluster(_KnowsShards):
    """Keeps the cluster of a shard's first Configure, and binds its other machines to that one too."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        first = self.kept.setdefault((self.shard, machine.id) if "-m" in self.shard else (self.shard,), request.cluster)
        ours = "-m" in self.shard or not self.shard
        return super().bound(machine, request if ours else replace(request, cluster=first))


@mutant("LIF-11", "LIF-11a", whole=True)
class AcksShowTheShardsFirstMachine(_KnowsShards):
    """Caches the machine of a shard's ack, and shows it in the shard's acks for its other machines."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        first = self.kept.setdefault((self.shard, verb), machine.id)
        return self.machines.get(first, machine)
