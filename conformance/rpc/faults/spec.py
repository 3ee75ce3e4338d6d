"""Weather: what a run does to its own line to the target, on purpose, and what has come of it. Values only.

A fault is asked for as `--fault NAME` or `--fault NAME=VALUE`; `storm` makes it.
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
    """All that is sent arrives later, each way."""
    THROTTLE = "throttle"
    """So many bytes in a second pass, on each connection and each way."""
    RESET = "reset"
    """Connections live for about so long, and are reset."""
    HALF_OPEN = "half-open"
    """After about so long the provider's end of a connection is gone; ours is told once it speaks, or by and by."""
    BLACKHOLE = "blackhole"
    """For so long nothing passes, again and again, and between that all does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `low` to `high` is its value: seconds, or bytes per second; 0 where it has none."""

    kind: FaultKind
    low: float = 0.0
    high: float = 0.0
    text: str
    """As it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultStats:
    """What a run's faults have done to it."""

    faults: tuple[str, ...]
    did: dict[str, Count] = field(default_factory=dict)
    """What the proxy of the network faults counted: connections, resets, blackholes, delayed chunks …"""
    lost: dict[str, Count] = field(default_factory=dict)
    """By RPC, answers that were lost: the call was done, and nobody heard."""
    again: dict[str, Count] = field(default_factory=dict)
    """By RPC, calls that were made again for want of an answer."""

    def lines(self) -> tuple[str, ...]:
        """What there was, for people: the faults, then what each has come to."""
        told = [f"{count} {what}" for what, count in self.did.items() if count]
        told += [f"lost answers of {_each(self.lost)}"] if self.lost else []
        told += [f"asked again {_each(self.again)}"] if self.again else []
        return " · ".join(self.faults), "; ".join(told) or "it did nothing"


def _each(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {rpc}" for rpc, count in counts.items())


def parse_faults(texts: Iterable[str]) -> tuple[Fault, ...]:
    """`lost-answer`, `delay=5ms..50ms` … -> faults. Raises UsageError for any other form, and for one kind twice."""
    faults = tuple(parse_fault(text) for text in texts)
    kinds = [fault.kind for fault in faults]
    for kind in FaultKind:
        if kinds.count(kind) > 1:
            raise UsageError(f"--fault {kind} is given twice", hint=f"write {_FORMS}")
    return faults


def parse_fault(text: str) -> Fault:
    """One fault as it is written. Raises UsageError for any other form, and says what is wrong with it."""
    name, equals, value = text.strip().partition("=")
    try:
        kind = FaultKind(name)
    except ValueError:
        raise UsageError(f"--fault {text!r} is no fault", hint=f"write {_FORMS}") from None
    if kind is FaultKind.LOST_ANSWER:
        if equals:
            raise UsageError(f"--fault {text!r}: {kind} takes no value", hint=f"write --fault {kind}")
        return Fault(kind=kind, text=kind.value)
    if not value:
        raise UsageError(f"--fault {text!r} lacks a value", hint=f"write {_FORMS}")
    low, high = _values(kind, value, text)
    return Fault(kind=kind, low=low, high=high, text=f"{kind}={value.strip()}")


def _values(kind: FaultKind, value: str, text: str) -> tuple[float, float]:
    match kind:
        case FaultKind.THROTTLE:
            match = _RATE.fullmatch(value.strip())
            rate = float(match["number"]) * _UNITS[match["unit"]] if match else 0.0
            if not MIN_RATE_BYTES_PER_S <= rate <= 1e12:
                raise UsageError(f"--fault {text!r} is no rate from 1kB on", hint="write throttle=64kB or throttle=1MB")
            return rate, rate
        case FaultKind.DELAY:
            first, dots, last = value.partition("..")
            low = _seconds(first, text)
            high = _seconds(last, text) if dots else low
            if not low <= high <= MAX_DELAY_S:
                raise UsageError(
                    f"--fault {text!r} is no delay of at most {MAX_DELAY_S:g} s", hint="write delay=20ms or 5ms..50ms"
                )
            return low, high
        case _:
            life = _seconds(value, text)
            if life < MIN_PERIOD_S:
                raise UsageError(
                    f"--fault {text!r} is shorter than {MIN_PERIOD_S * 1000:g} ms",
                    hint=f"write {kind}=2s: nothing could be asked between two of them",
                )
            return life, life


def _seconds(value: str, text: str) -> float:
    try:
        return parse_duration(value)
    except UsageError as error:
        raise UsageError(f"--fault {text!r}: {error.message}", hint=error.hint) from None
