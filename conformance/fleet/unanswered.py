"""Unanswered calls: mutating calls that were sent and not answered, so that they may have been applied, or still be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.core.fencing import Token
from conformance.core.lifecycle import Verb

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The unanswered calls of one shard: the oldest token and the newest epoch."""

    oldest: Token
    newest_epoch: int

    def plus(self, token: Token) -> Span:
        """One more call."""
        oldest = min(token, self.oldest, key=lambda each: each.numbers)
        return Span(oldest=oldest, newest_epoch=max(token.epoch, self.newest_epoch))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnansweredCalls:
    """The unanswered calls of one machine, by shard."""

    spans: Mapping[str, Span] = field(default_factory=dict)
    create: bool = False
    """True if one of them is a Create, so that a slot may come to life through the kit."""

    @classmethod
    def of_dead_run(cls, epochs: Mapping[str, int]) -> UnansweredCalls:
        """The calls of a dead run: its ledger knows the newest epoch of each shard, and no token."""
        return cls(
            spans={shard: Span(oldest=Token(shard, 0, 0), newest_epoch=epoch) for shard, epoch in epochs.items()}
        )

    def __bool__(self) -> bool:
        return bool(self.spans)

    @property
    def epochs(self) -> dict[str, int]:
        """The newest epoch of each shard."""
        return {shard: span.newest_epoch for shard, span in self.spans.items()}

    @property
    def oldest(self) -> list[Token]:
        """The oldest token of each shard."""
        return [span.oldest for span in self.spans.values()]

    def plus(self, verb: Verb, token: Token) -> UnansweredCalls:
        """One more unanswered call."""
        known = self.spans.get(token.shard)
        span = known.plus(token) if known is not None else Span(oldest=token, newest_epoch=token.epoch)
        return UnansweredCalls(spans={**self.spans, token.shard: span}, create=self.create or verb is Verb.CREATE)

    def without_create(self) -> UnansweredCalls:
        """The same calls, of which no Create is in doubt any more."""
        return UnansweredCalls(spans=self.spans)
