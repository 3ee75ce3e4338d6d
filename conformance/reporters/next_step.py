"""Names the clause to implement next for a provider that is being written.

The order has two sources. First, a behaviour comes after those that it depends on (`rests_on`, derived from the
behaviours that broken providers fail together): while they fail, its own failure is not informative. Second, areas come
in the usual order of implementation: reads first, because all other observations need them, then the lifecycle, retries
and error codes, the fence, and metadata; optional parts, and those that only matter on a bad network, come last. A
broken MUST comes before a MUST that was not judged, which often depends on it, and a SHOULD comes last.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance.core.catalogue import Level
from conformance.core.text import printable, quantity
from conformance.reporters import terminal
from conformance.results.result import Status
from conformance.rpc.call import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.core.catalogue import Clause, Entry
    from conformance.results.report import Report
    from conformance.results.result import Result

AREA_ORDER: Final = ("SHP", "LST", "LIF", "OPS", "COD", "FEN", "MET", "revisions", "WIR", "SEC")
"""The areas in the usual order of implementation. Revisions are the optional part of List."""
CLOSED: Final = (Status.PASSED, Status.SKIPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The clause to implement next, with its first open result and its other open results."""

    clause: Clause
    result: Result
    others: tuple[Result, ...]
    waiting: int
    """The number of open behaviours that depend on this one, directly or indirectly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The numbers of clauses by state. Clauses with level MAY are not counted: they are never judged."""

    satisfied: int
    broken: int
    unjudged: int
    """Not fully judged, and no failure was seen."""
    not_applicable: int
    """Not applicable: the provider does not have the capability and need not have it."""

    @property
    def applicable(self) -> int:
        """The number of clauses that apply to this provider."""
        return self.satisfied + self.broken + self.unjudged


def order(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Returns the entries in the order of implementation, each after all entries that it depends on."""
    positions = {entry.id: number for number, entry in enumerate(entries)}
    by_id = {entry.id: entry for entry in entries}
    missing = {entry.id: {name for name in entry.rests_on if name in by_id} for entry in entries}
    dependents: dict[str, list[str]] = defaultdict(list)
    for name, dependencies in missing.items():
        for dependency in dependencies:
            dependents[dependency].append(name)

    def priority(name: str) -> tuple[int, int, str]:
        return _stage(by_id[name]), positions[name], name

    ready = [priority(name) for name, dependencies in missing.items() if not dependencies]
    heapq.heapify(ready)
    found: list[Entry] = []
    while ready:
        name = heapq.heappop(ready)[2]
        found.append(by_id[name])
        for other in dependents[name]:
            missing[other].discard(name)
            if not missing[other]:
                heapq.heappush(ready, priority(other))
    return tuple(found)


def _stage(entry: Entry) -> int:
    stage = "revisions" if "revisions" in entry.needs else entry.area
    return AREA_ORDER.index(stage) if stage in AREA_ORDER else len(AREA_ORDER)


def step(report: Report) -> Step | None:
    """Returns the next step; None if all judged clauses are satisfied."""
    results = {result.id: result for result in report.results}
    ordered = [results[entry.id] for entry in order([result.entry for result in report.results])]
    open_results = [result for result in ordered if result.status not in CLOSED and result.entry.level is not Level.MAY]
    if not open_results:
        return None
    first = min(open_results, key=_urgency)  # min() returns the first of equals, so the order is kept
    return Step(
        clause=first.entry.clause,
        result=first,
        others=tuple(r for r in open_results if r.entry.clause.id == first.entry.clause.id and r is not first),
        waiting=sum(first.id in _below(result, results) for result in open_results),
    )


def _urgency(result: Result) -> int:
    must, seen = result.entry.level is Level.MUST, result.status is not Status.ERROR
    return (0 if seen else 1) if must else (2 if seen else 3)


def _below(result: Result, results: dict[str, Result]) -> set[str]:
    known: set[str] = set()
    layer = list(result.entry.rests_on)
    while layer:
        known.update(layer)
        layer = [g for name in layer if name in results for g in results[name].entry.rests_on if g not in known]
    return known


def progress(report: Report) -> Progress:
    """Counts the clauses by state."""
    clauses: dict[str, set[Status]] = defaultdict(set)
    for result in report.results:
        if result.entry.level is not Level.MAY:
            clauses[result.entry.clause.id].add(result.status)
    broken = sum(bool(statuses & {Status.FAILED, Status.WARNED}) for statuses in clauses.values())
    not_applicable = sum(statuses == {Status.SKIPPED} for statuses in clauses.values())
    satisfied = sum(statuses <= {*CLOSED} and Status.PASSED in statuses for statuses in clauses.values())
    return Progress(
        satisfied=satisfied,
        broken=broken,
        unjudged=len(clauses) - broken - not_applicable - satisfied,
        not_applicable=not_applicable,
    )


def lines(report: Report) -> list[str]:
    """Returns the next step as lines of text."""
    if report.found is None:
        return [printable(f"next       make the target reachable; nothing was judged: {report.stopped}")]
    now, todo = progress(report), step(report)
    part = "" if report.whole else " (partial run)"
    counts = [f"{now.broken} broken"] * bool(now.broken) + [f"{now.unjudged} not judged"] * bool(now.unjudged)
    counts += [f"{now.not_applicable} not applicable"] * bool(now.not_applicable)
    done = f"{now.satisfied} of {quantity(now.applicable, 'clause')} satisfied"
    text = [f"progress   {', '.join([done, *counts])}{part}"]
    if todo is None:
        return [
            *text,
            "next       nothing: all judged clauses are satisfied"
            + ("" if report.whole else "; run all behaviours next"),
        ]
    result, entry = todo.result, todo.result.entry
    text += [
        f"next       {todo.clause.id} {todo.clause.level.value}: {todo.clause.text}",
        f"  check   {entry.id}  {entry.title}",
        f"  method  {entry.observed}",
    ]
    if result.status is Status.ERROR:
        text.append(f"  result  not judged: {result.reason}")
    else:
        text += [f"  wanted  {result.wanted}", f"  got     {result.got}"]
        text += [f"    {one_line(result.calls[number])}" for number in result.decisive[: terminal.LAST_CALLS]]
        text += terminal.repeat_lines(report, result)
    if todo.others:
        text.append(f"  then    {', '.join(other.id for other in todo.others)}, of the same clause")
    if todo.waiting:
        text.append(f"  blocks  {quantity(todo.waiting, 'open behaviour')} that depend on it")
    text.append(f"  explain conformance show {entry.id}")
    return list(map(printable, text))
