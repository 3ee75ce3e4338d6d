"""Fencing tokens and the shards that issue them (contract §5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

MAX_TOKEN_NUMBER: Final = 2**63 - 1
"""The largest epoch or sequence of a token (FEN-10)."""


@dataclass(frozen=True, slots=True)
class Token:
    """A fencing token: the calling shard, its epoch (one per incarnation), and the sequence of the call."""

    shard: str
    epoch: int
    sequence: int

    def __str__(self) -> str:
        shard = self.shard if len(self.shard) <= 48 else f"{self.shard[:40]}…({len(self.shard)} characters)"
        return f"{shard!r} epoch {self.epoch} sequence {self.sequence}"

    @property
    def numbers(self) -> tuple[int, int]:
        """Epoch and sequence: tokens are compared lexicographically by these."""
        return self.epoch, self.sequence


@dataclass(slots=True)
class Shard:
    """A shard id and the numbers that it has used. Each machine has its own, so that any scope of marks will do.

    A shard that drives several machines sends each call only after the one before is answered (FEN-13).
    """

    id: str
    epoch: int = 1
    _sequence: int = field(default=0)

    def token(self, *, epoch: int, sequence: int) -> Token:
        """Returns a token with these numbers."""
        return Token(self.id, epoch, sequence)

    def token_of(self, numbers: tuple[int, int]) -> Token:
        """Returns a token with these numbers: epoch and sequence."""
        return Token(self.id, *numbers)

    def next(self) -> Token:
        """Returns a token newer than all earlier ones, as a real shard would; at the largest one, the same again."""
        # From the second token on, most sequences have the same number of digits: a provider that compares them as
        # text is then found only by the behaviours that judge this.
        self._sequence = min(MAX_TOKEN_NUMBER, self._sequence + (10 if self._sequence == 1 else 1))
        return Token(self.id, self.epoch, self._sequence)

    def next_in_new_epoch(self) -> Token:
        """Returns a token newer by both numbers, so that a provider that compares tokens wrongly accepts it too."""
        self.epoch = max(self.epoch, 10) + 1
        return self.next()

    def start_after_epoch(self, epoch: int) -> None:
        """Starts the incarnation after `epoch`: calls of that epoch that are still under way are fenced.

        The largest epoch has no next one: then only its largest sequence can still be sent.
        """
        if epoch >= MAX_TOKEN_NUMBER:
            self.epoch, self._sequence = MAX_TOKEN_NUMBER, MAX_TOKEN_NUMBER - 1
        else:
            self.epoch, self._sequence = max(self.epoch, epoch) + 1, 0


LADDER: Final = (
    *((1, 9), (1, 10), (1, 99), (2, 0), (2, 2**31), (2, 2**32), (2, 2**53), (2, 2**53 + 1), (2, MAX_TOKEN_NUMBER)),
    *((3, 0), (9, 99), (10, 0), (2**31 - 1, 99), (2**31, 0), (2**32 - 1, 99), (2**32, 0), (2**53, 99), (2**53 + 1, 0)),
)
"""Epochs and sequences, each newer than the one before, with the numbers that a wrong comparison gets wrong."""


@dataclass(slots=True)
class LadderShard(Shard):
    """A shard whose tokens climb `LADDER`, from `step` on: each edge that it takes shows how its token compares."""

    step: int = 0

    def next(self) -> Token:
        """Returns the next step; at the end of the ladder, the next epochs."""
        while self.step < len(LADDER):
            numbers = LADDER[self.step]
            self.step += 1
            if numbers > (self.epoch, self._sequence):
                self.epoch, self._sequence = numbers
                return Token(self.id, *numbers)
        if self.epoch >= MAX_TOKEN_NUMBER:
            return Shard.next(self)
        self.epoch, self._sequence = self.epoch + 1, 0
        return Token(self.id, self.epoch, 0)


TokenSource: TypeAlias = Token | Shard
"""A token that the caller has chosen; or the shard that issues it, and a newer one for each retry."""


def choose_token(source: TokenSource | None, own: Shard) -> tuple[Token, Shard | None]:
    """Returns the token of a call, and the shard that issues those of its retries; None if the caller chose the token.

    `own` issues them if there is no source.
    """
    if isinstance(source, Token):
        return source, None
    shard = source or own
    return shard.next(), shard
