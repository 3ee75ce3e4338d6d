"""Providers whose marks do not have the same scope everywhere (contract §5, FEN-13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.fence import Token
from fake_provider.machine import State, Verb
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.store import MarkKey


class _HalfAndHalf(Core):
    def per_machine(self, verb: Verb, machine_id: str) -> bool:
        raise NotImplementedError

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        return token.shard, machine_id if self.per_machine(verb, machine_id) else ""


@mutant("FEN-13", "FEN-13a", "FEN-13b")
class ScopeDependsOnExistence(_HalfAndHalf):
    """Keeps marks per machine for known machines, and per shard for unknown ones."""

    def per_machine(self, verb: Verb, machine_id: str) -> bool:
        return machine_id in self.machines


@mutant("FEN-13", "FEN-13b")
class ScopeDependsOnTheState(_HalfAndHalf):
    """Keeps marks per machine for CONFIGURED machines, and per shard for others."""

    def per_machine(self, verb: Verb, machine_id: str) -> bool:
        return machine_id in self.machines and self.machines[machine_id].state is State.CONFIGURED


@mutant("FEN-13", "FEN-13c")
class ScopeDependsOnTheMachine(_HalfAndHalf):
    """Keeps marks per machine for every second machine, and per shard for the others."""

    def per_machine(self, verb: Verb, machine_id: str) -> bool:
        dealt: dict[str, int] = self.__dict__.setdefault("dealt", {})
        return dealt.setdefault(machine_id, len(dealt)) % 2 == 0


@mutant("FEN-7", "FEN-7d", "FEN-13b", "FEN-13c")
class ScopeDependsOnTheVerb(_HalfAndHalf):
    """Keeps Configure's marks per machine, and those of other RPCs per shard."""

    def per_machine(self, verb: Verb, machine_id: str) -> bool:
        return verb is Verb.CONFIGURE


@mutant("FEN-13", "FEN-13a", "FEN-13b", "FEN-13c")
class TheMarkGoesWithTheLastMachine(Core):
    """Resets a shard's mark when the shard calls another machine than before."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        last: dict[str, str] = self.__dict__.setdefault("last", {})
        if last.setdefault(token.shard, machine_id) != machine_id:
            self.inventory.mark(self.mark_key(verb, machine_id, token), Token(shard=token.shard, epoch=-1))
        super().fence(verb, machine_id, token)
        last[token.shard] = machine_id
