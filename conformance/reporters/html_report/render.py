"""Writes report.html: all data of a run, in one file without references to others.

Text is truncated and contains no control characters. The page's own script draws timelines and tables of calls on
demand; everything else can be read without JavaScript.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from conformance.core import latency
from conformance.core.text import cut, quantity
from conformance.reporters import sections
from conformance.reporters.catalogue import AREAS
from conformance.reporters.comparison import SHOWN
from conformance.reporters.html_report.timeline_data import embedded, outcome_kind
from conformance.results import call_latency, profiles
from conformance.results.causes import causes
from conformance.results.critical_path import critical_path, has_run
from conformance.results.evidence import exhibits, hints, repeat_commands
from conformance.results.held import held_text
from conformance.results.result import Status, Verdict
from conformance.rpc import http_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.results.report import Report
    from conformance.results.result import Result

MAX_CHARACTERS = 2000
"""Longer text is truncated."""

STYLES = ("page.css", "behaviour.css", "drawing.css", "print.css")
SCRIPTS = ("svg.js", "timeline.js", "calls.js", "fleet.js", "page.js")

STATUS_WORDS = {
    Status.FAILED: "failed",
    Status.WARNED: "warned",
    Status.ERROR: "not judged",
    Status.PASSED: "passed",
    Status.SKIPPED: "skipped",
}
"""Words for the statuses, in the order of importance."""
GLYPHS = {
    Status.FAILED: "✕",
    Status.WARNED: "!",
    Status.ERROR: "?",
    Status.PASSED: "✓",
    Status.SKIPPED: "–",
}
VERDICTS = {
    Verdict.CONFORMANT: ("✓", "passed"),
    Verdict.NON_CONFORMANT: ("✕", "failed"),
    Verdict.INCONCLUSIVE: ("?", "error"),
}
"""A verdict's glyph, and the status that has the same colour."""
OUTCOMES = {"a": "accepted", "f": "fenced", "r": "refused", "u": "unanswered"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The latencies of one RPC, and its histogram with the count of the highest bin."""

    rpc: str
    latencies: latency.Latencies
    bins: tuple[latency.Bin, ...]
    highest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A group of behaviours: those of an area, or those with the same reason."""

    title: str
    area: str
    results: tuple[Result, ...]


def render(report: Report) -> str:
    """Returns the report as one HTML document without external references."""
    style, script, compared = source(STYLES), source(SCRIPTS), report.comparison
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            style=Markup(style),
            script=Markup(script),
            policy=policy(style, script),
            data=Markup(embedded(report)),
            changes={} if compared is None else {one.id: one.kind for one in compared.changes if one.kind in SHOWN},
            counts={status: len(report.with_status(status)) for status in STATUS_WORDS},
            causes=causes(report.results),
            claims=() if report.found is None else profiles.claims(report),
            coverage=profiles.coverage(report),
            groups={
                status.value: _parts(report.results, status) for status in (Status.ERROR, Status.SKIPPED, Status.PASSED)
            },
            rows=_rows(report),
            critical_path=critical_path(report.results),
            held=held_text(report.held, hold=report.asked.hold),
            longest=max(filter(has_run, report.results), key=lambda result: result.seconds, default=None),
        )
    )


def policy(style: str, script: str = "") -> str:
    """Returns a content security policy that allows only the page's own script and fetches nothing."""
    allowed = f" script-src {_hash(script)};" if script else ""
    return f"default-src 'none'; style-src {_hash(style)};{allowed} img-src data:; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _parts(results: Sequence[Result], status: Status) -> tuple[Part, ...]:
    """Groups the results with this status: passed ones by area, the others by reason."""
    selected = [result for result in results if result.status is status]

    def group(result: Result) -> str:
        return result.entry.area if status is Status.PASSED else result.reason

    return tuple(
        Part(
            title=AREAS.get(name, "") if status is Status.PASSED else name,
            area=name if status is Status.PASSED else "",
            results=tuple(result for result in selected if group(result) == name),
        )
        for name in dict.fromkeys(map(group, selected))
    )


def _rows(report: Report) -> tuple[Row, ...]:
    samples = call_latency.samples(report)
    shortest = min((taken[0] for taken in samples.values()), default=0.0)
    longest = max((taken[-1] for taken in samples.values()), default=0.0)
    return tuple(
        Row(
            rpc=rpc,
            latencies=latency.summary(taken),
            bins=(bins := latency.histogram(taken, shortest, longest)),
            highest=max(each.count for each in bins),
        )
        for rpc, taken in samples.items()
    )


@cache
def environment() -> jinja2.Environment:
    """Returns the environment with the templates of the pages."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("conformance.reporters.html_report", "page"),
        autoescape=True,
        finalize=_printable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(
        words=STATUS_WORDS,
        glyphs=GLYPHS,
        verdicts=VERDICTS,
        outcomes=OUTCOMES,
        exhibits=exhibits,
        hints=hints,
        http_hint=http_answer.hint,
        repeat_commands=repeat_commands,
        outcome_kind=outcome_kind,
        kinds=SHOWN,
        section_lines=sections.lines,
    )
    made.filters.update(duration=duration, ellipsis=ellipsis, sent=_sent, quantity=quantity)
    return made


@cache
def source(names: tuple[str, ...]) -> str:
    """Returns the content of some files of the pages."""
    loader = environment().loader
    assert loader is not None
    return "\n".join(loader.get_source(environment(), name)[0] for name in names)


def _printable(value: Any) -> Any:
    """Returns a value for the template: text is truncated and contains no control characters."""
    return cut(value, MAX_CHARACTERS) if isinstance(value, str) and not isinstance(value, Markup) else value


def ellipsis(text: str, longest: int) -> str:
    """Truncates text to `longest` characters, with an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def duration(seconds: float) -> str:
    """Formats seconds with three digits and a unit."""
    if seconds < 0.000_999_5:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.2f} s" if seconds < 99.995 else f"{seconds:,.0f} s"


def _sent(call: Any) -> str:
    """Returns the request as protobuf's JSON, one field per line."""
    lines = json.dumps(dict(call.request_json()), indent=1, ensure_ascii=False).splitlines()
    return Markup("\n").join(cut(line, MAX_CHARACTERS) for line in lines[:100])
