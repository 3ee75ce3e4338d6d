"""Two runs, one value: what of it is new, what is mended, and what differs. Pure.

What may differ between two runs of one provider is told apart from what may not: times, and whether a behaviour
that looks at something quick came in time to see it, are mentioned and never a difference.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from conformance.core.lifecycle import Verb
from conformance.results import fingerprint
from conformance.results.comparison import PASSES, Change, Comparison, Kind, Side, Slower, Tolerance, Trait, answers
from conformance.results.result import Status, follows

if TYPE_CHECKING:
    from conformance.results.report import Report
    from conformance.results.result import Result
    from conformance.results.target_info import TargetInfo

BROKEN = (Status.FAILED, Status.WARNED)
MUTATING = frozenset(verb.value for verb in Verb)
SHAPE = (*("delete", "revisions", "fence_scope", "tls", "client_certificate", "health", "reflection", "spot", "zones"),)
"""What two runs of one provider find alike. Its fleet is not in it: machines come and go."""
FEW = 5
"""The median of fewer calls than these says nothing."""


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


def _traits(before: TargetInfo | None, after: TargetInfo | None) -> tuple[Trait, ...]:
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
