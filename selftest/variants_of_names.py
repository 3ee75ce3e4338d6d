"""Variants with unusual revisions, or with rules for names."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from selftest.variant import variant

if TYPE_CHECKING:
    from fake_provider.fence import Token
    from fake_provider.machine import Machine, Verb
    from fake_provider.request import Configure


@variant()
class PlainNames(Core):
    """Refuses clusters that are not host names, and shard ids that are long or have control characters."""

    def validate_cluster(self, request: Configure) -> None:
        super().validate_cluster(request)
        if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}", request.cluster):
            raise Rejected(Code.INVALID_ARGUMENT, "cluster_id is not a name")

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        if len(token.shard) > 255 or any(ord(c) < 32 for c in token.shard):
            raise Rejected(Code.INVALID_ARGUMENT, "shard_id is not a name")
        super().fence(verb, machine_id, token)


@variant()
class CursorsAreText(Core):
    """Gives revisions that are text with a number in it."""

    def encode_cursor(self, number: int) -> bytes:
        return f"v1:{number:012}".encode()

    def decode_cursor(self, cursor: bytes) -> int | None:
        match = re.fullmatch(rb"v1:(\d{12})", cursor)
        return int(match[1]) if match else None


@variant()
class CursorsAreTimes(Core):
    """Gives the time of the newest change in milliseconds as the revision, and believes every time in the past."""

    at = 0.0
    started = int(time.time() * 1000)

    def advance(self, now: float) -> None:
        self.at = now
        super().advance(now)

    def put(self, machine: Machine) -> Machine:
        self.inventory.revision = max(self.inventory.revision, self.started + int(self.at * 1000))
        return super().put(machine)

    def encode_cursor(self, number: int) -> bytes:
        return str(number).encode()

    def decode_cursor(self, cursor: bytes) -> int | None:
        return int(cursor) if cursor.isdigit() and len(cursor) == 13 else None

    def since(self, cursor: bytes) -> int:
        since = self.decode_cursor(cursor)
        believed = since is not None and since <= self.started + int(self.at * 1000)
        return since if since is not None and believed else super().since(cursor)
