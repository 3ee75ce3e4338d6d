"""Providers that mix marks up, lose them or keep them inconsistently (FEN-9, 12, 13)."""

from __future__ import annotations

import hashlib
import re
import unicodedata
import urllib.parse
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.fence import Scope, Token
from fake_provider.machine import State, Verb
from fake_provider.servicer import Servicer
from selftest.mutant import mutant

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_provider.machine import Machine
    from fake_provider.request import Ack, Request
    from fake_provider.servicer import Context, Fenced, T
    from fake_provider.store import MarkKey

# FEN-9: separate marks for each shard.


@mutant("FEN-9", "FEN-9i")
class OneMarkPerMachine(Core):
    """Keeps one mark per machine for all shards."""

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        return "", machine_id


@mutant(
    "FEN-9",
    "FEN-9b",
    "FEN-9i",
    also=("FEN-6c", "FEN-6d"),
    because="a Delete that another shard's mark fences moves no mark",
)
class OneMarkPerMachineOnDelete(Core):
    """Keeps one mark per machine for all shards on Delete."""

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        return ("", machine_id) if verb is Verb.DELETE else super().mark_key(verb, machine_id, token)


@mutant(
    "FEN-9", "FEN-9i", also=("FEN-6b", "FEN-6d"), because="a token that a Drain raises is not the mark of another RPC"
)
class OneMarkPerMachineOnDrain(Core):
    """Keeps one mark per machine for all shards on Drain."""

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        return ("", machine_id) if verb is Verb.DRAIN else super().mark_key(verb, machine_id, token)


@mutant("FEN-9", "FEN-9a", "FEN-9b", "FEN-9c", "FEN-9d", "FEN-9e", "FEN-9f")
class LastShardIsRemembered(Core):
    """Keeps the mark of only the last shard in each machine's record."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        last: dict[str, str] = self.__dict__.setdefault("last", {})
        key = self.mark_key(verb, machine_id, token)
        if last.get(machine_id) != token.shard and key in self.inventory.marks:
            self.inventory.mark(key, Token(shard=token.shard, epoch=-1))
        super().fence(verb, machine_id, token)
        last[machine_id] = token.shard


@mutant("FEN-9", "FEN-9i")
class NewcomersMustBeNewerThanAll(Core):
    """Fences a new shard whose epoch is below the highest epoch of all shards."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        highest = max(
            (m.epoch for key, m in self.inventory.marks.items() if key[0][:12] == token.shard[:12]), default=0
        )
        if highest >= 100 and token.epoch < highest:
            raise self.fenced(verb, token)


class _Renames(Core):
    def rename(self, shard: str) -> str:
        raise NotImplementedError

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        shard, machine = super().mark_key(verb, machine_id, token)
        return self.rename(shard), machine


@mutant("FEN-9", "FEN-9c")
class ShardIdsInLowerCase(_Renames):
    """Keeps shard ids in lower case."""

    def rename(self, shard: str) -> str:
        return shard.lower()


@mutant("FEN-9", "FEN-9c")
class ShardIdsCollated(_Renames):
    """Folds the case of shard ids, including the German sharp s."""

    def rename(self, shard: str) -> str:
        return shard.casefold()


@mutant("FEN-9", "FEN-9c")
class TheFirstSpellingHasTheMark(Core):
    """Keeps no mark for a shard id that differs from a known one only in case."""

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        spellings: dict[str, str] = self.__dict__.setdefault("spellings", {})
        if spellings.setdefault(token.shard.casefold(), token.shard) == token.shard:
            super().raise_mark(verb, key, token)


@mutant("FEN-9", "FEN-9f")
class ShardIdsTrimmed(_Renames):
    """Trims spaces at the ends of shard ids."""

    def rename(self, shard: str) -> str:
        return shard.strip()


@mutant("FEN-9", "FEN-9f")
class ShardIdsPaddedWithSpaces(_Renames):
    """Ignores trailing spaces in shard ids, like a CHAR column."""

    def rename(self, shard: str) -> str:
        return shard.rstrip(" ")


@mutant("FEN-9", "FEN-9f")
class ShardIdsEndAtNul(_Renames):
    """Cuts shard ids at the first NUL."""

    def rename(self, shard: str) -> str:
        return shard.partition("\0")[0]


@mutant("FEN-9", "FEN-9f")
class ShardIdsWithSingleSpaces(_Renames):
    """Replaces several spaces in a shard id by one."""

    def rename(self, shard: str) -> str:
        return re.sub(r"\s+", " ", shard)


@mutant("FEN-9", "FEN-9e")
class ShardIdsComposed(_Renames):
    """Normalises shard ids to NFC."""

    def rename(self, shard: str) -> str:
        return unicodedata.normalize("NFC", shard)


@mutant("FEN-9", "FEN-9e")
class ShardIdsCompatible(_Renames):
    """Normalises shard ids to NFKC."""

    def rename(self, shard: str) -> str:
        return unicodedata.normalize("NFKC", shard)


@mutant("FEN-9", "FEN-9e")
class ShardIdsInAscii(_Renames):
    """Removes non-ASCII characters from shard ids."""

    def rename(self, shard: str) -> str:
        return shard.encode("ascii", "ignore").decode()


@mutant("FEN-9", "FEN-9e")
class ShardIdsUnescaped(_Renames):
    """Unescapes shard ids as if they were part of a URL."""

    def rename(self, shard: str) -> str:
        return urllib.parse.unquote(shard)


