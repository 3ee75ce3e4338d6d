"""Fencing tokens and their order (contract section 5)."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """The scope of one high-water mark (FEN-13): per shard and machine, as BigFleet's shards need it, or per shard."""

    SHARD = "shard"
    SHARD_MACHINE = "shard-machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The fencing token of a mutating call: the shard, its epoch, and the sequence number of the call."""

    shard: str = ""
    epoch: int = 0
    sequence: int = 0

    @property
    def absent(self) -> bool:
        """True if the call has no token (FEN-14)."""
        return not self.shard and self.epoch == 0 and self.sequence == 0

    @property
    def negative(self) -> bool:
        """True if the epoch or the sequence number is negative, which is invalid (COD-4)."""
        return self.epoch < 0 or self.sequence < 0


def newer(token: Token, mark: Token) -> bool:
    """Returns whether the token is strictly newer than the mark: by epoch, then by sequence (FEN-1, FEN-3)."""
    return (token.epoch, token.sequence) > (mark.epoch, mark.sequence)
