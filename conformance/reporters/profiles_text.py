"""Writes the profiles that a run claims, and the sections of the contract that it did not judge, as lines of text."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from conformance.core.profiles import PROFILES
from conformance.core.sections import names
from conformance.core.text import quantity
from conformance.results import profiles

if TYPE_CHECKING:
    from conformance.results.report import Report

INDENT = 11
COLUMNS = 80
WIDTH = max(len(profile.name) for profile in PROFILES)


def lines(report: Report) -> list[str]:
    """Returns the lines for each profile, and for the clauses; less if a run could not claim anything.

    That is the case for a selection of behaviours, and for a target that was not reached.
    """
    claims = profiles.claims(report)
    if report.found is None:
        return []
    if not report.whole and not any(claim.claimed for claim in claims):
        return ["profiles   none claimed: not all behaviours were selected", *_coverage(report, partial=True)]
    found: list[str] = []
    for claim in claims:
        first = f"{'' if found else 'profiles':{INDENT}}{claim.profile.name:{WIDTH}}  "
        found += textwrap.wrap(claim.line, COLUMNS, initial_indent=first, subsequent_indent=" " * len(first))
    return [*found, *_coverage(report)]


def _coverage(report: Report, *, partial: bool = False) -> list[str]:
    sections = profiles.coverage(report)
    judged = sum(len(section.judged) for section in sections)
    total = judged + sum(len(section.unjudged) for section in sections)
    missing = [section.section.area for section in sections if not section.judged]
    none = f"; none of {names(missing)}" if missing and not partial else ""
    text = f"{judged} of {quantity(total, 'clause')} judged{none}"
    first, indent = f"{'coverage':{INDENT}}", " " * INDENT
    return textwrap.wrap(text, COLUMNS, initial_indent=first, subsequent_indent=indent)
