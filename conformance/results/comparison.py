"""The outcome of comparing two runs, as frozen values. `compare` builds them, reporters show them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.results.result import Result

PASSES = frozenset({"OK", "FAILED_PRECONDITION"})
"""Codes that do not distinguish implementations: accepted calls and fenced calls are judged anyway."""


class Kind(StrEnum):
    """The change of a behaviour from one run to the other."""

    NEWLY_FAILING = "newly failing"
    FAILS_DIFFERENTLY = "fails differently"
    NEWLY_UNJUDGED = "newly not judged"
    NEWLY_SKIPPED = "newly skipped"
    NEWLY_PASSING = "newly passing"
    NEWLY_COVERED = "newly covered"
    GONE = "gone"
    ANSWERS_DIFFER = "answers differ"
    """The status is the same, but calls were refused with other codes."""
    STILL_FAILING = "still failing"
    STILL_UNJUDGED = "still not judged"
    BY_CHANCE = "seen in one run only"
    """It passed in one run; in the other it came too late for its observation."""

    @property
    def differs(self) -> bool:
        """True if two runs of one provider never have this change."""
        return self not in (Kind.STILL_FAILING, Kind.STILL_UNJUDGED, Kind.BY_CHANCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One behaviour in both runs. In a run without the behaviour, the result is missing (None)."""

    kind: Kind
    before: Result | None
    after: Result | None
    cause: str | None = None
    """The id of the failure that caused it, if there is one."""

    @property
    def result(self) -> Result:
        """The newer result."""
        result = self.after or self.before
        assert result is not None
        return result

    @property
    def id(self) -> str:
        """The behaviour's id."""
        return self.result.id

    def codes(self) -> Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """Returns the codes of the answers in both runs by RPC, without RPCs that have the same codes in both."""
        before, after = answers(self.before), answers(self.after)
        return {
            rpc: (tuple(sorted(before.get(rpc, ()))), tuple(sorted(after.get(rpc, ()))))
            for rpc in sorted({*before, *after})
            if before.get(rpc) != after.get(rpc)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """A property of the target that differs between the runs."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slower:
    """The median of an RPC's answered calls, in seconds, in both runs."""

    rpc: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """An RPC is slower if its median grew by more than `factor` and by more than `least` seconds."""

    factor: float = 1.5
    least: float = 0.005

    def __str__(self) -> str:
        return f"{self.factor:g} x and {self.least * 1000:g} ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two runs."""

    name: str
    target: str
    run: str
    started: str
    version: str
    verdict: str
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The comparison of two runs."""

    before: Side
    after: Side
    changes: tuple[Change, ...]
    unselected: int
    """The number of behaviours of the first run that were not selected in the second one."""
    traits: tuple[Trait, ...]
    slower: tuple[Slower, ...]
    tolerance: Tolerance

    def of(self, *kinds: Kind) -> tuple[Change, ...]:
        """Returns the changes of these kinds, in the catalogue's order."""
        return tuple(change for change in self.changes if change.kind in kinds)

    def heads(self, *kinds: Kind) -> tuple[tuple[Change, tuple[Change, ...]], ...]:
        """Returns the changes of these kinds by cause: each cause with its consequences."""
        by_id = {change.id: change for change in self.of(*kinds)}
        roots = {change.id: self._head(change, by_id) for change in by_id.values()}
        return tuple(
            (change, tuple(other for other in by_id.values() if other is not change and roots[other.id] == change.id))
            for change in by_id.values()
            if roots[change.id] == change.id
        )

    def _head(self, change: Change, others: Mapping[str, Change]) -> str:
        root = others.get(change.cause or "")
        return root.id if root is not None and root.kind is change.kind else change.id

    @property
    def differs(self) -> bool:
        """True if there is a difference that two runs of one provider never have."""
        return bool(self.traits) or self.unselected > 0 or any(change.kind.differs for change in self.changes)

    @property
    def known(self) -> frozenset[str]:
        """The behaviours that failed in the same way, or were not judged, in both runs."""
        return frozenset(change.id for change in self.of(Kind.STILL_FAILING, Kind.STILL_UNJUDGED))


def answers(result: Result | None) -> Mapping[str, frozenset[str]]:
    """Returns the names of the codes in the provider's answers, by RPC."""
    codes: dict[str, set[str]] = {}
    for call in result.calls if result is not None else ():
        if call.answered:
            codes.setdefault(call.rpc, set()).add(call.code.name)
    return {rpc: frozenset(named) for rpc, named in codes.items()}
