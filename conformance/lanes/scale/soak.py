"""The length of a churn: a duration, `5m`, or a number of transitions, `3000ops`."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Final

from conformance.core.errors import UsageError
from conformance.core.lifecycle import Verb
from conformance.core.text import cut
from conformance.core.timeouts import parse_duration

_OPERATIONS: Final = re.compile(r"([1-9]\d{0,8})\s*ops")


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """The length in seconds or in transitions; the other field has None."""

    seconds: float | None = None
    operations: int | None = None

    def share(self, *, seconds: float, operations: int) -> float:
        """Returns the completed share, from 0 to 1, after these seconds and transitions."""
        done = operations / self.operations if self.operations else seconds / (self.seconds or 1.0)
        return min(1.0, done)

    @property
    def lives(self) -> int:
        """The number of machines that fit into the transitions, from Create to Delete; very large for a duration."""
        return max(1, self.operations // len(Verb)) if self.operations else sys.maxsize

    def __str__(self) -> str:
        return f"{self.operations}ops" if self.operations else f"{self.seconds:g}s"


DEFAULT: Final = Soak(seconds=60.0)


def parse(text: str) -> Soak:
    """Returns the soak that `5m`, `90s` or `3000ops` describes. Raises UsageError."""
    match = _OPERATIONS.fullmatch(text.strip().lower())
    if match is not None:
        return Soak(operations=int(match[1]))
    try:
        return Soak(seconds=parse_duration(text))
    except UsageError as error:
        raise UsageError(
            f"{cut(text, 60)!r} is not a soak", hint="write a duration (5m, 90s) or a number of transitions (3000ops)"
        ) from error
