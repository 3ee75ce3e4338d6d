"""MET broken: metadata that is lost, changed, kept, shared or cut."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import Machine, Operation, State, Verb
from selftest.mutant import mutant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fake_provider.request import Configure, Request


def bare(machine: Machine) -> Machine:
    return replace(machine, shard_metadata={})


class Rewriting(Core):
    """Not a mutant: what a subclass does to keys and values before it keeps them."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {self.text(key): self.text(value) for key, value in metadata.items()}

    def text(self, text: str) -> str:
        return text

    def bound(self, machine: Machine, request: Configure) -> Machine:
        return replace(super().bound(machine, request), shard_metadata=self.kept_of(request.metadata))


# Where it shows.


@mutant("MET-1", "MET-1a")
class GetLeavesMetadataOut(Core):
    """Get is served from a table that has no column for metadata."""

    def shown_in_get(self, machine: Machine) -> Machine:
        return bare(machine)


@mutant("MET-1", "MET-1a")
class ListLeavesMetadataOut(Core):
    """List leaves the metadata out to keep the answer small."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return bare(machine)


@mutant("MET-1", "MET-1b")
class AckLeavesMetadataOut(Core):
    """The ack is built from the machine as it was before the call."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return bare(machine) if verb is Verb.CONFIGURE else machine


@mutant("MET-1", "MET-1b")
class RepeatedAckLeavesMetadataOut(Core):
    """A retry is answered from the operation's record, which keeps no metadata."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return bare(machine) if verb is Verb.CONFIGURE and machine.state is State.CONFIGURED else machine


@mutant("MET-1", "MET-1b", "MET-2b")
class DrainAckLeavesMetadataOut(Core):
    """Drain's ack shows what the machine will be like."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return bare(machine) if verb is Verb.DRAIN else machine


@mutant("MET-1", "MET-1c")
class MetadataComesWithTheNode(Core):
    """Metadata is read back from the node, which is not there before CONFIGURED."""

    def shown_in_get(self, machine: Machine) -> Machine:
        return bare(machine) if machine.state is State.CONFIGURING else machine


@mutant("MET-1", "MET-1c")
class ListHasNoMetadataWhileConfiguring(Core):
    """List joins metadata from bindings that are complete."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return bare(machine) if machine.state is State.CONFIGURING else machine


@mutant("MET-1", "MET-1d", "MET-2b")
class DrainClearsMetadataAtOnce(Core):
    """Drain clears the metadata when it begins, and the cluster when it ends."""

    def under_way(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        machine = super().under_way(verb, machine, request, operation)
        return bare(machine) if verb is Verb.DRAIN else machine


@mutant("MET-1", "MET-1d")
class ListHasNoMetadataWhileDraining(Core):
    """List counts a draining machine as no longer bound."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return bare(machine) if machine.state is State.DRAINING else machine


# What becomes of it.


@mutant("MET-1", "MET-1a")
class OnlyKnownKeys(Rewriting):
    """Metadata is parsed into a struct, and back."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        known = ("priority", "interruption-penalty", "binding-generation", "owner", "small", "only second", "shared")
        return {key: value for key, value in metadata.items() if key in known}


@mutant("MET-1", "MET-1a", "MET-1e")
class EmptyValuesAreDropped(Rewriting):
    """An empty value is taken for an absent one."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in metadata.items() if value}


@mutant("MET-1", "MET-1e")
class TheEmptyKeyIsDropped(Rewriting):
    """A key without a name cannot be stored."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in metadata.items() if key}


@mutant("MET-1", "MET-1e")
class SpacesAreTrimmed(Rewriting):
    """Keys and values are trimmed as they come in."""

    def text(self, text: str) -> str:
        return text.strip(" ")


@mutant("MET-1", "MET-1e")
class KeysAreLowercased(Rewriting):
    """Keys are HTTP headers somewhere on the way."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key.lower(): value for key, value in metadata.items()}


@mutant("MET-1", "MET-1e")
class KeysAreUniqueWithoutCase(Rewriting):
    """The column's collation ignores case: the last of two such keys stays."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return dict({key.lower(): (key, value) for key, value in metadata.items()}.values())


@mutant("MET-1", "MET-1e")
class CutAtNul(Rewriting):
    """Strings go through C."""

    def text(self, text: str) -> str:
        return text.partition("\0")[0]


@mutant("MET-1", "MET-1e")
class RefusesControlCharacters(Core):
    """Values that would break the log are refused."""

    def validate_metadata(self, request: Configure) -> None:
        if any(unicodedata.category(c) == "Cc" for v in request.metadata.values() for c in v):
            raise Rejected(Code.INVALID_ARGUMENT, "control characters in shard_metadata")


@mutant("MET-1", "MET-1e")
class LineEndsAreMadeTheSame(Rewriting):
    """A text column turns CRLF into LF."""

    def text(self, text: str) -> str:
        return text.replace("\r\n", "\n").replace("\r", "\n")


@mutant("MET-1", "MET-1e")
class JsonIsRead(Rewriting):
    """Values that are JSON are stored as JSON, and printed again."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key: self.text(value) for key, value in metadata.items()}

    def text(self, text: str) -> str:
        try:
            return json.dumps(json.loads(text)) if text[:1] in "{[" else text
        except ValueError:
            return text


