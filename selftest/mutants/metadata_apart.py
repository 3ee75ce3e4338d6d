"""Providers that keep, share or cut metadata (contract §6, MET-2 to MET-4)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import Machine, Operation, State, Verb
from selftest.mutant import mutant
from selftest.mutants.metadata import Rewriting, bare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fake_provider.request import Configure, Request


# Traces of a binding


@mutant("MET-2", "MET-2a", "MET-2b")
class DrainKeepsMetadata(Core):
    """Clears the cluster but not the metadata at Drain."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        return replace(machine, cluster="")


class _AckShowsTheLastBinding(Core):
    verb: Verb

    def bound(self, machine: Machine, request: Configure) -> Machine:
        vars(self).setdefault("old", {})[machine.id] = {"cluster": request.cluster, "shard_metadata": request.metadata}
        return super().bound(machine, request)

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        old = vars(self).get("old", {}).get(machine.id, {})
        return replace(machine, **old) if verb is self.verb and machine.state is State.IDLE else machine


@mutant("MET-2", "MET-2a")
class RepeatedCreateShowsTheLastBinding(_AckShowsTheLastBinding):
    """Shows the last binding in the ack of a repeated Create at IDLE."""

    verb = Verb.CREATE


@mutant("MET-2", "MET-2b", also=("LIF-6a",), because="the cluster of the last binding is shown too")
class RepeatedDrainShowsTheLastBinding(_AckShowsTheLastBinding):
    """Shows the last binding in the ack of a repeated Drain at IDLE."""

    verb = Verb.DRAIN


@mutant("MET-2", "MET-2a")
class ListStillShowsMetadataAtIdle(Core):
    """Shows the last binding's metadata in List after a Drain."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        vars(self).setdefault("old", {})[machine.id] = request.metadata
        return super().bound(machine, request)

    def shown_in_list(self, machine: Machine) -> Machine:
        return replace(machine, shard_metadata=vars(self).get("old", {}).get(machine.id, {}))


@mutant("LIF-6", "LIF-6a", "MET-2b")
class ClusterGoesFirst(Core):
    """Clears the cluster when a Drain starts, and the metadata when it ends."""

    def in_transition(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        machine = super().in_transition(verb, machine, request, operation)
        return replace(machine, cluster="") if verb is Verb.DRAIN else machine


@mutant("MET-2", "MET-2c", "MET-2d")
class BindingsAddUp(Core):
    """Adds the metadata of a new binding to that of earlier ones."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        rows: dict[str, dict[str, str]] = vars(self).setdefault("rows", {})
        rows.setdefault(machine.id, {}).update(request.metadata)
        return replace(super().bound(machine, request), shard_metadata=dict(rows[machine.id]))


@mutant("MET-2", "MET-2c", also=("MET-1e", "OPS-5c"), because="their machines may have had a binding before")
class FirstWriteWins(Core):
    """Keeps the first value of a metadata key in all later bindings."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        rows: dict[str, dict[str, str]] = vars(self).setdefault("rows", {})
        row = rows.setdefault(machine.id, {})
        row |= {key: value for key, value in request.metadata.items() if key not in row}
        return replace(super().bound(machine, request), shard_metadata={key: row[key] for key in request.metadata})


@mutant("MET-2", "MET-2d")
class AnEmptyMapIsNoUpdate(Core):
    """Shows the last binding's metadata if a Configure has none."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        rows: dict[str, Mapping[str, str]] = vars(self).setdefault("rows", {})
        if request.metadata:
            rows[machine.id] = dict(request.metadata)
        return replace(super().bound(machine, request), shard_metadata=rows.get(machine.id, {}))


# Metadata of other machines.


