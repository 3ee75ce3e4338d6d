"""Writes the report as text: what was found, the failures, then verdict, bill, time and the return of machines."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import groupby
from typing import TYPE_CHECKING

from conformance.core.catalogue import Level
from conformance.core.text import printable
from conformance.reporters import comparison, sections
from conformance.results import grpcurl
from conformance.results.evidence import rerun
from conformance.results.result import Status, Verdict, causes
from conformance.results.waivers import WaiverState
from conformance.rpc.call import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from conformance.results.events import RunStarted
    from conformance.results.report import Report
    from conformance.results.result import Cause, Result
    from conformance.results.waivers import Waived
    from conformance.rpc.call import CallView

LAST_CALLS = 8
"""The most lines of calls before a failure, and of its consequences; report.json has all."""
TAKEN = "was ours, and seems to be somebody else's now; where nobody else uses this provider, it is yours to give back"


def opening(event: RunStarted) -> list[str]:
    """Returns the lines before the first behaviour: the target, what was found there, and the plan."""
    lines = [
        f"target     {event.target} · run {event.run} · seed {event.seed}",
        *event.found.lines(),
        f"plan       {len(event.behaviours)} behaviours, at most {event.machines} machines at once",
        f"ledger     {event.ledger}",
    ]
    return list(map(printable, lines))


def heading(report: Report) -> list[str]:
    """Returns the lines before a run that is rendered again: target, time, kit, and what was found."""
    lines = [
        f"target     {report.target}" + (f" · run {report.run}" if report.run else "") + f" · seed {report.seed}",
        *(report.found.lines() if report.found else ()),
        f"started    {report.started or 'never'} · kit {report.version}",
    ]
    if report.truncated:
        lines.append("truncated  the log ends before the run did: what follows is what it holds")
    return list(map(printable, lines))


def result_line(result: Result) -> str:
    """Returns one behaviour in one line."""
    reason = f" — {result.reason}" if result.status in (Status.ERROR, Status.SKIPPED) else ""
    return printable(
        f"{result.status.value.upper():8}{result.id:7} {result.entry.title}{reason} ({result.seconds:.2f} s)"
    )


def evidence(result: Result, waived: Waived | None = None) -> list[str]:
    """Returns a failure or a warning: clause, wanted, got, the calls before it, and its waiver if it has one."""
    entry = result.entry
    lines = [
        f"{result.status.value.upper()} {entry.id}  {entry.title}",
        f"  clause  {entry.clause.id} {entry.level.value}: {entry.clause.text}",
        f"  wanted  {result.wanted}",
        f"  got     {result.got}",
    ]
    if waived is not None:
        lines.append(f"  waived  {waived.waiver.terms}")
    calls = told(result.calls)
    if calls:
        lines.append(f"  calls   {len(result.calls)} in all" + ("; the last ones" if len(calls) > LAST_CALLS else ""))
        lines += [f"    {call}" for call in calls[-LAST_CALLS:]]
    lines.append(f"  more    conformance show {entry.id}")
    return list(map(printable, lines))


def again(report: Report, result: Result) -> list[str]:
    """Returns how to see a failure again: the decisive calls as they were sent, and the behaviour as a whole."""
    sent = grpcurl.lines(report, result, decisive=True)
    lines = []
    if sent:
        lines.append(f"  sent    after `{grpcurl.DESCRIPTORS}`")
        lines += [f"    {line}" for line in sent[:LAST_CALLS]]
        lines += [f"    and {len(sent) - LAST_CALLS} others: --report-dir writes them all"] * (len(sent) > LAST_CALLS)
    return list(map(printable, [*lines, f"  again   {rerun(report, result)}"]))


def consequences(cause: Cause, waived: Collection[str] = ()) -> list[str]:
    """Returns the consequences of a cause, one per line."""
    lines = [
        f"    {result.id:7} {result.entry.title}: {result.got}{' (waived)' if result.id in waived else ''}"
        for result in cause.consequences
    ]
    head = f"  so also {len(lines)} more, which rest on {cause.root.id}"
    if len(lines) > LAST_CALLS:
        more = len(lines) - LAST_CALLS
        lines = [*lines[:LAST_CALLS], f"    and {more} others: --report-dir writes them all"]
    return list(map(printable, [head, *lines])) if lines else []


def told(calls: Sequence[CallView]) -> list[str]:
    """Returns calls with their times, one per line; repeated identical readings are one line."""
    groups = [
        list(group)
        for _, group in groupby(calls, key=lambda call: (one_line(call), None if call.rpc == "Get" else id(call)))
    ]
    return [
        f"{group[0].started:9.3f}s  {one_line(group[0])}" + f"  (x {len(group)})" * (len(group) > 1) for group in groups
    ]


def findings(report: Report) -> list[str]:
    """Returns what is broken, by causes, then what could not be judged, then what did not apply."""
    lines = [f"FAILED the target lacks {name}, which --require demands" for name in report.lacking]
    for cause in causes(report.results):
        lines += [
            *evidence(cause.root, report.waived.get(cause.root.id)),
            *again(report, cause.root),
            *consequences(cause, report.waived),
            "",
        ]
    for status, title in ((Status.ERROR, "not judged"), (Status.SKIPPED, "skipped")):
        grouped: dict[str, list[str]] = defaultdict(list)
        for result in report.with_status(status):
            grouped[result.reason].append(result.id)
        if grouped:
            lines.append(title)
            lines += [f"  {', '.join(ids)}: {reason}" for reason, ids in grouped.items()]
            lines.append("")
    return list(map(printable, lines))


def closing(report: Report, *, compared: bool = True) -> list[str]:
    """Returns the last lines: verdict, waivers, figures of a lane, news, bill, time and the return of machines."""
    waived = [result for result in report.results if result.id in report.waived]
    counts = Counter(result.status for result in report.results if result.id not in report.waived)
    known = Counter(result.status for result in waived)
    judged = ", ".join(
        f"{number} {name}"
        for number, name in (
            (counts[Status.FAILED], "failed"),
            (known[Status.FAILED], "failed and waived"),
            (counts[Status.WARNED], "warned"),
            (known[Status.WARNED], "warned and waived"),
            (counts[Status.ERROR], "not judged"),
            (counts[Status.PASSED], "passed"),
            (counts[Status.SKIPPED], "skipped"),
        )
        if number or name == "passed"
    )
    found = causes(report.results)
    if any(cause.consequences for cause in found):
        judged += f", from {len(found)} cause{'s' * (len(found) > 1)}"
    part = "" if report.whole else ", a selection only"
    stopped = f" · {'' if report.truncated else 'stopped: '}{report.stopped}" if report.stopped else ""
    bill, time = report.bill, report.time
    ratio = f" ({time.wall / time.critical_path:.2f} x)" if time.critical_path else ""
    lines = [f"verdict    {shout(report)}: {judged}{part}{stopped}", *waivers(report)]
    lines += _unjudged(report)
    if report.figures is not None:
        lines += sections.lines(report.figures.sections)
    if report.comparison is not None and compared:
        lines += comparison.lines(report.comparison)
        if report.only_new and report.exit_code == 0 and report.verdict is not Verdict.CONFORMANT:
            lines.append(
                f"exit       0 by --fail-on new: nothing fails that did not before; {shout(report)} all the same"
            )
    if report.found is not None:
        lines += [
            f"bill       {bill.create} creates, {bill.configure} configures, {bill.drain} drains,"
            f" {bill.delete} deletes, peak {bill.peak_machines} machines, {bill.machine_seconds:.1f} machine-seconds,"
            f" price {bill.price:.4f} by the provider's price_per_hour",
            f"time       wall {time.wall:.2f} s, critical path {time.critical_path:.2f} s{ratio},"
            f" one after the other {time.sum:.2f} s, {report.rpcs} RPCs",
            *([f"weather    {': '.join(report.weather.lines())}"] if report.weather else []),
            *_home(report),
        ]
    lines += [f"quarantine {machine}: {reason}" for machine, reason in report.quarantined]
    return list(map(printable, lines))


def _unjudged(report: Report) -> list[str]:
    """Returns the clauses that were not fully judged, by level: those of a MUST leave the verdict open."""
    clauses: dict[Level, dict[str, None]] = {level: {} for level in Level}
    for result in report.with_status(Status.ERROR):
        clauses[result.entry.level][result.entry.clause.id] = None
    return [f"unjudged   {level.value}: {', '.join(names)}" for level, names in clauses.items() if names]


def shout(report: Report) -> str:
    """Returns the verdict in capitals with what it tolerates: `CONFORMANT, 2 waived`."""
    word, _, rest = report.verdict_line.partition(",")
    return word.upper() + ("," + rest if rest else "")


def waivers(report: Report) -> list[str]:
    """Returns the number of waivers by status, and a line for each that is not in order or could not be checked."""
    if not report.waivers_file:
        return []
    counts = Counter(waived.standing for waived in report.waivers)
    counted = ", ".join(f"{counts[each]} {each}" for each in WaiverState if counts[each]) or "none in it"
    lines = [f"waivers    {report.waivers_file}: {counted}"]
    for waived in report.waivers:
        if waived.standing.broken:
            lines.append(f"WAIVER     {waived.id} is {waived.standing}: {waived.detail}")
        elif waived.detail:
            lines.append(f"           {waived.id} is {waived.standing}: {waived.detail}")
    return lines


def _home(report: Report) -> list[str]:
    left = report.home.left
    mend = f"conformance sweep {report.ledger} --target {report.target}"
    if report.truncated:
        return [f"home       not known: what is left is in the ledger, and {mend} brings it home"]
    head = "kept" if report.home.kept else "LEFT"
    lines = [f"home       {head} {len(left)} machines; bring them home: {mend}", *map(_named, left)]
    if not left:
        lines = [f"home       all that {'is still ours' if report.home.taken else 'was started'} is home"]
    if report.home.taken:
        lines += [f"taken      {TAKEN}", *map(_named, report.home.taken)]
    return lines


def _named(machine: tuple[str, str]) -> str:
    return f"           {machine[0]}: {machine[1]}"
