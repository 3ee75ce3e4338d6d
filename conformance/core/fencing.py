"""Fencing tokens and the shards that issue them (contract §5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MAX_TOKEN_NUMBER: Final = 2**63 - 1
"""The largest number that a token can hold (FEN-10)."""


@dataclass(frozen=True, slots=True)
class Token:
    """Who calls, in which incarnation, with which of its calls."""

    shard: str
    epoch: int
    sequence: int

    def __str__(self) -> str:
        shard = self.shard if len(self.shard) <= 48 else f"{self.shard[:40]}…({len(self.shard)} characters)"
        return f"{shard!r} epoch {self.epoch} sequence {self.sequence}"

    @property
    def numbers(self) -> tuple[int, int]:
        """What is compared: `newer` is lexicographic on these."""
        return self.epoch, self.sequence


@dataclass(slots=True)
class Shard:
    """A shard id and the numbers that it has used. No two machines share one (FEN-13)."""

    id: str
    epoch: int = 1
    _sequence: int = field(default=0)

    def token(self, *, epoch: int, sequence: int) -> Token:
        """A token with just these numbers."""
        return Token(self.id, epoch, sequence)

    def token_of(self, numbers: tuple[int, int]) -> Token:
        """A token with these: its epoch and its sequence."""
        return Token(self.id, *numbers)

    def next(self) -> Token:
        """A token newer than every earlier one of `next`, as a real shard's would be; after the last, that again."""
        # After the first one they have as many digits as they will mostly have: who compares them as text is found
        # by those who judge that.
        self._sequence = min(MAX_TOKEN_NUMBER, self._sequence + (10 if self._sequence == 1 else 1))
        return Token(self.id, self.epoch, self._sequence)

    def next_in_new_epoch(self) -> Token:
        """A token newer than every earlier one by either number: who compares them wrongly takes it for fresh, too."""
        self.epoch = max(self.epoch, 10) + 1
        return self.next()

    def start_after_epoch(self, epoch: int) -> None:
        """Come back as the incarnation after `epoch`: whatever that one still has under way is fenced.

        After the last epoch that there is comes none: only its last sequence is left to say.
        """
        if epoch >= MAX_TOKEN_NUMBER:
            self.epoch, self._sequence = MAX_TOKEN_NUMBER, MAX_TOKEN_NUMBER - 1
        else:
            self.epoch, self._sequence = max(self.epoch, epoch) + 1, 0
