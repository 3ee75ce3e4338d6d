"""Writes the plan of a run and its estimated cost, as text and as JSON: pure functions of one frozen value."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conformance.core.catalogue import Level
from conformance.core.lifecycle import Verb
from conformance.core.text import printable, quantity
from conformance.reporters import terminal
from conformance.reporters.json_report import found_dict
from conformance.results.result import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from conformance.core.catalogue import Entry
    from conformance.results.report import Report
    from conformance.results.target_info import TargetInfo

FORMAT = 1
DURATION_SOURCES = "give --measured OUT/report.json of an earlier run, or --latency create=60s,configure=20s,…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The plan of a run against a target, and the report of its dry run."""

    target: str
    found: TargetInfo
    behaviours: tuple[Entry, ...]
    """The behaviours that would run."""
    skipped: tuple[tuple[Entry, str], ...]
    """The behaviours that would be skipped, each with the reason."""
    lacking: tuple[str, ...]
    """The required capabilities that the target does not have."""
    machines: int
    """The maximum number of machines alive at the same time."""
    transitions: Mapping[Verb, tuple[float, str]]
    """Seconds and their source, by verb. The duration of a missing verb is unknown."""
    call: float
    """The seconds that one call to the target takes."""
    dry: Report

    @property
    def unknown(self) -> tuple[Verb, ...]:
        """The verbs that the target has and whose durations are unknown."""
        needed = [verb for verb in Verb if verb is not Verb.DELETE or self.found.delete]
        return tuple(verb for verb in needed if verb not in self.transitions)

    @property
    def unjudged(self) -> tuple[tuple[Entry, str], ...]:
        """The behaviours that would run but could not be judged, each with the reason."""
        return tuple((result.entry, result.reason) for result in self.dry.with_status(Status.ERROR))

    @property
    def prices(self) -> tuple[float, float, float]:
        """The cost of the machines at the average, the lowest and the highest price per hour."""
        hours, prices = self.dry.bill.machine_seconds / 3600, self.found.prices or (0.0,)
        return self.dry.bill.price, hours * min(prices), hours * max(prices)


def as_dict(planned: Planned) -> dict[str, Any]:
    """Returns the plan as JSON types. Times in seconds."""
    bill, time = planned.dry.bill, planned.dry.time
    average, lowest, highest = planned.prices
    return {
        "format": FORMAT,
        "target": planned.target,
        "found": found_dict(planned.found),
        "behaviours": [entry.id for entry in planned.behaviours],
        "skipped": {entry.id: reason for entry, reason in planned.skipped},
        "not_judged": {entry.id: reason for entry, reason in planned.unjudged},
        "lacking": list(planned.lacking),
        "notes": list(planned.dry.notes),
        "machines": planned.machines,
        "estimate": {
            "bill": dataclasses.asdict(bill),
            "price": {"average": round(average, 6), "lowest": round(lowest, 6), "highest": round(highest, 6)},
            "time": dataclasses.asdict(time),
            "rpcs": planned.dry.rpcs,
            "at_least": bool(planned.unknown),
        },
        "transitions": {
            verb.value: {"seconds": seconds, "source": source}
            for verb, (seconds, source) in planned.transitions.items()
        },
        "call": round(planned.call, 6),
    }


def render(planned: Planned) -> str:
    """Returns the plan as JSON."""
    return json.dumps(as_dict(planned), indent=1, ensure_ascii=False) + "\n"


def text(planned: Planned) -> list[str]:
    """Returns the plan as text: target, behaviours, price, time, skipped and unjudgeable behaviours."""
    lines = [
        f"target     {planned.target} · read only, nothing was changed",
        *planned.found.lines(),
        f"would run  {quantity(len(planned.behaviours), 'behaviour')}, at most"
        f" {quantity(planned.machines, 'machine')} at once",
        *_price(planned),
        *_time(planned),
    ]
    lines += [f"missing    {name}, required by --require: the run would fail" for name in planned.lacking]
    lines += [f"note       {note}" for note in planned.dry.notes]
    lines += _grouped("skipped", planned.skipped)
    lines += _grouped("would not be judged", planned.unjudged)
    clauses = dict.fromkeys(entry.clause.id for entry, _ in planned.unjudged if entry.level is Level.MUST)
    if clauses:
        lines.append(f"  the run would be inconclusive, because of {', '.join(clauses)}")
    return list(map(printable, lines))


# All lanes.


