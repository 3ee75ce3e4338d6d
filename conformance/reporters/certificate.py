"""Writes a certificate as text, Markdown and JSON, and a badge for each profile: pure functions of one value."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import TYPE_CHECKING, Any, Final

from conformance.core.text import escape_markdown, printable, quantity
from conformance.reporters.json_report import dumps
from conformance.reporters.markdown import code
from conformance.reporters.plan_text import duration
from conformance.results.certificate import ClauseStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.results.certificate import Certificate, ClauseRow, LaneRow, ProfileRow

COLUMNS: Final = 80
INDENT: Final = 13
SHOWN: Final = tuple(each for each in ClauseStatus if each not in (ClauseStatus.KEPT, ClauseStatus.SKIPPED))
"""The statuses of the clauses that the terminal names one by one."""
MAX_NAMES: Final = 6
"""The most behaviours that are named with a clause."""
BADGE_LABEL: Final = "capacity provider"


# The terminal.


def lines(certificate: Certificate) -> list[str]:
    """Returns the certificate in lines of at most 80 columns: clauses by importance, lanes, profiles, verdict."""
    text = [
        *(line for row in certificate.with_status(*SHOWN) for line in _clause_lines(row)),
        *_lane_lines(certificate),
        *_profile_lines(certificate),
        *_wrapped("clauses", clause_counts(certificate)),
        *_left_lines(certificate),
        *_wrapped("certificate", verdict_text(certificate)),
    ]
    return list(map(printable, text))


def verdict_text(certificate: Certificate) -> str:
    """Returns the verdict in capitals, with the claimed profiles."""
    claimed = ", ".join(certificate.claimed)
    return f"{certificate.verdict.value.upper()}; " + (f"claims {claimed}" if claimed else "claims no profile")


def clause_counts(certificate: Certificate) -> str:
    """Returns the number of clauses by status: `62 kept, 1 skipped, 0 not judged`."""
    counts = {status: len(certificate.with_status(status)) for status in ClauseStatus}
    order = (ClauseStatus.KEPT, *(status for status in ClauseStatus if status is not ClauseStatus.KEPT))
    always = (ClauseStatus.KEPT, ClauseStatus.BROKEN, ClauseStatus.NOT_JUDGED)
    return ", ".join(f"{counts[status]} {status.value}" for status in order if counts[status] or status in always)


def lane_word(row: LaneRow) -> str:
    """Returns the verdict of a lane: in capitals if there is one."""
    if row.verdict is None:
        return row.verdict_line
    word, _, rest = row.verdict_line.partition(",")
    return word.upper() + ("," + rest if rest else "")


def _clause_lines(row: ClauseRow) -> list[str]:
    lanes = f", {_lanes(row.lanes)}" if row.lanes else ""
    ids = _some(row.behaviours)
    head = f"{row.clause} {row.level.value}{lanes}{': ' if ids else ''}{ids}"
    body = [row.text, row.reason] if row.status is not ClauseStatus.NOT_JUDGED else [row.reason]
    found = _wrapped(row.status.value.upper(), printable(head))
    return found + [line for text in body if text for line in _wrapped("", printable(text))]


def _lanes(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'lane' if len(names) == 1 else 'lanes'}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def _lane_lines(certificate: Certificate) -> list[str]:
    widest = max([12, *(len(row.lane) for row in certificate.lanes)])
    found = [_columns(widest, "lane", "verdict", "creates", "restarts", "time")]
    for row in certificate.lanes:
        figures = (f"{row.creates:,}", f"{row.restarts:,}", duration(row.seconds)) if row.run else ("-", "-", "-")
        found.append(_columns(widest, row.lane, lane_word(row), *figures))
        found += _wrapped("", printable(row.reason)) if row.reason else []
        found += [f"{'':{INDENT}}{row.report}"] if row.report else []
    total = f"{certificate.creates:,}", f"{certificate.restarts:,}", duration(certificate.seconds)
    return [*found, _columns(widest, "total", "", *total)]


def _columns(widest: int, name: str, verdict: str, creates: str, restarts: str, time: str) -> str:
    return f"{name:{widest}} {verdict:31} {creates:>8} {restarts:>9} {time:>12}".rstrip()


def _profile_lines(certificate: Certificate) -> list[str]:
    widest = max((len(row.name) for row in certificate.profiles), default=0)
    found: list[str] = []
    for row in certificate.profiles:
        first = f"{'' if found else 'profiles':{INDENT}}{row.name:{widest}}  "
        text = printable(profile_text(row))
        found += textwrap.wrap(text, COLUMNS, initial_indent=first, subsequent_indent=" " * len(first))
    return found


def profile_text(row: ProfileRow) -> str:
    """Returns the claim of a profile with its lanes, or why it is not claimed."""
    if not row.claimed:
        return f"not claimed: {row.reason}"
    lanes = f" in the {_lanes(row.lanes)}" if row.lanes else ""
    return f"claimed{lanes}" + (f"; {row.reason}" if row.reason else "")


def _left_lines(certificate: Certificate) -> list[str]:
    if not certificate.left:
        return []
    text = f"{quantity(len(certificate.left), 'machine')} NOT RETURNED: {_some(certificate.left)}"
    return _wrapped("clean-up", printable(text))


def _wrapped(name: str, text: str) -> list[str]:
    first = f"{name:{INDENT - 1}} "
    return textwrap.wrap(text, COLUMNS, initial_indent=first, subsequent_indent=" " * INDENT)


# Markdown.


def markdown(certificate: Certificate) -> str:
    """Returns the certificate as Markdown: verdict, lanes, profiles, and the clauses, worst first."""
    about = [f"target {code(certificate.target)}", f"kit {code(certificate.kit)}", f"seed {certificate.seed}"]
    about += [f"started {code(certificate.started)}"] if certificate.started else []
    blocks = [
        f"# Capacity provider certificate: {certificate.verdict.value}",
        f"Claims {', '.join(f'**{name}**' for name in certificate.claimed) or 'no profile'}."
        f" Clauses: {clause_counts(certificate)}.",
        " · ".join(about),
    ]
    if certificate.left:
        blocks.append(f"**{quantity(len(certificate.left), 'machine')} not returned:** {code(_some(certificate.left))}")
    total = f"{certificate.creates} | {certificate.restarts} | {duration(certificate.seconds)}"
    blocks += [
        "## Lanes",
        _table(
            ("lane", "verdict", "failed", "creates", "restarts", "time", "report"),
            [*map(_lane_cells, certificate.lanes), ("total", "", "", *total.split(" | "), "")],
        ),
        "## Profiles",
        _table(
            ("profile", "claimed", "lanes", "why"),
            [
                (row.name, "yes" if row.claimed else "no", ", ".join(row.lanes), _cell(row.reason))
                for row in certificate.profiles
            ],
        ),
        "## Clauses",
        _table(("clause", "level", "verdict", "lanes", "behaviours", "why"), map(_clause_cells, certificate.clauses)),
    ]
    return "\n\n".join(blocks) + "\n"


def _lane_cells(row: LaneRow) -> tuple[str, ...]:
    reason = f": {_cell(row.reason)}" if row.reason else ""
    report = f"[report]({row.report.replace('.json', '.html')})" if row.report else ""
    figures = (str(row.creates), str(row.restarts), duration(row.seconds)) if row.run else ("", "", "")
    return (row.lane, lane_word(row) + reason, str(row.failed), *figures, report)


def _clause_cells(row: ClauseRow) -> tuple[str, ...]:
    emphasis = "**" if row.status is ClauseStatus.BROKEN else ""
    why = _cell(row.reason)
    status = f"{emphasis}{row.status.value}{emphasis}"
    return (row.clause, row.level.value, status, ", ".join(row.lanes), _some(row.behaviours), why)


def _cell(text: str) -> str:
    return escape_markdown(text, 300)


def _table(heads: Sequence[str], rows: Any) -> str:
    found = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in found)


# JSON.


def render(certificate: Certificate) -> str:
    """Returns the certificate as JSON, format 1. Its schema is certificate.schema.json."""
    return dumps(dataclasses.asdict(certificate), indent=1) + "\n"


def badge(row: ProfileRow) -> str:
    """Returns the badge of a profile as JSON, for the endpoint badge of shields.io."""
    message, color = ("conformant", "brightgreen") if row.claimed else ("not claimed", "lightgrey")
    if row.failed and not row.claimed:
        message, color = f"{quantity(len(row.failed), 'behaviour')} failed", "red"
    content = {"schemaVersion": 1, "label": f"{BADGE_LABEL}: {row.name}", "message": message, "color": color}
    return dumps(content, indent=1) + "\n"
