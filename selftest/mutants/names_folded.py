"""Providers that take two names for one, or change a name (contract COD-1, FEN-9, LIF-6, MET-1, MET-4, WIR-5)."""

from __future__ import annotations

import html
import posixpath
import re
import unicodedata
import urllib.parse
from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from selftest.mutant import mutant
from selftest.mutants.codes import _Lenient
from selftest.mutants.fencing_marks import _Renames
from selftest.mutants.metadata import Rewriting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fake_provider.machine import Machine
    from fake_provider.request import Configure

UUID = re.compile(r"(?:urn:uuid:|{)?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})}?", re.I)


def canonical(text: str) -> str:
    return UUID.sub(lambda match: "-".join(match.groups()).lower(), text)


def without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


# Shard ids.


@mutant("FEN-9", "FEN-9e")
class ShardIdsAsPaths(_Renames):
    """Keeps marks in a key-value store with paths, and cleans a shard id like a path."""

    def rename(self, shard: str) -> str:
        return posixpath.normpath(shard)


@mutant("FEN-9", "FEN-9e")
class ShardIdsAsFormFields(_Renames):
    """Replaces a plus in shard ids by a space, as in a form."""

    def rename(self, shard: str) -> str:
        return shard.replace("+", " ")


@mutant("FEN-9", "FEN-9e")
class ShardIdsWithoutATrailingDot(_Renames):
    """Removes a dot at the end of shard ids, like a resolver."""

    def rename(self, shard: str) -> str:
        return shard.rstrip(".")


@mutant("FEN-9", "FEN-9e")
class ShardIdsAsUuids(_Renames):
    """Keeps UUIDs within shard ids in their usual notation."""

    def rename(self, shard: str) -> str:
        return canonical(shard)


@mutant("FEN-9", "FEN-9e")
class ShardIdsWithoutAccents(_Renames):
    """Compares shard ids without accents, like a database's default collation."""

    def rename(self, shard: str) -> str:
        return without_accents(shard)


@mutant("FEN-9", "FEN-9e")
class ShardIdsInThreeBytes(_Renames):
    """Replaces characters outside the Basic Multilingual Plane in shard ids, like MySQL's utf8."""

    def rename(self, shard: str) -> str:
        return "".join(c if ord(c) < 0x10000 else "\ufffd" for c in shard)


@mutant("FEN-9", "FEN-9e")
class ShardIdsWithEntities(_Renames):
    """Decodes HTML entities in shard ids."""

    def rename(self, shard: str) -> str:
        return html.unescape(shard)


@mutant("FEN-9", "FEN-9e")
class ShardIdsWithForwardSlashes(_Renames):
    """Replaces backslashes in shard ids by slashes."""

    def rename(self, shard: str) -> str:
        return shard.replace("\\", "/")


@mutant("FEN-9", "FEN-9e")
class ShardIdsWithoutQuotes(_Renames):
    """Removes quotes from shard ids."""

    def rename(self, shard: str) -> str:
        return shard.replace('"', "")


@mutant("FEN-9", "FEN-9e")
class ShardIdsUpToAQuestionMark(_Renames):
    """Cuts shard ids at a question mark, as if they were addresses."""

    def rename(self, shard: str) -> str:
        return re.sub(r"(?<=end)[?#;].*", "", shard)


@mutant("FEN-9", "FEN-9e")
class NumbersInShardIdsAreDoubles(_Renames):
    """Reads a number at the end of a shard id as a double."""

    def rename(self, shard: str) -> str:
        return re.sub(r"(?<=-)[+0-9.e]+$", lambda match: repr(float(match[0])) if match[0] else "", shard)


@mutant("FEN-9", "FEN-9e")
class ShardIdsWithoutVariationSelectors(_Renames):
    """Removes variation selectors from shard ids."""

    def rename(self, shard: str) -> str:
        return shard.replace("\ufe0f", "")


@mutant("FEN-9", "FEN-9d")
class ShardIdsOf1024Characters(_Renames):
    """Cuts shard ids at 1,024 characters."""

    def rename(self, shard: str) -> str:
        return shard[:1024]


