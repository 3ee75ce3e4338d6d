"""Helpers of the LST behaviours: cursors that are ahead of the provider's, made from two that it has given."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

AHEAD: Final = 10**12
"""Added to a cursor to get a future one; as nanoseconds of a clock, about a quarter of an hour."""
AHEAD_OF_32_BITS: Final = 10**9
NEAR: Final = (1, 7)
"""Added to a counter to get the next cursors."""
MAX_STEPS_PER_TRANSITION: Final = 16
"""A counter of changes moves by a few for each transition; a clock moves by itself, and usually by more."""
BYTE_ORDERS: Final[tuple[Literal["big", "little"], ...]] = ("big", "little")
BINARY_WIDTHS: Final = (4, 8, 16)
"""The lengths in bytes of cursors that may be binary numbers; of 16 bytes, one half is the number."""
YEARS: Final = 10 * 365 * 86_400
"""Seconds: a number that is so near to the Unix time, in any usual unit, may be a time."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A cursor as a number with something before and after it: `v1:` and `215`, or eight bytes."""

    before: bytes
    number: int
    after: bytes
    order: Literal["text", "big", "little"]
    width: int
    """The number of digits with leading zeros, or of bytes."""

    def ahead(self, steps: int) -> bytes | None:
        """Returns the cursor that is so many steps ahead; None if it does not fit into the width."""
        number = self.number + steps
        if self.order == "text":
            return self.before + str(number).zfill(self.width).encode() + self.after
        if number >= 1 << (8 * self.width - 1):
            return None
        return self.before + number.to_bytes(self.width, self.order) + self.after


def future_cursors(revision: bytes, first: bytes) -> list[bytes]:
    """Returns cursors far ahead of `revision`; none if it does not look like a number, or like text with a number.

    `first` is an earlier cursor: a number within a text must have grown since.
    """
    if revision.isdigit():
        count = int(revision)
        return [str(ahead).encode() for ahead in (count + AHEAD, 2 * count + AHEAD, 2**63 - 1, 10**30 + count)]
    cursors = [counter.ahead(AHEAD) or counter.ahead(AHEAD_OF_32_BITS) for counter in counters(revision, first)]
    if len(revision) == 8:
        numbers = [(int.from_bytes(revision, order) + AHEAD, order) for order in BYTE_ORDERS]
        cursors += [number.to_bytes(8, order) for number, order in numbers if number < 2**63]
    return [*dict.fromkeys(cursor for cursor in cursors if cursor is not None)]


def near_cursors(revision: bytes, first: bytes, *, transitions: int) -> list[bytes]:
    """Returns the next cursors after `revision` if it counts changes; none if it may be a clock or a hash.

    `first` is the cursor from before this number of transitions.
    """
    near = []
    for counter, moved in _counters_with_steps(revision, first):
        if 0 < moved <= MAX_STEPS_PER_TRANSITION * transitions and not _may_be_time(counter.number):
            near += [cursor for steps in NEAR if (cursor := counter.ahead(steps)) is not None]
    return near


def counters(revision: bytes, first: bytes) -> list[Counter]:
    """Returns how the cursor reads as a number that has grown since `first`, with the rest unchanged."""
    return [counter for counter, moved in _counters_with_steps(revision, first) if moved > 0]


def _counters_with_steps(revision: bytes, first: bytes) -> Iterator[tuple[Counter, int]]:
    if revision.isascii() and (text := _in_text(revision, first)) is not None:
        yield text
    elif len(revision) == len(first) and len(revision) in BINARY_WIDTHS:
        yield from _in_bytes(revision, first)


def _in_text(revision: bytes, first: bytes) -> tuple[Counter, int] | None:
    now, then = (re.split(rb"(\d+)", each) for each in (revision, first))
    different = [place for place, parts in enumerate(zip(now, then, strict=False)) if parts[0] != parts[1]]
    if len(now) != len(then) or len(different) != 1 or different[0] % 2 == 0:
        return None
    place = different[0]
    digits = now[place]
    width = len(digits) if digits.startswith(b"0") else 0
    counter = Counter(b"".join(now[:place]), int(digits), b"".join(now[place + 1 :]), "text", width)
    return counter, counter.number - int(then[place])


def _in_bytes(revision: bytes, first: bytes) -> Iterator[tuple[Counter, int]]:
    width = min(8, len(revision))
    for start in range(0, len(revision), width):
        before, part, after = revision[:start], revision[start : start + width], revision[start + width :]
        if first[:start] != before or first[start + width :] != after:
            continue
        for order in BYTE_ORDERS:
            number = int.from_bytes(part, order)
            moved = number - int.from_bytes(first[start : start + width], order)
            if 0 < moved < 1 << (8 * width - 16):  # read in the wrong order, a small step is a huge one
                yield Counter(before, number, after, order, width), moved


def _may_be_time(number: int) -> bool:
    return any(abs(number / unit - time.time()) < YEARS for unit in (1, 10**3, 10**6, 10**9))
