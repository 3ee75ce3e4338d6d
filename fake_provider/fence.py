"""The fencing token and how two of them compare (contract section 5)."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What one high-water mark covers (FEN-13)."""

    SHARD = "shard"
    SHARD_MACHINE = "shard-machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What every mutating call carries: who calls, in which incarnation, with which of its calls."""

    shard: str = ""
    epoch: int = 0
    sequence: int = 0

    @property
    def absent(self) -> bool:
        """Whether the call carried no token at all (FEN-14)."""
        return not self.shard and self.epoch == 0 and self.sequence == 0

    @property
    def negative(self) -> bool:
        """Whether a number is below zero, which no shard's counter is (COD-4)."""
        return self.epoch < 0 or self.sequence < 0


def newer(token: Token, mark: Token) -> bool:
    """Whether the token is strictly newer than the mark: by epoch, then by sequence (FEN-1, FEN-3)."""
    return (token.epoch, token.sequence) > (mark.epoch, mark.sequence)