@mutant("FEN-9", "FEN-9d")
class ShardIdsOf4096Characters(_Renames):
    """Cuts shard ids at 4,096 characters."""

    def rename(self, shard: str) -> str:
        return shard[:4096]


@mutant("FEN-9", "FEN-9d")
class ShardIdsOf8192Characters(_Renames):
    """Cuts shard ids at 8,192 characters."""

    def rename(self, shard: str) -> str:
        return shard[:8192]


@mutant("FEN-9", "FEN-9d")
class ShardIdsOf65535Characters(_Renames):
    """Cuts shard ids at 65,535 characters, the size of a TEXT column."""

    def rename(self, shard: str) -> str:
        return shard[:65_535]


# Machine ids.


@mutant("COD-1", "COD-1c")
class IdsAreUnescaped(_Lenient):
    """Unescapes machine ids as if they were part of a URL."""

    def normal(self, machine_id: str) -> str:
        return urllib.parse.unquote(machine_id)


@mutant("COD-1", "COD-1c")
class IdsArePaths(_Lenient):
    """Cleans machine ids like paths."""

    def normal(self, machine_id: str) -> str:
        return posixpath.normpath(machine_id)


@mutant("COD-1", "COD-1c")
class IdsHaveNoTrailingDot(_Lenient):
    """Removes a dot at the end of machine ids, like a resolver."""

    def normal(self, machine_id: str) -> str:
        return machine_id.rstrip(".")


@mutant("COD-1", "COD-1c")
class IdsAreCompatible(_Lenient):
    """Normalises machine ids to NFKC."""

    def normal(self, machine_id: str) -> str:
        return unicodedata.normalize("NFKC", machine_id)


@mutant("COD-1", "COD-1c")
class IdsHaveNoAccents(_Lenient):
    """Compares machine ids without accents, like a database's default collation."""

    def normal(self, machine_id: str) -> str:
        return without_accents(machine_id)


@mutant("COD-1", "COD-1c")
class IdsHaveNoInvisibleCharacters(_Lenient):
    """Removes invisible characters from machine ids."""

    def normal(self, machine_id: str) -> str:
        return "".join(c for c in machine_id if unicodedata.category(c) != "Cf")


@mutant("COD-1", "COD-1c")
class IdsHaveNoQuotes(_Lenient):
    """Removes quotes and braces around machine ids."""

    def normal(self, machine_id: str) -> str:
        return machine_id.strip("\"'{}")


@mutant("COD-1", "COD-1c")
class IdsEndAtAQuestionMark(_Lenient):
    """Cuts machine ids at a question mark, a number sign or a semicolon, as if they were addresses."""

    def normal(self, machine_id: str) -> str:
        return re.split("[?#;]", machine_id)[0]


@mutant("COD-1", "COD-1c")
class IdsAreSlugs(_Lenient):
    """Compares machine ids as slugs: runs of other characters than letters and digits are one dash."""

    def normal(self, machine_id: str) -> str:
        return re.sub(r"[\W_]+", "-", machine_id)


# Clusters.


class _Clusters(Core):
    """Not a mutant: changes the cluster before it is stored."""

    def cluster(self, name: str) -> str:
        raise NotImplementedError

    def bound(self, machine: Machine, request: Configure) -> Machine:
        return replace(super().bound(machine, request), cluster=self.cluster(request.cluster))


@mutant("LIF-6", "LIF-6a")
class ClustersInLowerCase(_Clusters):
    """Converts the names of clusters to lower case."""

    def cluster(self, name: str) -> str:
        return name.lower()


@mutant("LIF-6", "LIF-6c")
class ClustersOf253Characters(_Clusters):
    """Cuts the names of clusters at 253 characters."""

    def cluster(self, name: str) -> str:
        return name[:253]


@mutant("LIF-6", "LIF-6a")
class ClustersAreUnescaped(_Clusters):
    """Unescapes the names of clusters as if they were part of a URL."""

    def cluster(self, name: str) -> str:
        return urllib.parse.unquote(name)


@mutant("LIF-6", "LIF-6a")
class ClustersArePaths(_Clusters):
    """Cleans the names of clusters like paths."""

    def cluster(self, name: str) -> str:
        return posixpath.normpath(name)


