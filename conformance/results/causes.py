"""Groups failures by cause: what a user fixes first, and what only follows from it. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.results.aspects import namesake
from conformance.results.breach import OUTSIDE
from conformance.results.result import Result, Status
from conformance.results.symptoms import explains, symptoms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A failure, and its consequences: the failures whose own evidence shows the same breach."""

    root: Result
    consequences: tuple[Result, ...]


def causes(results: Sequence[Result]) -> tuple[Cause, ...]:
    """Returns the causes of failures and warnings: failures first, then by the number of consequences.

    Of two with as many consequences, a behaviour's own failure comes before one that was only seen outside, because a
    behaviour has provoked it; then the one whose evidence shows a mutating call, because this call may have caused what
    the other one only reads.
    Every failure and every warning is in exactly one cause, as its root or as a consequence. A result is a consequence
    if it depends on a broken behaviour, directly or indirectly, and if its own evidence shows that breach.
    """
    rests_on = {result.id: result.entry.rests_on for result in results}
    broken = {result.id: result for result in results if result.status in (Status.FAILED, Status.WARNED)}
    seen = {name: symptoms(result) for name, result in broken.items()}
    explained_by = {
        name: [other for other in dependencies(name, rests_on) if other in broken and explains(seen[other], seen[name])]
        for name in broken
    }
    groups: dict[str, list[Result]] = {}
    for name, result in broken.items():
        groups.setdefault(_root(name, explained_by), []).append(result)
    found = [_cause(broken[root], group) for root, group in groups.items()]
    return tuple(sorted(found, key=_rank))


def cause_ids(results: Sequence[Result]) -> dict[str, str]:
    """Returns the id of the cause by the id of each consequence."""
    return {result.id: cause.root.id for cause in causes(results) for result in cause.consequences}


def _cause(root: Result, group: Sequence[Result]) -> Cause:
    consequences = [result for result in group if result is not root]
    named = namesake([root, *consequences]) or root
    return Cause(root=named, consequences=tuple(result for result in group if result is not named))


def _rank(cause: Cause) -> tuple[bool, int, bool, bool]:
    root = cause.root
    outside = root.reason.endswith(f"({OUTSIDE})")
    only_reads = all(root.calls[number].token is None for number in root.decisive)
    return root.status is not Status.FAILED, -len(cause.consequences), outside, only_reads


def _root(name: str, explained_by: Mapping[str, Sequence[str]]) -> str:
    """Returns the nearest explanation that has none itself, or the end of the chain of nearest explanations.

    Returns `name` if the chain is a circle: the catalogue has none, but a report may come from elsewhere.
    """
    current, passed = name, set[str]()
    while explained_by[current] and current not in passed:
        passed.add(current)
        unexplained = (other for other in explained_by[current] if not explained_by[other])
        current = next(unexplained, explained_by[current][0])
    return name if current in passed else current


def dependencies(behaviour_id: str, rests_on: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns all behaviours that a behaviour depends on, the nearest first."""
    known: dict[str, None] = {}
    layer = list(rests_on.get(behaviour_id, ()))
    while layer:
        known |= dict.fromkeys(layer)
        layer = [name for each in layer for name in rests_on.get(each, ()) if name not in known]
    return list(known)
