"""The requests and answers of the core, independent of gRPC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from fake_provider.fence import Token
from fake_provider.machine import Machine, Verb

NO_TOKEN = Token()
"""The token of a call without a token (FEN-14)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Attaches a host to a quota slot."""

    verb: ClassVar[Verb] = Verb.CREATE
    machine_id: str
    token: Token = NO_TOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """Binds an IDLE machine to a cluster."""

    verb: ClassVar[Verb] = Verb.CONFIGURE
    machine_id: str
    token: Token = NO_TOKEN
    cluster: str = ""
    blob: bytes = b""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Drains a CONFIGURED machine and unbinds it."""

    verb: ClassVar[Verb] = Verb.DRAIN
    machine_id: str
    token: Token = NO_TOKEN
    grace: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Releases the host of an IDLE machine."""

    verb: ClassVar[Verb] = Verb.DELETE
    machine_id: str
    token: Token = NO_TOKEN


Request = Create | Configure | Drain | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """The filter, cap and cursor of a List."""

    states: frozenset[int] = frozenset()
    max_results: int = 0
    since: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The answer to an accepted mutating call."""

    operation_id: str
    machine: Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The answer to a List."""

    machines: Sequence[Machine]
    revision: bytes = b""
