"""MET-1 broken: metadata that is lost or changed."""

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


@mutant("MET-1", "MET-1b", "MET-4b")
class AckLeavesMetadataOut(Core):
    """The ack is built from the machine as it was before the call."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return bare(machine) if verb is Verb.CONFIGURE else machine


@mutant("MET-1", "MET-1b")
class FirstAckLeavesMetadataOut(Core):
    """The ack of a Configure is built from the machine as it was before the call; that of a retry is not."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        seen: set[str] = self.__dict__.setdefault("seen", set())
        operation = machine.operation.id if machine.operation else ""
        first = operation not in seen
        seen.add(operation)
        return bare(machine) if verb is Verb.CONFIGURE and first else machine


@mutant("MET-1", "MET-1e")
class AckTrimsMetadata(Core):
    """The ack is put together by the API layer, which trims what it is given, and not by the store, which does not."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return replace(machine, shard_metadata={k.strip(): v.strip() for k, v in machine.shard_metadata.items()})


@mutant(
    "MET-2",
    "MET-2c",
    also=("MET-1b", "MET-1e", "MET-1g", "MET-4b", "MET-4c"),
    because="their machine may have had a binding before, which the ack shows instead of theirs",
)
class AckShowsTheFirstBinding(Core):
    """The ack of Configure is made from a cache that has the machine's first binding."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        bindings: dict[str, dict[str, str]] = self.__dict__.setdefault("bindings", {})
        if verb is not Verb.CONFIGURE or not machine.shard_metadata:
            return machine
        return replace(machine, shard_metadata=bindings.setdefault(machine.id, dict(machine.shard_metadata)))


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


@mutant("MET-1", "MET-1c", "MET-2c", "MET-3a")
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
