"""Providers that lose or change metadata (contract §6, MET-1)."""

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
    """Not a mutant: changes keys and values before it stores them."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {self.text(key): self.text(value) for key, value in metadata.items()}

    def text(self, text: str) -> str:
        return text

    def bound(self, machine: Machine, request: Configure) -> Machine:
        return replace(super().bound(machine, request), shard_metadata=self.kept_of(request.metadata))


# Where metadata is shown.


@mutant("MET-1", "MET-1a")
class GetLeavesMetadataOut(Core):
    """Omits metadata from Get."""

    def shown_in_get(self, machine: Machine) -> Machine:
        return bare(machine)


@mutant("MET-1", "MET-1a")
class ListLeavesMetadataOut(Core):
    """Omits metadata from List."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return bare(machine)


@mutant("MET-1", "MET-1b", "MET-4b")
class AckLeavesMetadataOut(Core):
    """Omits metadata from the ack of Configure."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return bare(machine) if verb is Verb.CONFIGURE else machine


@mutant("MET-1", "MET-1b")
class FirstAckLeavesMetadataOut(Core):
    """Omits metadata from the first ack of Configure, but not from that of a retry."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        seen: set[str] = self.__dict__.setdefault("seen", set())
        operation = machine.operation.id if machine.operation else ""
        first = operation not in seen
        seen.add(operation)
        return bare(machine) if verb is Verb.CONFIGURE and first else machine


@mutant("MET-1", "MET-1e")
class AckTrimsMetadata(Core):
    """Trims keys and values of metadata in acks."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return replace(machine, shard_metadata={k.strip(): v.strip() for k, v in machine.shard_metadata.items()})


@mutant(
    "MET-2",
    "MET-2c",
    also=("MET-1b", "MET-1e", "MET-1g", "MET-4b", "MET-4c"),
    because="the ack may show an earlier binding of their machine",
)
class AckShowsTheFirstBinding(Core):
    """Shows the metadata of the machine's first binding in the ack of every Configure."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        bindings: dict[str, dict[str, str]] = self.__dict__.setdefault("bindings", {})
        if verb is not Verb.CONFIGURE or not machine.shard_metadata:
            return machine
        return replace(machine, shard_metadata=bindings.setdefault(machine.id, dict(machine.shard_metadata)))


@mutant("MET-1", "MET-1b")
class RepeatedAckLeavesMetadataOut(Core):
    """Omits metadata from the ack of a repeated Configure at CONFIGURED."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return bare(machine) if verb is Verb.CONFIGURE and machine.state is State.CONFIGURED else machine


@mutant("MET-1", "MET-1b", "MET-2b")
class DrainAckLeavesMetadataOut(Core):
    """Omits metadata from the ack of Drain."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return bare(machine) if verb is Verb.DRAIN else machine


@mutant("MET-1", "MET-1c", "MET-2c", "MET-3a")
class MetadataComesWithTheNode(Core):
    """Omits metadata from Get while CONFIGURING."""

    def shown_in_get(self, machine: Machine) -> Machine:
        return bare(machine) if machine.state is State.CONFIGURING else machine


@mutant("MET-1", "MET-1c")
class ListHasNoMetadataWhileConfiguring(Core):
    """Omits metadata from List while CONFIGURING."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return bare(machine) if machine.state is State.CONFIGURING else machine


@mutant("MET-1", "MET-1d", "MET-2b")
class DrainClearsMetadataAtOnce(Core):
    """Clears the metadata when a Drain starts, and the cluster when it ends."""

    def in_transition(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        machine = super().in_transition(verb, machine, request, operation)
        return bare(machine) if verb is Verb.DRAIN else machine


@mutant("MET-1", "MET-1d")
class ListHasNoMetadataWhileDraining(Core):
    """Omits metadata from List while DRAINING."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return bare(machine) if machine.state is State.DRAINING else machine


# How metadata is changed.


@mutant("MET-1", "MET-1a")
class OnlyKnownKeys(Rewriting):
    """Stores only metadata keys that it knows."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        known = ("priority", "interruption-penalty", "binding-generation", "owner", "small", "only second", "shared")
        return {key: value for key, value in metadata.items() if key in known}


@mutant("MET-1", "MET-1a", "MET-1e")
class EmptyValuesAreDropped(Rewriting):
    """Drops metadata with an empty value."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in metadata.items() if value}