@mutant("FEN-9", "FEN-9e")
class ShardIdsAsFileNames(_Renames):
    """Keeps each mark in a file, in whose name other characters than letters and digits become underscores."""

    def rename(self, shard: str) -> str:
        return re.sub(r"[^\w]", "_", shard)


@mutant("FEN-9", "FEN-9d")
class ShardIdsOf64Characters(_Renames):
    """Cuts shard ids at 64 characters."""

    def rename(self, shard: str) -> str:
        return shard[:64]


@mutant("FEN-9", "FEN-9d")
class ShardIdsOf255Characters(_Renames):
    """Cuts shard ids at 255 characters, like VARCHAR(255)."""

    def rename(self, shard: str) -> str:
        return shard[:255]


@mutant("FEN-9", "FEN-9d")
class LongShardIdsAbbreviated(_Renames):
    """Keeps only the beginning and the end of a long shard id."""

    def rename(self, shard: str) -> str:
        return shard if len(shard) < 200 else shard[:100] + shard[-100:]


@mutant("FEN-12", "FEN-12c", alone="only a behaviour with two shards of the same hash finds it, which is random")
class ShardIdsHashedShort(_Renames):
    """Keeps marks under a 12-bit hash of the shard id."""

    def rename(self, shard: str) -> str:
        return hashlib.sha256(shard.encode()).hexdigest()[:3]


@mutant("FEN-9", "FEN-9g")
class ShortShardIsNoShard(Core):
    """Does not fence shard ids of one character."""

    def unfenced(self, token: Token) -> bool:
        return token.absent or len(token.shard) == 1


@mutant("FEN-9", "FEN-9g")
class ShortShardPassesOnce(Core):
    """Accepts one token only of a shard id of one character."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return len(token.shard) > 1 and super().passes(verb, token, mark)


class _Joins(Core):
    joint = ""

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        return f"{token.shard}{self.joint}{machine_id}", ""


@mutant("FEN-9", "FEN-9h", scope=Scope.SHARD_MACHINE)
class KeysJoinedWithASlash(_Joins):
    """Keeps marks under shard/machine, although either id may contain a slash."""

    joint = "/"


@mutant("FEN-9", "FEN-9h", scope=Scope.SHARD_MACHINE)
class KeysJoinedWithADash(_Joins):
    """Keeps marks under shard-machine, although both ids contain dashes."""

    joint = "-"


@mutant("FEN-9", "FEN-9h", scope=Scope.SHARD_MACHINE)
class KeysJoinedWithNothing(_Joins):
    """Keeps marks under a hash of both ids joined without a separator."""


# FEN-12: how long marks last.


class _Forgets(Core):
    """Forgets the marks that were set on a machine."""

    when: tuple[State, ...] = ()

    def put(self, machine: Machine) -> Machine:
        if machine.state in self.when:
            for token in self.__dict__.setdefault("seen", {}).pop(machine.id, ()):
                self.inventory.mark(self.mark_key(Verb.CREATE, machine.id, token), Token(epoch=-1))
        return super().put(machine)

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        self.__dict__.setdefault("seen", {}).setdefault(request.machine_id, set()).add(request.token)
        return super().serve(verb, request, now)


@mutant("FEN-12", "FEN-12b")
class DeleteForgetsMarks(_Forgets):
    """Removes a machine's marks when the machine is deleted."""

    when = (State.SPECULATIVE,)


@mutant("FEN-12", "FEN-12a", also=("FEN-4b",), because="at IDLE it relies on marks that a Drain has set")
class DrainForgetsMarks(_Forgets):
    """Removes a machine's marks when the machine is drained."""

    when = (State.IDLE,)


@mutant("FEN-12", "FEN-12a")
class ConfigureForgetsMarks(_Forgets):
    """Removes a machine's marks when the machine is configured."""

    when = (State.CONFIGURED,)


@mutant("FEN-12", "FEN-12e")
class CreateForgetsMarks(_Forgets):
    """Removes a machine's marks when the machine is created."""

    when = (State.CREATING,)


class _Remembers(Core):
    """Keeps the marks that were set last."""

    most = 0

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        self.commit()
        marks = self.inventory.marks
        while len(marks) > self.most:
            del marks[next(iter(marks))]
        super().fence(verb, machine_id, token)


@mutant("FEN-12", "FEN-12c")
class MarksOf256Shards(_Remembers):
    """Keeps the marks of the last 256 shards only."""

    most = 256


@mutant("FEN-12", "FEN-12c", alone="it fences each forgotten shard for good, and in the end all shards")
class ForgottenShardsAreFenced(Core):
    """Keeps the marks of the last 256 shards only, and fences all older ones for good."""

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        kept: dict[str, None] = self.__dict__.setdefault("kept", {})
        kept.setdefault(token.shard)
        if token.shard in list(kept)[:-256]:
            raise self.fenced(verb, token)
        super().raise_mark(verb, key, token)


@mutant("FEN-12", "FEN-12d")
class MarksPerConnection(Servicer):
    """Keeps separate marks for each connection."""

    peer = ""

    async def answer(self, context: Context, work: Callable[[], T]) -> T:
        def here() -> T:
            self.peer = context.peer()
            return work()

        return await super().answer(context, here)

    def token(self, request: Fenced) -> Token:
        token = super().token(request)
        return (
            token
            if token.absent
            else Token(shard=f"{self.peer} {token.shard}", epoch=token.epoch, sequence=token.sequence)
        )
