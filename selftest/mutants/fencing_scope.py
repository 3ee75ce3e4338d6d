"""Providers whose marks do not have the same scope everywhere, or that fence calls without a token (contract §5)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.fence import Scope, Token
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


@mutant("FEN-13", "FEN-13e")
class ScopeDependsOnTheHost(_HalfAndHalf):
    """Keeps marks per machine for machines with a host, and per shard for slots."""

    def per_machine(self, verb: Verb, machine_id: str) -> bool:
        return machine_id not in self.machines or self.machines[machine_id].state is not State.SPECULATIVE


@mutant("FEN-13", "FEN-13b")
class OneScopeForBoundMachines(_HalfAndHalf):
    """Keeps marks per shard for CONFIGURED machines, and per machine for others."""

    def per_machine(self, verb: Verb, machine_id: str) -> bool:
        return machine_id not in self.machines or self.machines[machine_id].state is not State.CONFIGURED


@mutant("FEN-13", "FEN-13a", "FEN-13b", "FEN-13e")
class ScopeDependsOnWhatExists(_HalfAndHalf):
    """Keeps marks per shard for known machines, and per machine for unknown ones."""

    def per_machine(self, verb: Verb, machine_id: str) -> bool:
        return machine_id not in self.machines


@mutant("FEN-7", "FEN-7d", "FEN-13a", "FEN-13c", "FEN-13e")
class ScopeDependsOnTheVerbSent(_HalfAndHalf):
    """Keeps Drain's marks per shard, and those of other RPCs per machine."""

    def per_machine(self, verb: Verb, machine_id: str) -> bool:
        return verb is not Verb.DRAIN


@mutant("FEN-13", "FEN-13d", scope=Scope.SHARD)
class OneMarkPerShard(Core):
    """Keeps one mark per shard, so that a shard's call for one machine can fence its call for another."""


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


# FEN-14


@mutant("FEN-14", "FEN-14a")
class DrainsDemandAToken(Core):
    """Refuses a Drain without a token."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        if verb is Verb.DRAIN and token.absent:
            raise Rejected(Code.INVALID_ARGUMENT, "a token is needed")
        super().fence(verb, machine_id, token)


@mutant("FEN-14", "FEN-14b")
class NoTokenIsAToken(Core):
    """Fences calls without a token like those of a shard whose id is empty."""

    def unfenced(self, token: Token) -> bool:
        return False


@mutant(
    "FEN-14", "FEN-14b", also=("FEN-1a",), because="the next token of that shard is refused, although none was like it"
)
class NoTokenIsTheNextOne(Core):
    """Counts a call without a token as the next call of the shard that has called the machine last."""

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        last: dict[str, MarkKey] = self.__dict__.setdefault("last", {})
        last[key[1]] = key
        super().raise_mark(verb, key, token)

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        key = self.__dict__.get("last", {}).get(machine_id)
        mark = self.inventory.marks.get(key) if token.absent and key else None
        if key and mark:
            self.inventory.mark(key, replace(mark, sequence=mark.sequence + 1))
        super().fence(verb, machine_id, token)


@mutant("FEN-14", "FEN-14b")
class NoTokenClearsTheMarks(Core):
    """Forgets the marks of a machine when a call without a token arrives."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        if token.absent:
            for key in [key for key in self.inventory.marks if key[1] == machine_id]:
                self.inventory.mark(key, Token(shard=key[0], epoch=-1, sequence=-1))
        super().fence(verb, machine_id, token)
