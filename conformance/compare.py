"""Two runs, one value: what of it is new, what is mended, and what differs. Pure.

What may differ between two runs of one provider is told apart from what may not: times, and whether a behaviour
that looks at something quick came in time to see it, are mentioned and never a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING

from conformance import fingerprint
from conformance.lifecycle import Verb
from conformance.report import Status, follows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.found import Found
    from conformance.report import Report, Result

BROKEN = (Status.FAILED, Status.WARNED)
MUTATING = frozenset(verb.value for verb in Verb)
SHAPE = (*("delete", "revisions", "fence_scope", "tls", "client_certificate", "health", "reflection", "spot", "zones"),)
"""What two runs of one provider find alike. Its fleet is not in it: machines come and go."""
PASSES = frozenset({"OK", "FAILED_PRECONDITION"})
"""Codes that say nothing of an implementation: whether a call passes, and that the fence refuses it, is judged."""
FEW = 5
"""The median of fewer calls than these says nothing."""


class Kind(StrEnum):
    """What became of a behaviour from one run to the other."""

    NEWLY_FAILING = "newly failing"
    FAILS_DIFFERENTLY = "fails differently"
    NEWLY_UNJUDGED = "newly not judged"
    NEWLY_SKIPPED = "newly skipped"
    NEWLY_PASSING = "newly passing"
    NEWLY_COVERED = "newly covered"
    GONE = "gone"
    ANSWERS_DIFFER = "answers differ"
    """It ended alike, but calls were refused with other codes."""
    STILL_FAILING = "still failing"
    STILL_UNJUDGED = "still not judged"
    BY_CHANCE = "seen in one run only"
    """It passed in one run; in the other there was nothing to see when it looked."""

    @property
    def differs(self) -> bool:
        """Whether two runs of one provider do not show it."""
        return self not in (Kind.STILL_FAILING, Kind.STILL_UNJUDGED, Kind.BY_CHANCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One behaviour in both runs; None in a run that does not have it."""

    kind: Kind
    before: Result | None
    after: Result | None
    cause: str | None = None
    """Where it fails, or failed, because it rests on another failure of that run: that one's id."""

    @property
    def result(self) -> Result:
        """The newer result that there is."""
        result = self.after or self.before
        assert result is not None
        return result

    @property
    def id(self) -> str:
        """The behaviour's id."""
        return self.result.id

    def codes(self) -> Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """Where they differ, the codes that each RPC was answered with: in the one run and in the other."""
        before, after = answers(self.before), answers(self.after)
        return {
            rpc: (tuple(sorted(before.get(rpc, ()))), tuple(sorted(after.get(rpc, ()))))
            for rpc in sorted({*before, *after})
            if before.get(rpc) != after.get(rpc)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """One thing that was found at the target, and was not the same in both runs."""

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
    """An RPC got slower where its median is more than `factor` times what it was, and `least` seconds longer."""

    factor: float = 1.5
    least: float = 0.005

    def __str__(self) -> str:
        return f"{self.factor:g} x and {self.least * 1000:g} ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Which run it is."""

    name: str
    target: str
    run: str
    started: str
    version: str
    verdict: str
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One run, held against another."""

    before: Side
    after: Side
    changes: tuple[Change, ...]
    unselected: int
    """Behaviours of the one run that the other, a selection, was not asked for: they are not gone."""
    traits: tuple[Trait, ...]
    slower: tuple[Slower, ...]
    tolerance: Tolerance

    def of(self, *kinds: Kind) -> tuple[Change, ...]:
        """The behaviours of which this became, in the catalogue's order."""
        return tuple(change for change in self.changes if change.kind in kinds)

    def heads(self, *kinds: Kind) -> tuple[tuple[Change, tuple[Change, ...]], ...]:
        """The same by causes: each that does not go with another one, with those that go with it."""
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
        """Whether anything differs that does not between two runs of one provider."""
        return bool(self.traits) or self.unselected > 0 or any(change.kind.differs for change in self.changes)

    @property
    def known(self) -> frozenset[str]:
        """The behaviours that fail as they did before, or were not judged before either."""
        return frozenset(change.id for change in self.of(Kind.STILL_FAILING, Kind.STILL_UNJUDGED))


def compare(
    before: Report,
    after: Report,
    *,
    names: tuple[str, str] = ("before", "after"),
    tolerance: Tolerance | None = None,
) -> Comparison:
    """What became of `before` in `after`; `names` is what people call the two."""
    tolerance = tolerance or Tolerance()
    old = {result.id: result for result in before.results}
    new = {result.id: result for result in after.results}
    order = [*new, *(behaviour for behaviour in old if behaviour not in new)]
    kinds = {behaviour: became(old.get(behaviour), new.get(behaviour)) for behaviour in order}
    grounds = follows(before.results) | follows(after.results)
    left_out = {behaviour for behaviour in old if behaviour not in new and not after.whole}
    return Comparison(
        before=_side(before, names[0]),
        after=_side(after, names[1]),
        changes=tuple(
            Change(kind=kind, before=old.get(behaviour), after=new.get(behaviour), cause=grounds.get(behaviour))
            for behaviour, kind in kinds.items()
            if kind is not None and behaviour not in left_out
        ),
        unselected=len(left_out),
        traits=_traits(before.found, after.found),
        slower=_slower(before, after, tolerance),
        tolerance=tolerance,
    )


def became(before: Result | None, after: Result | None) -> Kind | None:
    """What became of a behaviour; None where nothing did."""
    if after is None:
        return Kind.GONE
    was = before.status if before is not None else None
    match after.status:
        case Status.FAILED | Status.WARNED:
            if before is None or was not in BROKEN:
                return Kind.NEWLY_FAILING
            same = was is after.status and fingerprint.of(before) == fingerprint.of(after)
            return Kind.STILL_FAILING if same else Kind.FAILS_DIFFERENTLY
        case Status.ERROR:
            return Kind.STILL_UNJUDGED if was is Status.ERROR else Kind.NEWLY_UNJUDGED
        case Status.SKIPPED:
            if was is Status.SKIPPED:
                return None
            return Kind.BY_CHANCE if was is Status.PASSED and _by_chance(after) else Kind.NEWLY_SKIPPED
        case Status.PASSED:
            if before is not None and was is Status.PASSED:
                return Kind.ANSWERS_DIFFER if _refused_otherwise(before, after) else None
            if was in BROKEN:
                return Kind.NEWLY_PASSING
            return Kind.BY_CHANCE if before is not None and _by_chance(before) else Kind.NEWLY_COVERED


def answers(result: Result | None) -> Mapping[str, frozenset[str]]:
    """The codes that the provider answered each RPC of a behaviour with, by their names."""
    codes: dict[str, set[str]] = {}
    for call in result.calls if result is not None else ():
        if call.answered:
            codes.setdefault(call.rpc, set()).add(call.code.name)
    return {rpc: frozenset(named) for rpc, named in codes.items()}


def _by_chance(result: Result) -> bool:
    """Skipped only after a look: what the target lacks, or a broken MAY, is no matter of chance."""
    return result.status is Status.SKIPPED and bool(result.calls) and not result.wanted


def _refused_otherwise(before: Result, after: Result) -> bool:
    """Whether an RPC was refused in either run with a code that it never was in the other.

    In both, as what is met on the way depends on when: a retry may be refused in one run, and not at all in the other.
    """
    if _raced(before) or _raced(after):
        return False
    one, other = answers(before), answers(after)
    return any(
        (refused := one[rpc] - PASSES) - other[rpc] and (other[rpc] - PASSES) - refused for rpc in one if rpc in other
    )


def _raced(result: Result) -> bool:
    """Whether calls for one machine were under way at once: who came first is chance, and so is what follows."""
    until: dict[str, float] = {}
    for call in sorted((call for call in result.calls if call.rpc in MUTATING), key=lambda call: call.started):
        if call.started < until.get(call.machine_id, 0.0):
            return True
        until[call.machine_id] = call.ended
    return False


def _traits(before: Found | None, after: Found | None) -> tuple[Trait, ...]:
    if before is None or after is None:
        return ()
    return tuple(
        Trait(name=name, before=_said(getattr(before, name)), after=_said(getattr(after, name)))
        for name in SHAPE
        if getattr(before, name) != getattr(after, name)
    )


def _said(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case tuple():
            return ", ".join(map(str, value)) or "none"
        case None:
            return "none"
        case _:
            return str(value)


def _slower(before: Report, after: Report, tolerance: Tolerance) -> tuple[Slower, ...]:
    one, other = _medians(before), _medians(after)
    return tuple(
        Slower(rpc=rpc, before=one[rpc], after=took)
        for rpc, took in other.items()
        if rpc in one and took > one[rpc] * tolerance.factor and took - one[rpc] > tolerance.least
    )


def _medians(report: Report) -> dict[str, float]:
    taken: dict[str, list[float]] = {}
    for result in report.results:
        for call in result.calls:
            if call.answered:
                taken.setdefault(call.rpc, []).append(call.ended - call.started)
    return {rpc: median(seconds) for rpc, seconds in sorted(taken.items()) if len(seconds) >= FEW}


def _side(report: Report, name: str) -> Side:
    return Side(
        name=name,
        target=report.target,
        run=report.run,
        started=report.started,
        version=report.version,
        verdict=report.verdict_line,
        whole=report.whole,
    )
