"""The values of fault injection: the faults of `--fault NAME` and `--fault NAME=VALUE`, and their statistics.

`injection` and `proxy` inject them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from conformance.core.errors import UsageError
from conformance.core.timeouts import parse_duration
from conformance.core.value_types import Count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_DELAY_S: Final = 10.0
MIN_RATE_BYTES_PER_S: Final = 1000.0
MIN_PERIOD_S: Final = 0.05

_RATE: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>|k|M)B(?:/s)?")
_UNITS: Final = {"": 1.0, "k": 1e3, "M": 1e6}
_FORMS: Final = (
    "lost-answer, delay=20ms, delay=5ms..50ms, throttle=64kB, reset=5s, half-open=5s or blackhole=2s, each at most once"
)


class FaultKind(StrEnum):
    """The kinds of faults."""

    LOST_ANSWER = "lost-answer"
    """The provider carries out the call, and the client drops the answer."""
    DELAY = "delay"
    """All bytes arrive later, in both directions."""
    THROTTLE = "throttle"
    """The bytes per second are limited, per connection and direction."""
    RESET = "reset"
    """Connections are reset after about this time."""
    HALF_OPEN = "half-open"
    """The provider's end of a connection is reset after about this time; the client's end when it sends, or later."""
    BLACKHOLE = "blackhole"
    """No byte passes for this time, repeatedly; in between, all bytes pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `low` to `high` is its value: seconds, or bytes per second; 0 if it has none."""

    kind: FaultKind
    low: float = 0.0
    high: float = 0.0
    text: str
    """The text of the option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultStats:
    """The statistics of a run's injected faults."""

    faults: tuple[str, ...]
    did: dict[str, Count] = field(default_factory=dict)
    """The counts of the fault proxy: connections, resets, blackholes, delayed chunks …"""
    lost: dict[str, Count] = field(default_factory=dict)
    """By RPC, lost answers: the provider carried out the call, and the client did not get the response."""
    again: dict[str, Count] = field(default_factory=dict)
    """By RPC, calls that were retried because they were not answered."""

    def lines(self) -> tuple[str, ...]:
        """Returns two lines for reports: the faults, and their effects."""
        effects = [f"{count} {what}" for what, count in self.did.items() if count]
        effects += [f"dropped responses: {_counts_text(self.lost)}"] if self.lost else []
        effects += [f"retried calls: {_counts_text(self.again)}"] if self.again else []
        return " · ".join(self.faults), "; ".join(effects) or "no effect"


def _counts_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {rpc}" for rpc, count in counts.items())


def parse_faults(texts: Iterable[str]) -> tuple[Fault, ...]:
    """`lost-answer`, `delay=5ms..50ms` … -> faults. Raises UsageError for any other form, and for a repeated kind."""
    faults = tuple(parse_fault(text) for text in texts)
    kinds = [fault.kind for fault in faults]
    for kind in FaultKind:
        if kinds.count(kind) > 1:
            raise UsageError(f"--fault {kind} is given twice", hint=f"write {_FORMS}")
    return faults


def parse_fault(text: str) -> Fault:
    """Returns the fault of an option. Raises UsageError that explains the error for any other form."""
    name, equals, value = text.strip().partition("=")
    try:
        kind = FaultKind(name)
    except ValueError:
        raise UsageError(f"unknown fault {text!r}", hint=f"write {_FORMS}") from None
    if kind is FaultKind.LOST_ANSWER:
        if equals:
            raise UsageError(f"--fault {text!r}: {kind} takes no value", hint=f"write --fault {kind}")
        return Fault(kind=kind, text=kind.value)
    if not value:
        raise UsageError(f"--fault {text!r} needs a value", hint=f"write {_FORMS}")
    low, high = _values(kind, value, text)
    return Fault(kind=kind, low=low, high=high, text=f"{kind}={value.strip()}")


def _values(kind: FaultKind, value: str, text: str) -> tuple[float, float]:
    match kind:
        case FaultKind.THROTTLE:
            match = _RATE.fullmatch(value.strip())
            rate = float(match["number"]) * _UNITS[match["unit"]] if match else 0.0
            if not MIN_RATE_BYTES_PER_S <= rate <= 1e12:
                raise UsageError(
                    f"--fault {text!r} is not a rate of at least 1kB", hint="write throttle=64kB or throttle=1MB"
                )
            return rate, rate
        case FaultKind.DELAY:
            first, dots, last = value.partition("..")
            low = _seconds(first, text)
            high = _seconds(last, text) if dots else low
            if not low <= high <= MAX_DELAY_S:
                raise UsageError(
                    f"--fault {text!r} is not a delay of at most {MAX_DELAY_S:g} s",
                    hint="write delay=20ms or 5ms..50ms",
                )
            return low, high
        case _:
            period = _seconds(value, text)
            if period < MIN_PERIOD_S:
                raise UsageError(
                    f"--fault {text!r} is shorter than {MIN_PERIOD_S * 1000:g} ms",
                    hint=f"write {kind}=2s; a shorter time leaves no time for a call between two of them",
                )
            return period, period


def _seconds(value: str, text: str) -> float:
    try:
        return parse_duration(value)
    except UsageError as error:
        raise UsageError(f"--fault {text!r}: {error.message}", hint=error.hint) from None
