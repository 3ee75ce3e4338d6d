"""Writes report.md for a pull request or the summary of a CI job: the verdict, then what is broken, by importance.

Text from a provider is shown as code, so that neither markup nor mentions in it have an effect.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from conformance.core.text import cut, escape_markdown, printable
from conformance.reporters import comparison, terminal
from conformance.results import grpcurl
from conformance.results.evidence import rerun
from conformance.results.result import Status, causes
from conformance.rpc.call import one_line

if TYPE_CHECKING:
    from conformance.results.report import Report
    from conformance.results.result import Cause, Result

LONGEST = 65_000
"""Characters: a comment may have 65,536, and the summary of a job 1 MiB."""
LONGEST_LINE = 400
LONGEST_COMMAND = 2_000
MOST_CALLS = 8
"""The most decisive calls that are shown of a failure."""
MOST = 30
"""The most items of any other list."""


def render(report: Report) -> str:
    """Returns the report as Markdown, at most `LONGEST` characters: if it is longer, it says what is left out."""
    blocks = [_heading(report), *_lacking(report)]
    found = causes(report.results)
    if report.comparison is not None:
        blocks.append("\n".join(comparison.markdown_lines(report.comparison)))
    if found:
        blocks.append("## What is broken")
        blocks += [_cause(report, cause) for cause in found]
    blocks += _unjudged(report, Status.ERROR, "Not judged")
    blocks += _unjudged(report, Status.SKIPPED, "Skipped")
    if report.notes:
        blocks.append("## Notes\n\n" + "\n".join(_few([f"- {code(note)}" for note in report.notes], "- ")))
    return _bounded(blocks) + "\n"


def code(text: str, longest: int = LONGEST_LINE) -> str:
    """Returns any text as inline code."""
    shown = cut(text, longest)
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown[:1] in "` " or shown[-1:] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}" if shown.strip() else "*nothing*"


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
        lines.append(_fenced(_few(facts, "           ")))
    return "\n\n".join(lines)


def _lacking(report: Report) -> list[str]:
    return [f"**FAILED** the target lacks {code(name)}, which `--require` demands" for name in report.lacking]


def _cause(report: Report, cause: Cause) -> str:
    result = cause.root
    entry = result.entry
    parts = [
        f"### {result.status.value.upper()} {entry.id}: {escape_markdown(entry.title)}",
        f"**{entry.clause.id}** {entry.level.value}: {escape_markdown(entry.clause.text)}",
        _fenced(evidence(result)),
        _again(report, result),
    ]
    if cause.consequences:
        follows = "\n".join(_few([_consequence(each) for each in cause.consequences], "- "))
        summary = f"so also {len(cause.consequences)} more, which rest on {entry.id}"
        parts.append(f"<details><summary>{summary}</summary>\n\n{follows}\n\n</details>")
    return "\n\n".join(parts)


def evidence(result: Result) -> list[str]:
    """Returns what was wanted, what came, and the calls that show it. No line begins with the provider's text."""
    lines = [f"wanted  {result.wanted}", f"got     {result.got}"]
    shown = [result.calls[number] for number in result.decisive] or list(result.calls[-1:])
    if shown:
        lines.append(f"calls   {len(shown)} of {len(result.calls)}, which decide it")
        lines += [f"{call.started:9.3f}s  {one_line(call)}" for call in shown[:MOST_CALLS]]
        if len(shown) > MOST_CALLS:
            lines.append(f"{'':10}  and {len(shown) - MOST_CALLS} more")
    return lines


def _again(report: Report, result: Result) -> str:
    """Returns the commands that show it again, folded. A command that is too long is left out."""
    sent = [line for line in grpcurl.lines(report, result, decisive=True) if len(line) <= LONGEST_COMMAND]
    lines = [*([grpcurl.DESCRIPTORS] if sent else []), *sent[:MOST_CALLS], rerun(report, result)]
    block = "\n".join(["```sh", *map(printable, lines), "```"])
    return f"<details><summary>See it again</summary>\n\n{block}\n\n</details>"


def _consequence(result: Result) -> str:
    return f"- **{result.id}** {escape_markdown(result.entry.title)}: {code(result.got or result.reason)}"


def _unjudged(report: Report, status: Status, title: str) -> list[str]:
    """Returns the behaviours without a verdict by their reasons, folded."""
    grouped: dict[str, list[str]] = defaultdict(list)
    for result in report.with_status(status):
        grouped[result.reason].append(result.id)
    if not grouped:
        return []
    lines = []
    for reason, ids in grouped.items():
        lines.append(f"- {', '.join(_few(ids))}: {code(reason)}")
    count = sum(map(len, grouped.values()))
    return [f"<details><summary>{title}: {count}</summary>\n\n" + "\n".join(_few(lines, "- ")) + "\n\n</details>"]


def _few(lines: list[str], begin: str = "") -> list[str]:
    """Returns at most `MOST` of the lines, and how many more there are."""
    more = len(lines) - MOST
    return [*lines[:MOST], f"{begin}and {more} more"] if more > 0 else lines


def _fenced(lines: list[str]) -> str:
    """Returns a code block. No line begins with backticks, which would end it."""
    shown = [cut(line, LONGEST_LINE) for line in lines]
    return "\n".join(["```text", *shown, "```"])


def _bounded(blocks: list[str]) -> str:
    """Returns as many blocks as there is room for, and how many were left out."""
    said = "\n\n*{} more sections are left out here, as a comment has no room for them; report.json has all.*"
    room = LONGEST - len(said) - 8
    kept: list[str] = []
    for block in blocks:
        room -= len(block) + 2
        if room < 0:
            return "\n\n".join(kept) + said.format(len(blocks) - len(kept))
        kept.append(block)
    return "\n\n".join(kept)
