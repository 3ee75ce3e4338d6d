"""Says what to do next for a provider that is being written: one clause, in the order in which providers grow.

The order has two sources. First, a behaviour comes after those that it rests on (`rests_on`, learned from what broken
providers break together): until they hold, its failure says nothing by itself. Second, areas come in the order in
which a provider grows: reading first, because everything else is observed by it, then the lifecycle, then retries and
error codes, then the fence, then metadata; optional parts, and those that only matter on a bad network, come last. A
broken MUST comes before a MUST that could not be judged, which often waits for it, and a SHOULD comes last.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance.core.catalogue import Level
from conformance.core.text import printable
from conformance.reporters import terminal
from conformance.results.result import Status
from conformance.rpc.call import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.core.catalogue import Clause, Entry
    from conformance.results.report import Report
    from conformance.results.result import Result

GROWS: Final = ("SHP", "LST", "LIF", "OPS", "COD", "FEN", "MET", "revisions", "WIR", "SEC")
"""The areas in the order in which a provider grows. Revisions are the optional part of List."""
HOLDS: Final = (Status.PASSED, Status.SKIPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The clause to do next: its decisive result, its other open results, and how many behaviours wait for it."""

    clause: Clause
    result: Result
    others: tuple[Result, ...]
    waiting: int
    """The number of open behaviours that rest on this one, directly or indirectly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The numbers of clauses by state, without those of a MAY, which is never judged."""

    hold: int
    broken: int
    open: int
    """Not fully judged, and nothing broken was seen."""
    absent: int
    """Not applicable: the provider does not have the capability and need not have it."""

    @property
    def of(self) -> int:
        """The number of clauses that apply to this provider."""
        return self.hold + self.broken + self.open


def order(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Returns the entries in the order in which a provider grows, each after all that it rests on."""
    places = {entry.id: number for number, entry in enumerate(entries)}
    by_id = {entry.id: entry for entry in entries}
    missing = {entry.id: {ground for ground in entry.rests_on if ground in by_id} for entry in entries}
    carries: dict[str, list[str]] = defaultdict(list)
    for name, grounds in missing.items():
        for ground in grounds:
            carries[ground].append(name)

    def place(name: str) -> tuple[int, int, str]:
        return _stage(by_id[name]), places[name], name

    ready = [place(name) for name, grounds in missing.items() if not grounds]
    heapq.heapify(ready)
    found: list[Entry] = []
    while ready:
        name = heapq.heappop(ready)[2]
        found.append(by_id[name])
        for other in carries[name]:
            missing[other].discard(name)
            if not missing[other]:
                heapq.heappush(ready, place(other))
    return tuple(found)


def _stage(entry: Entry) -> int:
    stage = "revisions" if "revisions" in entry.needs else entry.area
    return GROWS.index(stage) if stage in GROWS else len(GROWS)


def step(report: Report) -> Step | None:
    """Returns what to do next; None if everything that was judged holds."""
    results = {result.id: result for result in report.results}
    ordered = [results[entry.id] for entry in order([result.entry for result in report.results])]
    still = [result for result in ordered if result.status not in HOLDS and result.entry.level is not Level.MAY]
    if not still:
        return None
    first = min(still, key=_urgency)  # of equals the first, and so in order
    return Step(
        clause=first.entry.clause,
        result=first,
        others=tuple(r for r in still if r.entry.clause.id == first.entry.clause.id and r is not first),
        waiting=sum(first.id in _below(result, results) for result in still),
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
    """Returns how far a provider is, in clauses."""
    clauses: dict[str, set[Status]] = defaultdict(set)
    for result in report.results:
        if result.entry.level is not Level.MAY:
            clauses[result.entry.clause.id].add(result.status)
    broken = sum(bool(statuses & {Status.FAILED, Status.WARNED}) for statuses in clauses.values())
    absent = sum(statuses == {Status.SKIPPED} for statuses in clauses.values())
    hold = sum(statuses <= {*HOLDS} and Status.PASSED in statuses for statuses in clauses.values())
    return Progress(hold=hold, broken=broken, open=len(clauses) - broken - absent - hold, absent=absent)


def lines(report: Report) -> list[str]:
    """Returns what to do next in lines for people."""
    if report.found is None:
        return [printable(f"next       let the kit in, as nothing was judged: {report.stopped}")]
    now, todo = progress(report), step(report)
    part = "" if report.whole else " that this run judged"
    counted = [f"{now.broken} broken"] * bool(now.broken) + [f"{now.open} not judged"] * bool(now.open)
    counted += [f"{now.absent} more do not apply"] * bool(now.absent)
    shown = [f"progress   {now.hold} of {now.of} clauses{part} hold" + "".join(f", {each}" for each in counted)]
    if todo is None:
        return [*shown, "next       nothing: all hold" + ("" if report.whole else "; a whole run judges the rest")]
    result, entry = todo.result, todo.result.entry
    shown += [
        f"next       {todo.clause.id} {todo.clause.level.value}: {todo.clause.text}",
        f"  by      {entry.id}  {entry.title}",
        f"  how     {entry.observed}",
    ]
    if result.status is Status.ERROR:
        shown.append(f"  now     it could not be judged: {result.reason}")
    else:
        shown += [f"  wanted  {result.wanted}", f"  got     {result.got}"]
        shown += [f"    {one_line(result.calls[number])}" for number in result.decisive[: terminal.LAST_CALLS]]
        shown += terminal.again(report, result)
    if todo.others:
        shown.append(f"  then    {', '.join(other.id for other in todo.others)} of the same clause")
    if todo.waiting:
        shown.append(f"  waiting {todo.waiting} open behaviours rest on it")
    shown.append(f"  more    conformance show {entry.id}")
    return list(map(printable, shown))
