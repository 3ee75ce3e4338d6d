"""Compares two runs: new failures, fixed failures, and other differences. Pure functions.

Two runs of one provider must not differ. So latencies are reported but do not count as a difference. The same is true
if a behaviour passed in one run, and in the other came too late to observe a short transition.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from conformance.core.lifecycle import Verb
from conformance.results import fingerprint
from conformance.results.causes import cause_ids
from conformance.results.comparison import PASSES, Change, Comparison, Kind, Side, Slower, Tolerance, Trait, answers
from conformance.results.result import Status

if TYPE_CHECKING:
    from conformance.results.report import Report
    from conformance.results.result import Result
    from conformance.results.target_info import TargetInfo

BROKEN = (Status.FAILED, Status.WARNED)
MUTATING = frozenset(verb.value for verb in Verb)
COMPARED_PROPERTIES = (
    *("delete", "revisions", "fence_scope", "tls", "client_certificate", "health", "reflection", "spot", "zones"),
)
"""The target's properties that two runs of one provider have in common. Its fleet changes all the time."""
MIN_CALLS_FOR_MEDIAN = 5
"""The median of fewer calls is not reliable."""


def compare(
    before: Report,
    after: Report,
    *,
    names: tuple[str, str] = ("before", "after"),
    tolerance: Tolerance | None = None,
) -> Comparison:
    """Returns the differences between two runs. `names` are shown to users."""
    tolerance = tolerance or Tolerance()
    old = {result.id: result for result in before.results}
    new = {result.id: result for result in after.results}
    order = [*new, *(behaviour for behaviour in old if behaviour not in new)]
    kinds = {behaviour: change_of(old.get(behaviour), new.get(behaviour)) for behaviour in order}
    cause_of = cause_ids(before.results) | cause_ids(after.results)
    left_out = {behaviour for behaviour in old if behaviour not in new and not after.whole}
    return Comparison(
        before=_side(before, names[0]),
        after=_side(after, names[1]),
        changes=tuple(
            Change(kind=kind, before=old.get(behaviour), after=new.get(behaviour), cause=cause_of.get(behaviour))
            for behaviour, kind in kinds.items()
            if kind is not None and behaviour not in left_out
        ),
        unselected=len(left_out),
        traits=_traits(before.found, after.found),
        slower=_slower(before, after, tolerance),
        tolerance=tolerance,
    )


def change_of(before: Result | None, after: Result | None) -> Kind | None:
    """Returns how a behaviour changed; None if it did not."""
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
                return Kind.ANSWERS_DIFFER if _refused_with_other_codes(before, after) else None
            if was in BROKEN:
                return Kind.NEWLY_PASSING
            return Kind.BY_CHANCE if before is not None and _by_chance(before) else Kind.NEWLY_COVERED


def _by_chance(result: Result) -> bool:
    """Returns whether a behaviour was skipped after it made calls, but not because of a broken MAY."""
    return result.status is Status.SKIPPED and bool(result.calls) and not result.wanted


def _refused_with_other_codes(before: Result, after: Result) -> bool:
    """Returns whether an RPC was refused in both runs, each time with a code that the other run does not have.

    Both runs must have such a code, because timing matters: a retry may be refused in one run only.
    """
    if _had_concurrent_calls(before) or _had_concurrent_calls(after):
        return False
    one, other = answers(before), answers(after)
    return any(
        (refused := one[rpc] - PASSES) - other[rpc] and (other[rpc] - PASSES) - refused for rpc in one if rpc in other
    )


def _had_concurrent_calls(result: Result) -> bool:
    """Returns whether calls for one machine overlapped: then their order, and all later answers, are chance."""
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
        Trait(name=name, before=_words_for(getattr(before, name)), after=_words_for(getattr(after, name)))
        for name in COMPARED_PROPERTIES
        if getattr(before, name) != getattr(after, name)
    )


def _words_for(value: object) -> str:
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
    durations: dict[str, list[float]] = {}
    for result in report.results:
        for call in result.calls:
            if call.answered:
                durations.setdefault(call.rpc, []).append(call.ended - call.started)
    return {rpc: median(seconds) for rpc, seconds in sorted(durations.items()) if len(seconds) >= MIN_CALLS_FOR_MEDIAN}


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
