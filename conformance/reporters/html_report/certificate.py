"""Writes certificate.html: one file without script and without references to others, except the lanes' reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from conformance.reporters.certificate import clause_counts, profile_text
from conformance.reporters.html_report.render import GLYPHS, environment, policy, source
from conformance.results.certificate import ClauseStatus
from conformance.results.result import Status

if TYPE_CHECKING:
    from conformance.results.certificate import Certificate

STYLES: Final = ("page.css", "print.css")
TONES: Final = {
    ClauseStatus.BROKEN: Status.FAILED,
    ClauseStatus.WARNED: Status.WARNED,
    ClauseStatus.WAIVED: Status.WARNED,
    ClauseStatus.NOT_JUDGED: Status.ERROR,
    ClauseStatus.SKIPPED: Status.SKIPPED,
    ClauseStatus.KEPT: Status.PASSED,
}
"""The status of a behaviour that has the same colour."""


def render(certificate: Certificate) -> str:
    """Returns the certificate as one HTML document."""
    style = source(STYLES)
    return (
        environment()
        .get_template("certificate.html.j2")
        .render(
            certificate=certificate,
            style=Markup(style),
            policy=policy(style),
            counts=clause_counts(certificate),
            profile_text=profile_text,
            glyphs_of={status.value: glyph for status, glyph in GLYPHS.items()},
            statuses=tuple(ClauseStatus),
            tones={status: tone.value for status, tone in TONES.items()},
        )
    )
