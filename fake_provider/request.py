"""What goes into the core and what comes out of it, free of the wire."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from fake_provider.fence import Token
from fake_provider.machine import Machine, Verb

NO_TOKEN = Token()
"""What a call without a token carries (FEN-14)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Attach a host to a quota slot."""

    verb: ClassVar[Verb] = Verb.CREATE
    machine_id: str
    token: Token = NO_TOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """Bind an IDLE machine to a cluster."""

    verb: ClassVar[Verb] = Verb.CONFIGURE
    machine_id: str
    token: Token = NO_TOKEN
    cluster: str = ""
    blob: bytes = b""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Empty a CONFIGURED machine and unbind it."""

    verb: ClassVar[Verb] = Verb.DRAIN
    machine_id: str
    token: Token = NO_TOKEN
    grace: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Give an IDLE machine's host back."""

    verb: ClassVar[Verb] = Verb.DELETE
    machine_id: str
    token: Token = NO_TOKEN


Request = Create | Configure | Drain | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which machines a List is asked for."""

    states: frozenset[int] = frozenset()
    max_results: int = 0
    since: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The answer to a mutating call that was accepted."""

    operation_id: str
    machine: Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The answer to a List."""

    machines: Sequence[Machine]
    revision: bytes = b""
