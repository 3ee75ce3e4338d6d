"""Providers in which the numbers of a token are not signed 64-bit integers (FEN-1 and FEN-10)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.fence import newer
from fake_provider.machine import Verb
from selftest.mutant import mutant

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_provider.fence import Token


def _as(token: Token, epoch: Callable[[int], int], sequence: Callable[[int], int]) -> Token:
    return replace(token, epoch=epoch(token.epoch), sequence=sequence(token.sequence))


def _whole(number: int) -> int:
    return number


def _float(number: int) -> int:
    return int(float(number))


def _int32(number: int) -> int:
    return (number + 2**31) % 2**32 - 2**31


def _uint32(number: int) -> int:
    return number % 2**32


def _int64(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


def _uint64(number: int) -> int:
    return number % 2**64


def _saturated(number: int) -> int:
    return min(number, 2**31 - 1)


class _Narrow(Core):
    epoch = sequence = staticmethod(_whole)
    on: tuple[Verb, ...] = tuple(Verb)

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        if verb not in self.on:
            return newer(token, mark)
        return newer(_as(token, self.epoch, self.sequence), _as(mark, self.epoch, self.sequence))


@mutant("FEN-10", "FEN-10a")
class EpochIsAFloat(_Narrow):
    """Compares epochs as doubles: 2^53 + 1 equals 2^53."""

    epoch = staticmethod(_float)


@mutant("FEN-10", "FEN-10b")
class SequenceIsAFloat(_Narrow):
    """Compares sequence numbers as doubles: 2^53 + 1 equals 2^53."""

    sequence = staticmethod(_float)


@mutant("FEN-10", "FEN-10a")
class EpochIsAnInt32(_Narrow):
    """Casts epochs to int32: 2^31 is negative."""

    epoch = staticmethod(_int32)


@mutant("FEN-10", "FEN-10b")
class SequenceIsAnInt32(_Narrow):
    """Casts sequence numbers to int32: 2^31 is negative."""

    sequence = staticmethod(_int32)


@mutant("FEN-10", "FEN-10a")
class EpochIsAUint32(_Narrow):
    """Casts epochs to uint32: 2^32 is 0."""

    epoch = staticmethod(_uint32)


@mutant("FEN-10", "FEN-10b")
class SequenceIsAUint32(_Narrow):
    """Casts sequence numbers to uint32: 2^32 is 0."""

    sequence = staticmethod(_uint32)


@mutant("FEN-10", "FEN-10b")
class SequenceSaturates(_Narrow):
    """Limits sequence numbers to int32: all numbers from 2^31 on are equal."""

    sequence = staticmethod(_saturated)


@mutant("FEN-10", "FEN-10c")
class DrainHasInt32(_Narrow):
    """Casts both numbers to int32 on Drain."""

    epoch = sequence = staticmethod(_int32)
    on = (Verb.DRAIN,)


@mutant("FEN-10", "FEN-10d")
class ConfigureHasFloats(_Narrow):
    """Converts both numbers to doubles on Configure, because they pass through JSON."""

    epoch = sequence = staticmethod(_float)
    on = (Verb.CONFIGURE,)


@mutant("FEN-10", "FEN-10d")
class DeleteHasUint32(_Narrow):
    """Casts both numbers to uint32 on Delete."""

    epoch = sequence = staticmethod(_uint32)
    on = (Verb.DELETE,)


@mutant("FEN-10", "FEN-10a")
class EpochsCompareAsText(Core):
    """Compares epochs as strings: "10" is less than "9"."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return (str(token.epoch), token.sequence) > (str(mark.epoch), mark.sequence)


@mutant("FEN-10", "FEN-10b")
class SequencesCompareAsText(Core):
    """Compares sequence numbers as strings: "10" is less than "9"."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return (token.epoch, str(token.sequence)) > (mark.epoch, str(mark.sequence))


@mutant("FEN-10", "FEN-10a", "FEN-10b")
class MarksAreKeptAsFloats(Core):
    """Keeps the mark as doubles, and compares integers with it."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(token, _as(mark, _float, _float))


@mutant("FEN-10", "FEN-10e", also=("FEN-3b",), because="the ladder of tokens on edges meets these numbers")
class NumbersArePacked(Core):
    """Packs both numbers into one with 32 bits for the sequence, so that larger ones overflow into the epoch."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return (token.epoch << 32) + token.sequence > (mark.epoch << 32) + mark.sequence


@mutant("FEN-10", "FEN-10e", also=("FEN-3b",), because="the ladder of tokens on edges meets these numbers")
class NumbersAreAddedUp(Core):
    """Adds the sequence number to a million times the epoch, and compares the sums."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.epoch * 10**6 + token.sequence > mark.epoch * 10**6 + mark.sequence


@mutant("FEN-10", "FEN-10e")
class TokensArePackedToo(Core):
    """Also accepts a token that is newer when both numbers are packed into one."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        packed, highest = ((each.epoch << 32) + each.sequence for each in (token, mark))
        return newer(token, mark) or packed > highest


@mutant("FEN-10", "FEN-10a", "FEN-10b")
class LargeFirstNumbersAreFenced(Core):
    """Fences a new shard whose numbers are above 2^53."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        super().validate_first_token(verb, token)
        if max(token.epoch, token.sequence) > 2**53:
            raise self.fenced(verb, token)


@mutant("FEN-10", "FEN-10a", "FEN-10b")
class LargeNumbersCompareLoosely(Core):
    """Accepts an equal token from 2^53 on, because doubles cannot tell the numbers apart."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        loose = _as(token, _float, _float)
        large = max(token.epoch, token.sequence) >= 2**53
        return newer(token, mark) or (large and loose == _as(mark, _float, _float))


@mutant("FEN-1", "FEN-1f")
class NumbersAreUnsigned(Core):
    """Compares numbers as unsigned: -1 is the highest."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(_as(token, _uint64, _uint64), _as(mark, _uint64, _uint64))


@mutant("FEN-1", "FEN-1f")
class OrderIsASubtraction(Core):
    """Compares by the sign of the difference, which overflows."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        ahead = _int64(token.epoch - mark.epoch) or _int64(token.sequence - mark.sequence)
        return ahead > 0


@mutant("FEN-1", "FEN-1f")
class NegativeNumbersBecomeTheMark(Core):
    """Raises the mark to a fenced token with a negative number, read as unsigned."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        try:
            super().fence(verb, machine_id, token)
        except Rejected as rejected:
            if token.negative and rejected.code is Code.FAILED_PRECONDITION:
                self.raise_mark(verb, self.mark_key(verb, machine_id, token), _as(token, _uint64, _uint64))
            raise


@mutant("FEN-3", "FEN-3b", "FEN-3c")
class NegativeSequencesAreOld(Core):
    """Refuses a negative sequence number, even in a newer epoch."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(token, mark) and token.sequence >= 0