@mutant("MET-1", "MET-1f")
class ValuesAreLabelValues(Rewriting):
    """Metadata is kept as labels of the node: 63 characters."""

    def text(self, text: str) -> str:
        return text[:63]


@mutant("MET-1", "MET-1f")
class ReservedKeysAreDropped(Rewriting):
    """Keys of the kubernetes.io domains are the platform's own."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in metadata.items() if "kubernetes.io/" not in key}


@mutant("MET-1", "MET-1f")
class KeysOverwriteFields(Rewriting):
    """The machine is a document, and metadata is merged into it."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        return replace(super().bound(machine, request), last_error=request.metadata.get("last_error", ""))


@mutant("MET-1", "MET-1f")
class KeysNamedLikeFieldsAreDropped(Rewriting):
    """Keys that are also fields are taken for an attempt to overwrite them."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in metadata.items() if key not in ("id", "state", "cluster")}


@mutant("MET-1", "MET-1g", "MET-1h")
class NormalisedToCompatible(Rewriting):
    """All text is normalised as it comes in: NFKC, for safety."""

    def text(self, text: str) -> str:
        return unicodedata.normalize("NFKC", text)


@mutant("MET-1", "MET-1g")
class NormalisedToComposed(Rewriting):
    """All text is normalised as it comes in: NFC, as the web does."""

    def text(self, text: str) -> str:
        return unicodedata.normalize("NFC", text)


@mutant("MET-1", "MET-1g", "MET-1h")
class ThreeBytesAreEnough(Rewriting):
    """The column is MySQL's utf8: characters beyond the basic plane become question marks."""

    def text(self, text: str) -> str:
        return "".join(c if ord(c) < 0x10000 else "?" for c in text)


@mutant("MET-1", "MET-1g")
class ByteOrderMarkIsEaten(Rewriting):
    """Text is decoded as UTF-8 with a signature."""

    def text(self, text: str) -> str:
        return text.removeprefix("\ufeff")


@mutant("MET-1", "MET-1g")
class InvisibleCharactersAreStripped(Rewriting):
    """Zero-width and directional characters are taken for an attack."""

    def text(self, text: str) -> str:
        return "".join(c for c in text if unicodedata.category(c) != "Cf")


@mutant("MET-1", "MET-1g", "MET-1h")
class LatinOnly(Rewriting):
    """The bytes go through latin-1."""

    def text(self, text: str) -> str:
        return text.encode("latin-1", "replace").decode("latin-1")


# What is left of it.


@mutant("MET-2", "MET-2a", "MET-2b")
class DrainKeepsMetadata(Core):
    """Drain clears the cluster and forgets the metadata."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        return replace(machine, cluster="")


@mutant("MET-2", "MET-2a")
class ListStillShowsMetadataAtIdle(Core):
    """List's own table is not cleaned up."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        vars(self).setdefault("old", {})[machine.id] = request.metadata
        return super().bound(machine, request)

    def shown_in_list(self, machine: Machine) -> Machine:
        return replace(machine, shard_metadata=vars(self).get("old", {}).get(machine.id, {}))


