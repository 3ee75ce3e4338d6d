"""What the scale lane measured: a part of the report, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.latency import Latencies
    from conformance.scale.budget import Held
    from conformance.scale.growth import Growth


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the churn is. `rates` are answered calls per second, `p99` seconds, both by the kind of call."""

    at: float
    share: float
    operations: int
    creates: int
    machines: int
    checks: int
    facts: int
    disagreements: int
    rates: Mapping[str, float] = field(default_factory=dict)
    p99: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """How many machines whole Lists have held. Those of others come and go."""

    fewest: int = 0
    most: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The figures of a run of the scale lane. Times in seconds, memory in bytes."""

    soak: str
    """What was asked for: `60s`, `3000ops`."""
    machines: int
    """Most that were driven at once."""
    most_creates: int
    """More were not to be started."""
    seconds: float
    """How long the churn took, from its first machine to its last check."""
    operations: int
    """Transitions that were seen to their end."""
    checks: int
    """How often all was at rest and every machine compared."""
    facts: int
    """How often an answer was compared with what it should show."""
    disagreements: int
    pushed_back: int
    """Calls that the provider put off, with UNAVAILABLE or RESOURCE_EXHAUSTED."""
    disturbed: int
    """Machines that somebody else took."""
    fleet: Fleet
    latencies: Mapping[str, Latencies]
    growth: tuple[Growth, ...]
    budgets: tuple[Held, ...]
    memory: int
    """The most that the kit's process has ever held."""
    memory_growth: int
    """How much more it held at the last check than half-way through."""

    @property
    def over(self) -> tuple[Held, ...]:
        """The budgets that are exceeded."""
        return tuple(held for held in self.budgets if held.over)

    @property
    def unmeasured(self) -> tuple[Held, ...]:
        """The budgets of which nothing can be said: no such call was answered."""
        return tuple(held for held in self.budgets if held.seconds is None)
