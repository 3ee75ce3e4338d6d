"""Repeats an earlier run: chooses which of its behaviours to judge again, and compares the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.core.errors import UsageError
from conformance.results import fingerprint
from conformance.results.result import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.core.catalogue import Catalogue
    from conformance.results.report import Report
    from conformance.results.result import Result

BROKEN: Final = (Status.FAILED, Status.WARNED)
NOT_PASSED: Final = (*BROKEN, Status.ERROR)


def select_ids(report: Report, patterns: Sequence[str], known: Catalogue) -> tuple[str, ...]:
    """Returns the ids to judge again: those of the run that match `patterns`; without patterns, all that did not pass.

    Raises UsageError if a pattern matches nothing in that run, or if no behaviour is left.
    """
    judged = {result.id: result for result in report.results}
    for pattern in patterns:
        if not known.match([pattern]) & judged.keys():
            raise UsageError(
                f"{pattern!r} was not part of that run",
                hint=f"it judged {_shortened(list(judged))}; `conformance run --select {pattern}` judges it",
            )
    ids = known.match(patterns) & judged.keys() if patterns else {r.id for r in report.with_status(*NOT_PASSED)}
    if not ids:
        raise UsageError(
            "all behaviours passed in that run: there is no failure to replay",
            hint="name the behaviours to judge again",
        )
    gone = sorted(ids - {entry.id for entry in known.entries})
    if gone:
        raise UsageError(f"{', '.join(gone)}: this version of the kit does not judge them", hint="name others")
    return tuple(name for name in judged if name in ids)


def _shortened(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def comparison_lines(before: Report, now: Report) -> list[str]:
    """Returns a line for each behaviour that was judged again: whether its outcome is the same."""
    earlier = {result.id: result for result in before.results}
    return [f"replay     {result.id}: {compare_outcomes(earlier[result.id], result)}" for result in now.results]


def compare_outcomes(before: Result, now: Result) -> str:
    """Describes whether the outcome is the same. Ids, numbers and the provider's own prose are ignored."""
    match before.status in BROKEN, now.status in BROKEN:
        case True, True:
            if fingerprint.normalized(before) == fingerprint.normalized(now):
                return "same failure as before"
            return f"fails differently: got {before.got} before; got {now.got} now"
        case True, False if now.status is Status.PASSED:
            return "passed this time"
        case False, True:
            return f"failed (got {now.got}), {_outcome(before)} before"
        case _:
            return f"{_outcome(now)}, {_outcome(before)} before"


def _outcome(result: Result) -> str:
    match result.status:
        case Status.PASSED:
            return "passed"
        case Status.SKIPPED:
            return f"skipped ({result.reason})"
        case Status.ERROR:
            return f"not judged ({result.reason})"
        case Status.FAILED | Status.WARNED:
            return f"failed (got {result.got})"
