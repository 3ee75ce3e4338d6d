"""Latency budgets (`list.p99=500ms`) and their results. They never change the verdict on the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from conformance.core.errors import UsageError
from conformance.core.text import cut
from conformance.core.timeouts import parse_duration
from conformance.core.value_types import Seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from conformance.core.latency import Latencies

KINDS: Final = ("Create", "Configure", "Drain", "Delete", "Get", "List", "Delta", "Page")
"""The kinds of calls that are timed. List has three: the whole fleet, since a revision, and capped or filtered."""
MEASURES: Final = ("p50", "p90", "p99", "max")
Kind = Annotated[str, Meta(pattern=rf"^({'|'.join(KINDS)})\Z")]
Measure = Annotated[str, Meta(pattern=rf"^({'|'.join(MEASURES)})\Z")]
_HINT: Final = f"write list.p99=500ms: one of {', '.join(k.lower() for k in KINDS)}, and one of {', '.join(MEASURES)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """At most `seconds` for a measure of a kind of call."""

    kind: Kind
    measure: Measure
    seconds: Seconds

    @property
    def name(self) -> str:
        """`list.p99`."""
        return f"{self.kind.lower()}.{self.measure}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetResult:
    """A budget and the measured seconds; None if no such call was answered."""

    budget: Budget
    seconds: Seconds | None

    @property
    def over(self) -> bool:
        """True if the budget is exceeded."""
        return self.seconds is not None and self.seconds > self.budget.seconds


def parse(text: str) -> Budget:
    """Returns the budget that `list.p99=500ms` describes. Raises UsageError."""
    name, equals, value = text.strip().partition("=")
    kind, dot, measure = name.strip().lower().partition(".")
    kinds = {each.lower(): each for each in KINDS}
    if not (equals and dot and kind in kinds and measure in MEASURES):
        raise UsageError(f"{cut(text, 60)!r} is not a budget", hint=_HINT)
    return Budget(kind=kinds[kind], measure=measure, seconds=parse_duration(value))


def parse_all(texts: Iterable[str]) -> tuple[Budget, ...]:
    """Returns the budgets. Raises UsageError if two are for the same measure."""
    budgets: dict[str, Budget] = {}
    for text in texts:
        budget = parse(text)
        if budget.name in budgets:
            raise UsageError(f"--budget {budget.name} is given twice", hint="remove one of them")
        budgets[budget.name] = budget
    return tuple(budgets.values())


def check(budgets: Iterable[Budget], latencies: Mapping[str, Latencies]) -> tuple[BudgetResult, ...]:
    """Returns each budget with the measured value."""
    return tuple(
        BudgetResult(budget=b, seconds=float(getattr(latencies[b.kind], b.measure)) if b.kind in latencies else None)
        for b in budgets
    )
