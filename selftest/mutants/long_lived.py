"""Providers that forget marks or operation ids after some seconds, or after many other calls (FEN-12, OPS-2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.fence import Token
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.machine import Verb
    from fake_provider.request import Ack, Request
    from fake_provider.store import MarkKey


class _Ages(Core):
    """Knows the time and the number of calls, and when each mark and each operation was last used."""

    now, calls = 0.0, 0

    @property
    def used(self) -> dict[object, tuple[float, int]]:
        used: dict[object, tuple[float, int]] = self.__dict__.setdefault("last_used", {})
        return used

    def mutate(self, request: Request, now: float) -> Ack:
        self.now, self.calls = now, self.calls + 1
        return super().mutate(request, now)

    def seconds(self, key: object) -> float:
        """Returns the seconds since the mark or the operation was last used."""
        return self.now - self.used.get(key, (self.now, 0))[0]

    def others(self, key: object) -> int:
        """Returns the number of calls since then."""
        return self.calls - self.used.get(key, (0.0, self.calls))[1]


class _MarksAge(_Ages):
    def old(self, key: MarkKey) -> bool:
        raise NotImplementedError

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        key = self.mark_key(verb, machine_id, token)
        if key in self.inventory.marks and self.old(key):
            self.inventory.mark(key, Token(shard=token.shard, epoch=-1))
        self.used[key] = (self.now, self.calls)
        super().fence(verb, machine_id, token)


@mutant("FEN-12", "FEN-12f", whole=True)
class MarksExpireAfterSeconds(_MarksAge):
    """Keeps the mark of a shard for three seconds after its last call."""

    def old(self, key: MarkKey) -> bool:
        return self.seconds(key) > 3


@mutant("FEN-12", "FEN-12f", whole=True)
class MarksOfThe500LastCalls(_MarksAge):
    """Forgets the mark of a shard that has not called for 500 calls of other shards."""

    def old(self, key: MarkKey) -> bool:
        return self.others(key) > 500


@mutant("FEN-12", "FEN-12f", whole=True)
class MarksOfThe2000LastCalls(_MarksAge):
    """Forgets the mark of a shard that has not called for 2,000 calls of other shards."""

    def old(self, key: MarkKey) -> bool:
        return self.others(key) > 2000


@mutant("FEN-12", "FEN-12f", whole=True)
class MarksOfUnknownMachinesExpire(_MarksAge):
    """Removes the marks of machines that do not exist after a second."""

    def old(self, key: MarkKey) -> bool:
        return key[1] not in self.machines and self.seconds(key) > 1