@mutant("MET-2", "MET-2b")
class ClusterGoesFirst(Core):
    """Drain takes the cluster away when it begins, and the metadata when it ends."""

    def under_way(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        machine = super().under_way(verb, machine, request, operation)
        return replace(machine, cluster="") if verb is Verb.DRAIN else machine


@mutant("MET-2", "MET-2c", "MET-2d")
class BindingsAddUp(Core):
    """Metadata is merged into what the row already held, and only hidden at IDLE."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        rows: dict[str, dict[str, str]] = vars(self).setdefault("rows", {})
        rows.setdefault(machine.id, {}).update(request.metadata)
        return replace(super().bound(machine, request), shard_metadata=dict(rows[machine.id]))


@mutant("MET-2", "MET-2c")
class FirstWriteWins(Core):
    """A key that was set once is not set again."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        rows: dict[str, dict[str, str]] = vars(self).setdefault("rows", {})
        row = rows.setdefault(machine.id, {})
        row |= {key: value for key, value in request.metadata.items() if key not in row}
        return replace(super().bound(machine, request), shard_metadata={key: row[key] for key in request.metadata})


@mutant("MET-2", "MET-2d")
class AnEmptyMapIsNoUpdate(Core):
    """Metadata is only written where there is any."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        rows: dict[str, Mapping[str, str]] = vars(self).setdefault("rows", {})
        if request.metadata:
            rows[machine.id] = dict(request.metadata)
        return replace(super().bound(machine, request), shard_metadata=rows.get(machine.id, {}))


# Whose it is.


@mutant("MET-3", "MET-3a", "MET-3b", "MET-3c")
class OneMapForAll(Core):
    """A default argument that is a dict."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        shared: dict[str, str] = vars(self).setdefault("shared", {})
        shared.update(request.metadata)
        return replace(super().bound(machine, request), shard_metadata=shared)


@mutant("MET-3", "MET-3a")
class TheLastRequestWins(Core):
    """What is written when a Configure completes is read from a variable that the next Configure has set."""

    latest: Mapping[str, str] = {}

    def bound(self, machine: Machine, request: Configure) -> Machine:
        self.latest = dict(request.metadata)
        return super().bound(machine, request)

    def settle(self, machine: Machine) -> Machine:
        settled = super().settle(machine)
        return replace(settled, shard_metadata=self.latest) if settled.state is State.CONFIGURED else settled


@mutant("MET-3", "MET-3c")
class KeptByCluster(Core):
    """Metadata is kept under the cluster's id."""

    def shown_in_get(self, machine: Machine) -> Machine:
        same = [m for m in self.machines.values() if m.cluster and m.cluster == machine.cluster]
        return replace(machine, shard_metadata=max(same, key=lambda m: m.revision).shard_metadata) if same else machine


@mutant("MET-3", "MET-3b")
class DrainClearsEverybodys(Core):
    """The cleanup lacks its WHERE clause."""

    def cleared_by_drain(self, machine: Machine) -> Machine:
        for other in list(self.machines.values()):
            if other.id != machine.id and other.shard_metadata:
                self.put(bare(other))
        return super().cleared_by_drain(machine)


# How much of it.


@mutant("MET-4", "MET-4a")
class FortyKeysAreEnough(Core):
    """More than forty keys are refused."""

    def validate_metadata(self, request: Configure) -> None:
        if len(request.metadata) > 40:
            raise Rejected(Code.INVALID_ARGUMENT, "too many keys")


@mutant("MET-4", "MET-4a")
class EightKibAreEnough(Core):
    """More than 8 KiB are refused."""

    def validate_metadata(self, request: Configure) -> None:
        if sum(len(key) + len(value) for key, value in request.metadata.items()) > 8192:
            raise Rejected(Code.RESOURCE_EXHAUSTED, "shard_metadata is too large")


@mutant("MET-4", "MET-4b")
class MoreThan100KeysAreCut(Rewriting):
    """The first hundred keys are kept."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return dict(sorted(metadata.items())[:100])


@mutant("MET-4", "MET-4b")
class ManyKeysAreAnInternalError(Core):
    """The database's complaint is handed on as it is."""

    def validate_metadata(self, request: Configure) -> None:
        if len(request.metadata) > 100:
            raise Rejected(Code.INTERNAL, "ER_TOO_MANY_FIELDS")


@mutant("MET-4", "MET-4b")
class ManyKeysAreRefusedTooLate(Core):
    """The size is checked when the binding is written, and that is after the machine was put on its way."""

    def validate_metadata(self, request: Configure) -> None:
        pass

    def bound(self, machine: Machine, request: Configure) -> Machine:
        if len(request.metadata) > 100:
            self.put(replace(machine, cluster=request.cluster))
            raise Rejected(Code.INVALID_ARGUMENT, "too many keys")
        return super().bound(machine, request)


@mutant("MET-4", "MET-4c")
class LongValuesAreCut(Rewriting):
    """A VARCHAR(16384), and a database that cuts in silence."""

    def validate_metadata(self, request: Configure) -> None:
        pass

    def text(self, text: str) -> str:
        return text[:16384]


@mutant("MET-4", "MET-4c")
class LongKeysAreCut(Rewriting):
    """A key column of 512 characters."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key[:512]: value for key, value in metadata.items()}


@mutant("MET-4", "MET-4c")
class LongValuesAreOutOfRange(Core):
    """What is too long is refused with a code that tells the shard to try again."""

    def validate_metadata(self, request: Configure) -> None:
        if any(len(value.encode()) > 65536 for value in request.metadata.values()):
            raise Rejected(Code.ABORTED, "a value is too long")
