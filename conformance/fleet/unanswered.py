"""Unanswered calls: mutating calls that were sent but not answered, and may have been applied or still be applied."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from conformance.core.fencing import Token
from conformance.core.lifecycle import Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN_REFUSED: Final = (StatusCode.FAILED_PRECONDITION, StatusCode.INVALID_ARGUMENT, StatusCode.OUT_OF_RANGE)
"""The codes of a refusal that other numbers in the token may avoid. Such a call has started nothing."""
UNCERTAIN_CODES: Final = (
    *(StatusCode.UNAVAILABLE, StatusCode.UNKNOWN, StatusCode.INTERNAL),
    *(StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED),
)
"""The codes of a lost connection or an expired deadline. Even if the provider sent one of them, the call may have
started a transition."""


class Doubt(IntEnum):
    """The doubt about the effect of a call, in growing order."""

    REFUSED = 0
    """The provider answered that the caller try again, and the machine's state has no edge for the call (COD-2)."""
    UNCERTAIN = 1
    """It answered with a code that leaves open whether the call was applied."""
    LOST = 2
    """It did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The span of one shard's unanswered calls: the oldest token and the newest epoch."""

    oldest: Token
    newest_epoch: int

    def plus(self, token: Token) -> Span:
        """Returns the span with one more call."""
        oldest = min(token, self.oldest, key=lambda each: each.numbers)
        return Span(oldest=oldest, newest_epoch=max(token.epoch, self.newest_epoch))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnansweredCalls:
    """The unanswered calls of one machine, by shard."""

    spans: Mapping[str, Span] = field(default_factory=dict)
    create: bool = False
    """True if one of them is a Create of the kit, which may start the machine."""
    doubt: Doubt = Doubt.REFUSED
    """The greatest doubt about any of them."""
    asked_in_vain: bool = False
    """True if the fence was asked whether they were applied, and the answer was lost or unclear. A second answer could
    be the consequence of the first question."""

    @classmethod
    def of_dead_run(cls, epochs: Mapping[str, int]) -> UnansweredCalls:
        """Returns the calls of a dead run: its ledger has the newest epoch of each shard, and no token."""
        return cls(
            spans={shard: Span(oldest=Token(shard, 0, 0), newest_epoch=epoch) for shard, epoch in epochs.items()},
            doubt=Doubt.UNCERTAIN,
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

    def plus(self, verb: Verb, token: Token, doubt: Doubt = Doubt.LOST) -> UnansweredCalls:
        """Returns the calls with one more."""
        known = self.spans.get(token.shard)
        span = known.plus(token) if known is not None else Span(oldest=token, newest_epoch=token.epoch)
        return replace(
            self,
            spans={**self.spans, token.shard: span},
            create=self.create or (verb is Verb.CREATE and doubt is not Doubt.REFUSED),
            doubt=max(self.doubt, doubt),
        )

    def without_create(self) -> UnansweredCalls:
        """Returns the same calls after the outcome of every Create is known."""
        return replace(self, create=False)