@mutant(
    "MET-3",
    "MET-3a",
    "MET-3b",
    "MET-3c",
    also=("MET-2d",),
    because="a binding without metadata shows the metadata of other machines too",
)
class OneMapForAll(Core):
    """Shares one metadata map between all machines."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        shared: dict[str, str] = vars(self).setdefault("shared", {})
        shared.update(request.metadata)
        return replace(super().bound(machine, request), shard_metadata=shared)


@mutant("MET-3", "MET-3a", also=("MET-2d",), because="a binding without metadata may show that of another machine")
class TheLastRequestWins(Core):
    """Stores the metadata of the last Configure on every machine that settles."""

    latest: Mapping[str, str] = {}

    def bound(self, machine: Machine, request: Configure) -> Machine:
        self.latest = dict(request.metadata)
        return super().bound(machine, request)

    def settle(self, machine: Machine) -> Machine:
        settled = super().settle(machine)
        return replace(settled, shard_metadata=self.latest) if settled.state is State.CONFIGURED else settled


@mutant("MET-3", "MET-3c", also=("LIF-9a",), because="a neighbour in the cluster shows other metadata")
class KeptByCluster(Core):
    """Shares metadata between all machines of a cluster in Get."""

    def shown_in_get(self, machine: Machine) -> Machine:
        same = [m for m in self.machines.values() if m.cluster and m.cluster == machine.cluster]
        return replace(machine, shard_metadata=max(same, key=lambda m: m.revision).shard_metadata) if same else machine


@mutant("MET-3", "MET-3b", alone="which machine loses its metadata is random")
class DrainClearsEverybodys(Core):
    """Clears the metadata of all machines when one is drained."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        for other in list(self.machines.values()):
            if other.id != machine.id and other.shard_metadata:
                self.put(bare(other))
        return super().cleared_by_drain(machine)


# Large metadata.


@mutant("MET-4", "MET-4a")
class TwentyKeysAreEnough(Core):
    """Refuses more than twenty metadata keys."""

    def validate_metadata(self, request: Configure) -> None:
        if len(request.metadata) > 20:
            raise Rejected(Code.INVALID_ARGUMENT, "too many keys")


@mutant("MET-4", "MET-4a")
class EightKibAreEnough(Core):
    """Refuses more than 8 KiB of metadata."""

    def validate_metadata(self, request: Configure) -> None:
        if sum(len(key) + len(value) for key, value in request.metadata.items()) > 8192:
            raise Rejected(Code.RESOURCE_EXHAUSTED, "shard_metadata is too large")


@mutant("MET-4", "MET-4b")
class MoreThan100KeysAreCut(Rewriting):
    """Stores only the first hundred metadata keys."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return dict(sorted(metadata.items())[:100])


@mutant("MET-4", "MET-4b")
class ManyKeysAreAnInternalError(Core):
    """Answers INTERNAL for more than a hundred metadata keys."""

    def validate_metadata(self, request: Configure) -> None:
        if len(request.metadata) > 100:
            raise Rejected(Code.INTERNAL, "ER_TOO_MANY_FIELDS")


@mutant("MET-4", "MET-4b")
class ManyKeysAreRefusedTooLate(Core):
    """Refuses too many metadata keys only after it has stored the cluster."""

    def validate_metadata(self, request: Configure) -> None:
        pass

    def bound(self, machine: Machine, request: Configure) -> Machine:
        if len(request.metadata) > 100:
            self.put(replace(machine, cluster=request.cluster))
            raise Rejected(Code.INVALID_ARGUMENT, "too many keys")
        return super().bound(machine, request)


@mutant("MET-4", "MET-4c")
class LongValuesAreCut(Rewriting):
    """Cuts metadata keys and values at 16,384 characters."""

    def validate_metadata(self, request: Configure) -> None:
        pass

    def text(self, text: str) -> str:
        return text[:16384]


@mutant("MET-4", "MET-4c")
class LongKeysAreCut(Rewriting):
    """Cuts metadata keys at 512 characters."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key[:512]: value for key, value in metadata.items()}


@mutant("MET-4", "MET-4c")
class LongValuesAreOutOfRange(Core):
    """Answers ABORTED for metadata values of more than 64 KiB."""

    def validate_metadata(self, request: Configure) -> None:
        if any(len(value.encode()) > 65536 for value in request.metadata.values()):
            raise Rejected(Code.ABORTED, "a value is too long")
