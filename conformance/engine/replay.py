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
OPEN: Final = (*BROKEN, Status.ERROR)


def chosen(report: Report, patterns: Sequence[str], known: Catalogue) -> tuple[str, ...]:
    """Returns the ids to judge again: those of the run that match `patterns`; without patterns, all that did not pass.

    Raises UsageError if a pattern matches nothing in that run, or if nothing is left to judge again.
    """
    had = {result.id: result for result in report.results}
    for pattern in patterns:
        if not known.match([pattern]) & had.keys():
            raise UsageError(
                f"{pattern!r} was not in that run",
                hint=f"it had {_few(list(had))}; `conformance run --select {pattern}` judges it",
            )
    ids = known.match(patterns) & had.keys() if patterns else {r.id for r in report.with_status(*OPEN)}
    if not ids:
        raise UsageError(
            "all passed in that run: there is nothing to see again", hint="name what to judge all the same"
        )
    gone = sorted(ids - {entry.id for entry in known.entries})
    if gone:
        raise UsageError(f"{', '.join(gone)}: this kit does not judge that any more", hint="name others")
    return tuple(name for name in had if name in ids)


def _few(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def compared(before: Report, now: Report) -> list[str]:
    """Returns a line for each behaviour that was judged again: whether it ended as before."""
    earlier = {result.id: result for result in before.results}
    return [f"replay     {result.id}: {came(earlier[result.id], result)}" for result in now.results]


def came(before: Result, now: Result) -> str:
    """Returns whether a behaviour ended as before, in words. Ids, numbers and the provider's own prose are ignored."""
    match before.status in BROKEN, now.status in BROKEN:
        case True, True:
            if fingerprint.of(before) == fingerprint.of(now):
                return "it happened again, as before"
            return f"it is broken again, but otherwise: then got {before.got}; now got {now.got}"
        case True, False if now.status is Status.PASSED:
            return "it did not happen again: it passed"
        case False, True:
            return f"it is broken now, and {_ended(before)} then: got {now.got}"
        case _:
            return f"it {_ended(now)}, and {_ended(before)} then"


def _ended(result: Result) -> str:
    match result.status:
        case Status.PASSED:
            return "passed"
        case Status.SKIPPED:
            return f"was skipped ({result.reason})"
        case Status.ERROR:
            return f"could not be judged ({result.reason})"
        case Status.FAILED | Status.WARNED:
            return f"was broken (got {result.got})"