def render_all(plans: Mapping[str, Planned]) -> str:
    """Returns the plans of several lanes by name, and their sum, as JSON."""
    total = {"creates": _creates(plans), "restarts": _restarts(plans), "seconds": _seconds(plans), "price": _sum(plans)}
    value = {"format": FORMAT, "lanes": {lane: as_dict(planned) for lane, planned in plans.items()}, "total": total}
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def text_all(plans: Mapping[str, Planned]) -> list[str]:
    """Returns the plans of several lanes as text: the target, a row for each lane, the sum, and what would be left."""
    first = next(iter(plans.values()))
    bound = "at least" if first.unknown else "about"
    lines = [
        f"target     {first.target} · read only, nothing was changed",
        *first.found.lines(),
        _row("lane", "behaviours", "skipped", "creates", "machines", "restarts", "time"),
    ]
    for lane, planned in plans.items():
        dry = planned.dry
        bill, time = dry.bill, duration(dry.time.wall) if planned.behaviours else "-"
        counts = str(len(planned.behaviours)), str(len(planned.skipped)), str(bill.create), str(bill.peak_machines)
        lines.append(_row(lane, *counts, str(bill.restarts), time))
    peak = max(planned.dry.bill.peak_machines for planned in plans.values())
    lines += [
        _row("total", "", "", str(_creates(plans)), str(peak), str(_restarts(plans)), duration(_seconds(plans))),
        f"price      {bound} {_sum(plans):.4f} by price_per_hour",
        *_sources(first),
    ]
    for lane, planned in plans.items():
        lines += _grouped(f"skipped in the {lane} lane", planned.skipped)
        lines += _grouped(f"would not be judged in the {lane} lane", planned.unjudged)
    return list(map(printable, lines))


def _row(lane: str, behaviours: str, skipped: str, creates: str, machines: str, restarts: str, time: str) -> str:
    return f"{lane:12} {behaviours:>10} {skipped:>8} {creates:>8} {machines:>9} {restarts:>9} {time:>12}".rstrip()


def _creates(plans: Mapping[str, Planned]) -> int:
    return sum(planned.dry.bill.create for planned in plans.values())


def _restarts(plans: Mapping[str, Planned]) -> int:
    return sum(planned.dry.bill.restarts for planned in plans.values())


def _seconds(plans: Mapping[str, Planned]) -> float:
    return round(sum(planned.dry.time.wall for planned in plans.values() if planned.behaviours), 3)


def _sum(plans: Mapping[str, Planned]) -> float:
    return round(sum(planned.prices[0] for planned in plans.values()), 6)


def _price(planned: Planned) -> list[str]:
    bill, bound = planned.dry.bill, "at least" if planned.unknown else "about"
    average, lowest, highest = planned.prices
    return [
        f"bill       about {terminal.transitions(bill)}, {quantity(planned.dry.rpcs, 'RPC')}",
        f"           peak {quantity(bill.peak_machines, 'machine')}, machine time {duration(bill.machine_seconds)}",
        f"price      {bound} {average:.4f} by price_per_hour; {lowest:.4f} to {highest:.4f} depending on the machines",
    ]


def _time(planned: Planned) -> list[str]:
    dry = planned.dry
    restarts = f", {quantity(dry.bill.restarts, 'restart')}" if dry.bill.restarts else ""
    time = (
        f"time       {'at least' if planned.unknown else 'about'} {duration(dry.time.wall)}, critical path"
        f" {duration(dry.time.critical_path)}, {planned.call * 1000:.1f} ms per RPC{restarts}"
    )
    return [time, *_sources(planned)]


def _sources(planned: Planned) -> list[str]:
    """Returns the durations of transitions that the estimate is based on, and those that are unknown."""
    sources: dict[tuple[float, str], list[str]] = defaultdict(list)
    for verb, figure in planned.transitions.items():
        sources[figure].append(verb.value)
    lines = []
    if sources:
        known = [f"{', '.join(verbs)} {duration(seconds)} ({source})" for (seconds, source), verbs in sources.items()]
        lines.append(f"based on   {', '.join(known)}")
    if planned.unknown:
        lines.append(f"unknown    duration of {', '.join(planned.unknown)}; {DURATION_SOURCES}")
    return lines


def _grouped(title: str, pairs: Iterable[tuple[Entry, str]]) -> list[str]:
    grouped: dict[str, list[str]] = defaultdict(list)
    for entry, reason in pairs:
        grouped[reason].append(entry.id)
    return [title, *(f"  {', '.join(ids)}: {reason}" for reason, ids in grouped.items())] if grouped else []


def duration(seconds: float) -> str:
    """Formats seconds: `340 ms`, `12 s`, `11 min 26 s`, `2 h 5 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