@mutant("MET-1", "MET-1e")
class TheEmptyKeyIsDropped(Rewriting):
    """Drops metadata with an empty key."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in metadata.items() if key}


@mutant("MET-1", "MET-1e")
class SpacesAreTrimmed(Rewriting):
    """Trims spaces at the ends of metadata keys and values."""

    def text(self, text: str) -> str:
        return text.strip(" ")


@mutant("MET-1", "MET-1e")
class KeysAreLowercased(Rewriting):
    """Converts metadata keys to lower case."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key.lower(): value for key, value in metadata.items()}


@mutant("MET-1", "MET-1e")
class KeysAreUniqueWithoutCase(Rewriting):
    """Keeps only the last of several metadata keys that differ only in case."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return dict({key.lower(): (key, value) for key, value in metadata.items()}.values())


@mutant("MET-1", "MET-1e")
class CutAtNul(Rewriting):
    """Cuts metadata keys and values at the first NUL."""

    def text(self, text: str) -> str:
        return text.partition("\0")[0]


@mutant("MET-1", "MET-1e")
class RefusesControlCharacters(Core):
    """Refuses metadata values with control characters."""

    def validate_metadata(self, request: Configure) -> None:
        if any(unicodedata.category(c) == "Cc" for v in request.metadata.values() for c in v):
            raise Rejected(Code.INVALID_ARGUMENT, "control characters in shard_metadata")


@mutant("MET-1", "MET-1e")
class LineEndsAreMadeTheSame(Rewriting):
    """Converts CRLF and CR in metadata to LF."""

    def text(self, text: str) -> str:
        return text.replace("\r\n", "\n").replace("\r", "\n")


@mutant("MET-1", "MET-1e")
class JsonIsRead(Rewriting):
    """Parses metadata values that are JSON, and formats them again."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key: self.text(value) for key, value in metadata.items()}

    def text(self, text: str) -> str:
        try:
            return json.dumps(json.loads(text)) if text[:1] in "{[" else text
        except ValueError:
            return text


@mutant("MET-1", "MET-1f")
class ValuesAreLabelValues(Rewriting):
    """Cuts metadata keys and values at 63 characters, like label values."""

    def text(self, text: str) -> str:
        return text[:63]


@mutant("MET-1", "MET-1f")
class ReservedKeysAreDropped(Rewriting):
    """Drops metadata keys in the kubernetes.io domains."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in metadata.items() if "kubernetes.io/" not in key}


@mutant("MET-1", "MET-1f", also=("SHP-4b",), because="last_error is shown on a machine that did not fail")
class KeysOverwriteFields(Rewriting):
    """Overwrites the field last_error with the metadata of that key."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        return replace(super().bound(machine, request), last_error=request.metadata.get("last_error", ""))


@mutant("MET-1", "MET-1f")
class KeysNamedLikeFieldsAreDropped(Rewriting):
    """Drops metadata keys that are named like fields."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in metadata.items() if key not in ("id", "state", "cluster")}


@mutant("MET-1", "MET-1g", "MET-1h")
class NormalisedToCompatible(Rewriting):
    """Normalises metadata to NFKC."""

    def text(self, text: str) -> str:
        return unicodedata.normalize("NFKC", text)


@mutant("MET-1", "MET-1g")
class NormalisedToComposed(Rewriting):
    """Normalises metadata to NFC."""

    def text(self, text: str) -> str:
        return unicodedata.normalize("NFC", text)


@mutant("MET-1", "MET-1g", "MET-1h")
class ThreeBytesAreEnough(Rewriting):
    """Replaces characters outside the Basic Multilingual Plane by question marks, like MySQL's utf8."""

    def text(self, text: str) -> str:
        return "".join(c if ord(c) < 0x10000 else "?" for c in text)


@mutant("MET-1", "MET-1g")
class ByteOrderMarkIsEaten(Rewriting):
    """Removes a byte order mark at the beginning of metadata."""

    def text(self, text: str) -> str:
        return text.removeprefix("\ufeff")


@mutant("MET-1", "MET-1g")
class InvisibleCharactersAreStripped(Rewriting):
    """Removes zero-width and directional characters from metadata."""

    def text(self, text: str) -> str:
        return "".join(c for c in text if unicodedata.category(c) != "Cf")


@mutant("MET-1", "MET-1g", "MET-1h")
class LatinOnly(Rewriting):
    """Replaces characters outside Latin-1 in metadata."""

    def text(self, text: str) -> str:
        return text.encode("latin-1", "replace").decode("latin-1")
