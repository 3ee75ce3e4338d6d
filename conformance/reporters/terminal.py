"""Writes the report as text: the target, the failures, then verdict, bill, time and clean-up."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import groupby
from typing import TYPE_CHECKING

from conformance.core.catalogue import Level
from conformance.core.text import printable, quantity
from conformance.reporters import comparison, profiles_text, sections
from conformance.results import grpcurl
from conformance.results.causes import causes
from conformance.results.evidence import hints, rerun
from conformance.results.held import held_text
from conformance.results.result import Status, Verdict
from conformance.results.waivers import WaiverState
from conformance.rpc import http_answer
from conformance.rpc.call import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from conformance.results.bill import Bill
    from conformance.results.causes import Cause
    from conformance.results.events import RunStarted
    from conformance.results.report import Report
    from conformance.results.result import Result
    from conformance.results.waivers import Waived
    from conformance.rpc.call import CallView

LAST_CALLS = 8
"""The most lines of calls before a failure, and of its consequences; report.json has all."""
ALL_RETURNED = "all started machines were returned"
OWNED_RETURNED = "all started machines that the run still owns were returned"


def opening(event: RunStarted, *, part: bool = False) -> list[str]:
    """Returns the lines before the first behaviour: the target, its properties, and the plan.

    Only the plan for a `part`, one of several runs.
    """
    about = [f"target     {event.target} · run {event.run} · seed {event.seed}", *event.found.lines()]
    lines = [
        *([] if part else about),
        f"plan       {quantity(len(event.behaviours), 'behaviour')}, at most"
        f" {quantity(event.machines, 'machine')} at once",
        f"ledger     {event.ledger}",
    ]
    return list(map(printable, lines))


def heading(report: Report) -> list[str]:
    """Returns the lines before a run that is rendered again: target, properties, start time and kit version."""
    lines = [
        f"target     {report.target}" + (f" · run {report.run}" if report.run else "") + f" · seed {report.seed}",
        *(report.found.lines() if report.found else ()),
        f"started    {report.started or 'did not start'} · kit {report.version}",
    ]
    if report.truncated:
        lines.append("truncated  the log ends before the run does; only the results in the log are shown")
    return list(map(printable, lines))


def result_line(result: Result) -> str:
    """Returns a result in one line: status, id, title, reason and duration."""
    reason = f" — {result.reason}" if result.status in (Status.ERROR, Status.SKIPPED) else ""
    return printable(
        f"{result.status.value.upper():8}{result.id:7} {result.entry.title}{reason} ({result.seconds:.2f} s)"
    )


def evidence(result: Result, waived: Waived | None = None) -> list[str]:
    """Returns a failure or a warning: clause, wanted, got, waiver if there is one, and the last calls."""
    entry = result.entry
    lines = [
        f"{result.status.value.upper()} {entry.id}  {entry.title}",
        f"  clause  {entry.clause.id} {entry.level.value}: {entry.clause.text}",
        f"  wanted  {result.wanted}",
        f"  got     {result.got}",
    ]
    lines += [f"  hint    {hint}" for hint in hints(result)]
    if waived is not None:
        lines.append(f"  waived  {waived.waiver.terms}")
    calls = call_lines(result.calls)
    if calls:
        last = f", the last {LAST_CALLS} lines:" if len(calls) > LAST_CALLS else ":"
        lines.append(f"  calls   {quantity(len(result.calls), 'call')}{last}")
        lines += [f"    {call}" for call in calls[-LAST_CALLS:]]
    lines.append(f"  explain conformance show {entry.id}")
    return list(map(printable, lines))


def repeat_lines(report: Report, result: Result) -> list[str]:
    """Returns commands that repeat a failure: its decisive calls with grpcurl, and the whole behaviour."""
    sent = grpcurl.lines(report, result, decisive=True)
    lines = []
    if sent:
        lines.append(f"  grpcurl first run: {grpcurl.DESCRIPTORS}")
        lines += [f"    {line}" for line in sent[:LAST_CALLS]]
        lines += _omitted(len(sent))
    return list(map(printable, [*lines, f"  rerun   {rerun(report, result)}"]))


def _omitted(count: int) -> list[str]:
    return [f"    … {count - LAST_CALLS} more: see report.html of --report-dir"] if count > LAST_CALLS else []


def consequences(cause: Cause, waived: Collection[str] = ()) -> list[str]:
    """Returns the consequences of a cause with their evidence, one per line."""
    lines = [
        f"    {result.id:7} {result.entry.title}{' (waived)' if result.id in waived else ''}:"
        f" wanted {result.wanted}; got {result.got}"
        for result in cause.consequences
    ]
    head = f"  causes  {quantity(len(lines), 'other failure')} in behaviours that depend on {cause.root.id}:"
    return list(map(printable, [head, *lines[:LAST_CALLS], *_omitted(len(lines))])) if lines else []


def call_lines(calls: Sequence[CallView]) -> list[str]:
    """Returns calls with their start times in seconds, one per line; repeated identical Gets are one line."""
    groups = [
        list(group)
        for _, group in groupby(calls, key=lambda call: (one_line(call), None if call.rpc == "Get" else id(call)))
    ]
    return [
        f"{group[0].started:9.3f}s  {one_line(group[0])}" + f"  (x {len(group)})" * (len(group) > 1) for group in groups
    ]


def findings(report: Report) -> list[str]:
    """Returns the failures by cause, then the behaviours that were not judged or skipped, by reason."""
    lines = [f"FAILED the target does not have {name}, required by --require" for name in report.lacking]
    for cause in causes(report.results):
        lines += [
            *evidence(cause.root, report.waived.get(cause.root.id)),
            *repeat_lines(report, cause.root),
            *consequences(cause, report.waived),
            "",
        ]
    for status, title in ((Status.ERROR, "not judged"), (Status.SKIPPED, "skipped")):
        grouped: dict[str, list[str]] = defaultdict(list)
        for result in report.with_status(status):
            grouped[result.reason].append(result.id)
        if grouped:
            lines.append(title)
            for reason, ids in grouped.items():
                lines += [f"  {', '.join(ids)}: {reason}", *_hint_lines(reason, "    ")]
            lines.append("")
    return list(map(printable, lines))


def _hint_lines(text: str, indent: str) -> list[str]:
    """Returns a line with the hint for a text that cites an answer of a proxy."""
    hint = http_answer.hint(text)
    return [f"{indent}hint {hint}"] if hint and hint not in text else []


def closing(report: Report, *, compared: bool = True, part: bool = False) -> list[str]:
    """Returns the last lines: verdict, waivers, profiles, figures of a lane, baseline, bill, time and clean-up.

    A `part`, one of several runs, has no profiles: its certificate has them.
    """
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
            (known[Status.ERROR], "not judged and waived"),
            (counts[Status.PASSED], "passed"),
            (counts[Status.SKIPPED], "skipped"),
        )
        if number or name == "passed"
    )
    found = causes(report.results)
    if any(cause.consequences for cause in found):
        judged += f", {quantity(len(found), 'root cause')}"
    partial = "" if report.whole else ", partial run"
    stopped = f" · {'' if report.truncated else 'stopped: '}{report.stopped}" if report.stopped else ""
    bill, time = report.bill, report.time
    ratio = f" ({time.wall / time.critical_path:.2f} x)" if time.critical_path else ""
    lines = [f"verdict    {verdict_in_capitals(report)}: {judged}{partial}{stopped}", *waivers(report)]
    lines += _hint_lines(report.stopped or "", "           ")
    lines += _unjudged(report)
    lines += [] if part else profiles_text.lines(report)
    if report.figures is not None:
        lines += sections.lines(report.figures.sections)
    if report.comparison is not None and compared:
        lines += comparison.lines(report.comparison)
        if report.only_new and report.exit_code == 0 and report.verdict is not Verdict.CONFORMANT:
            lines.append(
                f"exit       0 (--fail-on new): no new failures; the verdict is still {verdict_in_capitals(report)}"
            )
    if report.found is not None:
        lines += [
            f"bill       {transitions(bill)}, {quantity(report.rpcs, 'RPC')}",
            f"           peak {quantity(bill.peak_machines, 'machine')}, {bill.machine_seconds:.1f} machine-seconds,"
            f" price {bill.price:.4f} (by price_per_hour)",
            f"time       wall {time.wall:.2f} s, critical path {time.critical_path:.2f} s{ratio},"
            f" serial time {time.sum:.2f} s",
            *([f"held       {held}"] if (held := held_text(report.held, hold=report.asked.hold)) else []),
            *([f"faults     {': '.join(report.weather.lines())}"] if report.weather else []),
            *_cleanup(report),
        ]
    lines += [f"quarantine {machine}: {reason}" for machine, reason in report.quarantined]
    return list(map(printable, lines))


def transitions(bill: Bill) -> str:
    """Returns the number of started transitions by verb: `1 create, 2 configures, 2 drains, 1 delete`."""
    counts = {"create": bill.create, "configure": bill.configure, "drain": bill.drain, "delete": bill.delete}
    return ", ".join(quantity(count, verb) for verb, count in counts.items())


def _unjudged(report: Report) -> list[str]:
    """Returns the clauses that were not fully judged, by level. A MUST among them makes the run inconclusive."""
    clauses: dict[Level, dict[str, None]] = {level: {} for level in Level}
    for result in report.with_status(Status.ERROR):
        if result.id not in report.waived:
            clauses[result.entry.level][result.entry.clause.id] = None
    return [f"unjudged   {level.value}: {', '.join(names)}" for level, names in clauses.items() if names]


def verdict_in_capitals(report: Report) -> str:
    """Returns the verdict in capitals, then waived failures: `CONFORMANT, 2 waived`."""
    word, _, rest = report.verdict_line.partition(",")
    return word.upper() + ("," + rest if rest else "")


def waivers(report: Report) -> list[str]:
    """Returns the number of waivers by state, and a line for each one that fails the run or was not checked."""
    if not report.waivers_file:
        return []
    counts = Counter(waived.state for waived in report.waivers)
    counted = ", ".join(f"{counts[each]} {each}" for each in WaiverState if counts[each]) or "no waivers in it"
    lines = [f"waivers    {report.waivers_file}: {counted}"]
    for waived in report.waivers:
        if waived.state.broken:
            lines.append(f"WAIVER     {waived.id} is {waived.state}: {waived.detail}")
        elif waived.detail:
            lines.append(f"           {waived.id} is {waived.state}: {waived.detail}")
    return lines


def _cleanup(report: Report) -> list[str]:
    left, taken, failed = report.home.left, report.home.taken, report.home.failed
    sweep = f"           conformance sweep {report.ledger} --target {report.target}"
    if report.truncated:
        return ["clean-up   unknown: machines may still be running. To clean up, run:", sweep]
    if left:
        state = "kept" if report.home.kept else "NOT RETURNED"
        lines = [f"clean-up   {quantity(len(left), 'machine')} {state}. To clean up, run:", sweep, *map(_named, left)]
    else:
        returned = OWNED_RETURNED if taken else ALL_RETURNED
        lines = [f"clean-up   {returned.replace('all', 'all other', 1) if failed else returned}"]
    if failed:
        head = f"failed     {quantity(len(failed), 'machine')} of this run ended in FAILED; no call leads out of there,"
        lines += [head, "           so only the provider's operator can clean up", *map(_named, failed)]
    if taken:
        head = f"ownership  {quantity(len(taken), 'machine')} of this run may belong to another client now;"
        lines += [head, "           if you are the only client, return them yourself", *map(_named, taken)]
    return lines


def _named(machine: tuple[str, str]) -> str:
    return f"           {machine[0]}: {machine[1]}"
