"""Writes the files of a certificate: certificate.json and others, and a badge for each profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.core.profiles import PROFILES
from conformance.reporters import certificate as reporter
from conformance.reporters import report_dir
from conformance.reporters.html_report import certificate as html_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from conformance.results.certificate import Certificate

FORMATS: Final[Mapping[str, Callable[[Certificate], str]]] = {
    "certificate.json": reporter.render,
    "certificate.md": reporter.markdown,
    "certificate.html": html_certificate.render,
}
"""The files with their renderers. A new format needs one line here."""


def badge_name(profile: str) -> str:
    """Returns the file name of a profile's badge."""
    return f"badge-{profile}.json"


def write(directory: Path, certificate: Certificate) -> None:
    """Writes all files. Raises OSError."""
    for name, render in FORMATS.items():
        report_dir.write(directory / name, render(certificate))
    for row in certificate.profiles:
        report_dir.write(directory / badge_name(row.name), reporter.badge(row))


def empty(directory: Path) -> None:
    """Empties the files of an earlier run, which could be mistaken for the next one's. Raises OSError."""
    for name in (*FORMATS, *(badge_name(profile.name) for profile in PROFILES)):
        (directory / name).write_bytes(b"")
