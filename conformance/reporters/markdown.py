"""Writes report.md for a pull request or the summary of a CI job: the verdict, then the failures by importance.

Text from a provider is shown as code, so that markup and mentions in it have no effect.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from conformance.core.text import cut, escape_markdown, printable, quantity
from conformance.reporters import comparison, terminal
from conformance.results import grpcurl
from conformance.results.causes import causes
from conformance.results.evidence import rerun
from conformance.results.result import Status
from conformance.rpc.call import one_line

if TYPE_CHECKING:
    from conformance.results.causes import Cause
    from conformance.results.report import Report
    from conformance.results.result import Result

MAX_CHARACTERS = 65_000
"""GitHub allows 65,536 characters in a comment, and 1 MiB in a job summary."""
MAX_LINE_CHARACTERS = 400
MAX_COMMAND_CHARACTERS = 2_000
MAX_CALLS = 8
"""The maximum number of decisive calls that are shown of a failure."""
MAX_ITEMS = 30
"""The maximum number of items in any other list."""


def render(report: Report) -> str:
    """Returns the report as Markdown. If it exceeds `MAX_CHARACTERS`, the last sections are omitted, with a note."""
    blocks = [_heading(report), *_lacking(report)]
    found = causes(report.results)
    if report.comparison is not None:
        blocks.append("\n".join(comparison.markdown_lines(report.comparison)))
    if found:
        blocks.append("## Failures")
        blocks += [_cause(report, cause) for cause in found]
    blocks += _unjudged(report, Status.ERROR, "Not judged")
    blocks += _unjudged(report, Status.SKIPPED, "Skipped")
    if report.notes:
        blocks.append("## Notes\n\n" + "\n".join(_first([f"- {code(note)}" for note in report.notes], "- ")))
    return _bounded(blocks) + "\n"


def code(text: str, longest: int = MAX_LINE_CHARACTERS) -> str:
    """Returns any text as inline code; *empty* for blank text."""
    shown = cut(text, longest)
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown[:1] in "` " or shown[-1:] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}" if shown.strip() else "*empty*"


def _heading(report: Report) -> str:
    verdict, *facts = terminal.closing(report, compared=False)
    _, _, judged = verdict.partition(": ")
    lines = [f"# Capacity provider: {report.verdict_line}", escape_markdown(judged)]
    about = [f"target {code(report.target)}", f"kit {code(report.version)}", f"seed {report.seed}"]
    if report.run:
        about.insert(1, f"run {code(report.run)}")
    if report.started:
        about.append(f"started {code(report.started)}")
    lines.append(" · ".join(about))
    if report.found is not None:
        facts = [*report.found.lines(), *facts]
    if facts:
        lines.append(_fenced(_first(facts, "           ")))
    return "\n\n".join(lines)


def _lacking(report: Report) -> list[str]:
    return [f"**FAILED** the target does not have {code(name)}, required by `--require`" for name in report.lacking]


def _cause(report: Report, cause: Cause) -> str:
    result = cause.root
    entry = result.entry
    parts = [
        f"### {result.status.value.upper()} {entry.id}: {escape_markdown(entry.title)}",
        f"**{entry.clause.id}** {entry.level.value}: {escape_markdown(entry.clause.text)}",
        _fenced(evidence(result)),
        _repeat(report, result),
    ]
    if cause.consequences:
        follows = "\n".join(_first([_consequence(each) for each in cause.consequences], "- "))
        count = quantity(len(cause.consequences), "other failure")
        summary = f"{count} in behaviours that depend on {entry.id}"
        parts.append(f"<details><summary>{summary}</summary>\n\n{follows}\n\n</details>")
    return "\n\n".join(parts)


def evidence(result: Result) -> list[str]:
    """Returns wanted, got and the decisive calls. No line begins with the provider's text."""
    lines = [f"wanted  {result.wanted}", f"got     {result.got}"]
    shown = [result.calls[number] for number in result.decisive] or list(result.calls[-1:])
    if shown:
        lines.append(f"calls   {len(shown)} decisive of {quantity(len(result.calls), 'call')}")
        lines += [f"{call.started:9.3f}s  {one_line(call)}" for call in shown[:MAX_CALLS]]
        if len(shown) > MAX_CALLS:
            lines.append(f"{'':10}  and {len(shown) - MAX_CALLS} more")
    return lines


def _repeat(report: Report, result: Result) -> str:
    """Returns the commands that repeat the failure, folded. A command that is too long is omitted."""
    sent = [line for line in grpcurl.lines(report, result, decisive=True) if len(line) <= MAX_COMMAND_CHARACTERS]
    lines = [*([grpcurl.DESCRIPTORS] if sent else []), *sent[:MAX_CALLS], rerun(report, result)]
    block = "\n".join(["```sh", *map(printable, lines), "```"])
    return f"<details><summary>Repeat this failure</summary>\n\n{block}\n\n</details>"


def _consequence(result: Result) -> str:
    found = f"wanted {result.wanted}; got {result.got}" if result.wanted else result.got or result.reason
    return f"- **{result.id}** {escape_markdown(result.entry.title)}: {code(found)}"


def _unjudged(report: Report, status: Status, title: str) -> list[str]:
    """Returns the behaviours with this status by reason, folded."""
    grouped: dict[str, list[str]] = defaultdict(list)
    for result in report.with_status(status):
        grouped[result.reason].append(result.id)
    if not grouped:
        return []
    lines = []
    for reason, ids in grouped.items():
        lines.append(f"- {', '.join(_first(ids))}: {code(reason)}")
    count = sum(map(len, grouped.values()))
    return [f"<details><summary>{title}: {count}</summary>\n\n" + "\n".join(_first(lines, "- ")) + "\n\n</details>"]


def _first(lines: list[str], prefix: str = "") -> list[str]:
    """Returns at most `MAX_ITEMS` lines, then the number of the others."""
    more = len(lines) - MAX_ITEMS
    return [*lines[:MAX_ITEMS], f"{prefix}and {more} more"] if more > 0 else lines


def _fenced(lines: list[str]) -> str:
    """Returns a code block. The lines must not begin with backticks, which would end it."""
    shown = [cut(line, MAX_LINE_CHARACTERS) for line in lines]
    return "\n".join(["```text", *shown, "```"])


def _bounded(blocks: list[str]) -> str:
    """Returns the blocks that fit into `MAX_CHARACTERS`, then a note with the number of the others."""
    note = "\n\n*{} more sections are omitted, because comments are limited in size. See report.json or report.html.*"
    room = MAX_CHARACTERS - len(note) - 8
    kept: list[str] = []
    for block in blocks:
        room -= len(block) + 2
        if room < 0:
            return "\n\n".join(kept) + note.format(len(blocks) - len(kept))
        kept.append(block)
    return "\n\n".join(kept)