@mutant("LIF-6", "LIF-6a")
class ClustersAreTrimmed(_Clusters):
    """Trims blanks from the ends of the names of clusters."""

    def cluster(self, name: str) -> str:
        return name.strip()


@mutant("LIF-6", "LIF-6a", whole=True)
class ClustersEndAtNul(_Clusters):
    """Cuts the names of clusters at the first NUL."""

    def cluster(self, name: str) -> str:
        return name.partition("\0")[0]


@mutant("LIF-6", "LIF-6a")
class ClustersAreComposed(_Clusters):
    """Normalises the names of clusters to NFC."""

    def cluster(self, name: str) -> str:
        return unicodedata.normalize("NFC", name)


@mutant("LIF-6", "LIF-6a", whole=True)
class TheFirstSpellingOfACluster(_Clusters):
    """Shows a cluster as it was spelled first, because its table of clusters ignores case."""

    def cluster(self, name: str) -> str:
        spellings: dict[str, str] = self.__dict__.setdefault("spellings", {})
        return spellings.setdefault(name.casefold(), name)


# Metadata.


@mutant("MET-1", "MET-1f")
class PrototypesAreDropped(Rewriting):
    """Drops metadata keys that every JavaScript object has."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in metadata.items() if key not in ("__proto__", "constructor")}


@mutant("MET-1", "MET-1f")
class TemplatesAreRendered(Rewriting):
    """Renders metadata values as templates, in which unknown names are empty."""

    def text(self, text: str) -> str:
        return re.sub(r"{{.*?}}", "", text)


@mutant("MET-1", "MET-1f")
class DottedKeysAreNested(Rewriting):
    """Stores metadata with dotted keys as nested objects: a key loses its value if it is also a prefix."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        prefixes = {key.partition(".")[0] for key in metadata if "." in key}
        return {key: value for key, value in metadata.items() if key not in prefixes}


@mutant("MET-1", "MET-1f")
class KeysOf255Characters(Rewriting):
    """Cuts metadata keys at 255 characters."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key[:255]: value for key, value in metadata.items()}


@mutant("MET-1", "MET-1e")
class MetadataIsUnescaped(Rewriting):
    """Unescapes letters in metadata as if it were part of a URL."""

    def text(self, text: str) -> str:
        return re.sub(r"%[4-7C][0-9A-F](?:%A9)?", lambda match: urllib.parse.unquote(match[0]), text)


@mutant("MET-1", "MET-1e")
class EntitiesAreDecoded(Rewriting):
    """Decodes numeric HTML entities in metadata."""

    def text(self, text: str) -> str:
        return re.sub(r"&#(\d+);", lambda match: chr(int(match[1])), text)


@mutant("MET-1", "MET-1e")
class UuidsAreCanonical(Rewriting):
    """Converts UUIDs in metadata values to their usual notation."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key: canonical(value) for key, value in metadata.items()}


@mutant("MET-1", "MET-1e")
class NumbersAreDoubles(Rewriting):
    """Reads metadata values with a decimal point as doubles."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        number = re.compile(r"\d{9,}\.\d+")
        return {key: repr(float(value)) if number.fullmatch(value) else value for key, value in metadata.items()}


@mutant("MET-1", "MET-1g")
class KeysWithoutAccents(Rewriting):
    """Keeps one of several metadata keys that differ only in accents, like a unique index of a database."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        first: dict[str, str] = {}
        return {key: value for key, value in metadata.items() if first.setdefault(without_accents(key), key) == key}


@mutant("MET-1", "MET-1g")
class VariationSelectorsAreRemoved(Rewriting):
    """Removes variation selectors from metadata keys."""

    def kept_of(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {key.replace("\ufe0f", ""): value for key, value in metadata.items()}


@mutant("MET-4", "MET-4c")
class ValuesOf8192Characters(Rewriting):
    """Cuts metadata values at 8,192 characters."""

    def text(self, text: str) -> str:
        return text[:8192]


@mutant("WIR-5", "WIR-5c")
class ValuesOf65535Bytes(Rewriting):
    """Cuts metadata values at 65,535 bytes, the size of a TEXT column."""

    def text(self, text: str) -> str:
        return text.encode()[:65_535].decode(errors="ignore")
