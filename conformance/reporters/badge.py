"""Writes badge.json, a short verdict for the endpoint badge of shields.io."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core.text import quantity
from conformance.reporters.json_report import dumps
from conformance.results import profiles
from conformance.results.result import Status, Verdict

if TYPE_CHECKING:
    from conformance.results.report import Report

LABEL = "capacity provider"
COLORS = {Verdict.CONFORMANT: "brightgreen", Verdict.NON_CONFORMANT: "red", Verdict.INCONCLUSIVE: "lightgrey"}


def render(report: Report) -> str:
    """Returns the badge as JSON."""
    badge = {"schemaVersion": 1, "label": LABEL, "message": message(report), "color": color(report)}
    return dumps(badge, indent=1) + "\n"


def message(report: Report) -> str:
    """Returns the verdict, its limits and the claimed profiles. Contains no text from the provider."""
    counts = [
        f"{count} {name}"
        for status, name in ((Status.FAILED, "failed"), (Status.WARNED, "warned"), (Status.ERROR, "not judged"))
        if (count := sum(result.id not in report.waived for result in report.with_status(status)))
    ]
    lacking = [f"{len(report.lacking)} required missing"] if report.lacking else []
    broken = sum(waived.state.broken for waived in report.waivers)
    waivers = [f"{quantity(broken, 'waiver')} to fix"] if broken else []
    left = [] if report.home.clean or report.home.kept or report.truncated else ["machines not returned"]
    part = [] if report.whole else ["partial run"]
    claimed = ", ".join(profiles.claimed(report)) if report.verdict is Verdict.CONFORMANT else ""
    text = ", ".join([report.verdict_line, *lacking, *counts, *waivers, *left, *part])
    return f"{text} ({claimed})" if claimed else text


def color(report: Report) -> str:
    """Returns the colour: green only for a complete conformant run without warnings or errors."""
    flawless = report.exit_code == 0 and report.whole and not report.with_status(Status.WARNED, Status.ERROR)
    if report.verdict is Verdict.CONFORMANT and not flawless:
        return "yellow"
    return COLORS[report.verdict]
