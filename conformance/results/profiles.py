"""The profiles that a run claims, and the clauses that it judged, as pure functions of its report."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from conformance.core import catalogue
from conformance.core.catalogue import Level
from conformance.core.profiles import PROFILES
from conformance.core.sections import SECTIONS, Section, names
from conformance.core.text import quantity
from conformance.results.result import JUDGED, Status, counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from conformance.core.catalogue import Clause
    from conformance.core.profiles import Profile
    from conformance.results.report import Report
    from conformance.results.result import Result

SUITE: Final = "conformance"
"""The lane of a record that names none: an older release wrote it."""
MAX_NAMES: Final = 3
"""The most ids in a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A profile that a run claims or does not claim.

    `reason` says why not; for a claim, it says what the claim leaves out.
    """

    profile: Profile
    claimed: bool
    reason: str = ""

    @property
    def line(self) -> str:
        """The claim without the profile's name: `claimed`, or `not claimed: LIF-1a failed`."""
        word = "claimed" if self.claimed else "not claimed"
        return f"{word}{', ' if self.claimed else ': '}{self.reason}" if self.reason else word


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionCoverage:
    """The clauses of one section, without MAY clauses, which are never judged."""

    section: Section
    judged: tuple[str, ...]
    unjudged: Mapping[str, str] = field(default_factory=dict)
    """The reason by the id of each other clause."""

    @property
    def judged_count(self) -> int:
        """The number of judged clauses."""
        return len(self.judged)

    @property
    def unjudged_count(self) -> int:
        """The number of other clauses."""
        return len(self.unjudged)


def claims(report: Report) -> tuple[Claim, ...]:
    """Returns a claim for every profile."""
    found: dict[str, Claim] = {}
    for profile in PROFILES:
        problem = _problem(report, profile, found)
        reason = problem or _remark(report, profile)
        found[profile.name] = Claim(profile=profile, claimed=not problem, reason=reason)
    return tuple(found.values())


def claimed(report: Report) -> tuple[str, ...]:
    """Returns the names of the profiles that the run claims."""
    return tuple(claim.profile.name for claim in claims(report) if claim.claimed)


def coverage(report: Report) -> tuple[SectionCoverage, ...]:
    """Returns the clauses that the run judged and those that it did not, by section."""
    results: dict[str, list[Result]] = defaultdict(list)
    for result in report.results:
        results[result.entry.clause.id].append(result)
    sections = []
    for area, section in SECTIONS.items():
        clauses = [
            clause for clause in catalogue.load().clauses if clause.area == area and clause.level is not Level.MAY
        ]
        judged = tuple(clause.id for clause in clauses if _is_judged(results[clause.id]))
        unjudged = {c.id: why_unjudged(report, c.id, results[c.id]) for c in clauses if c.id not in judged}
        sections.append(SectionCoverage(section=section, judged=judged, unjudged=unjudged))
    return tuple(sections)


def lane_of(report: Report) -> str:
    """Returns the lane of the run. Older releases recorded it only for lanes with figures."""
    return report.coverage.lane or (report.figures.lane if report.figures is not None else SUITE)


def concerns(profile: Profile, clause: Clause) -> bool:
    """Returns whether a profile is about a clause."""
    every = not profile.areas and not profile.clauses
    return every or clause.area in profile.areas or clause.id in profile.clauses


def broken(report: Report, results: Iterable[Result]) -> tuple[Result, ...]:
    """Returns those of a run's results that break a claim: failures, waived ones too; in strict runs, warnings too."""
    statuses = {Status.FAILED, Status.WARNED} if report.strict else {Status.FAILED}
    return tuple(result for result in results if result.status in statuses)


def _is_judged(results: Iterable[Result]) -> bool:
    return any(result.status in JUDGED for result in results)


def why_unjudged(report: Report, clause: str, results: Sequence[Result]) -> str:
    """Returns why a run did not judge a clause; `results` are those of its behaviours."""
    if results:
        undecided = [result for result in results if result.status is Status.ERROR]
        return f"{'not judged' if undecided else 'skipped'}: {(undecided or results)[0].reason}"
    return _why_absent(report, [clause], f"judges {clause}")


def _why_absent(report: Report, clauses: Sequence[str], judges: str) -> str:
    """Returns why the run has no behaviour of some clauses; `judges` says what such a behaviour does."""
    lanes = [lane for lane, judged in report.coverage.lanes.items() if {*judged} & {*clauses}]
    if not report.coverage.lanes:
        return f"no behaviour that {judges} was run"
    if not lanes:
        return f"no behaviour {judges} yet"
    if lane_of(report) in lanes:
        return f"no behaviour that {judges} was selected"
    return _not_run(lanes[0])


def _not_run(lane: str) -> str:
    return f"the {lane} lane was not run (--lane {lane})"


_PROPERTIES: Final[Mapping[str, tuple[Callable[[Report], bool], str, str]]] = {
    "delete": (
        lambda report: report.found is not None and report.found.delete,
        "Delete is UNIMPLEMENTED, so it is bare-metal",
        "the provider has Delete, so it is cloud",
    ),
    "create": (lambda report: report.bill.create > 0, "no machine was created", "a machine was created"),
    "spot": (
        lambda report: report.found is not None and report.found.spot,
        "no machine of the inventory is SPOT",
        "a machine is SPOT",
    ),
}
"""By property: whether the target of a run has it, and the texts for "it does not" and "it does"."""


def _problem(report: Report, profile: Profile, found: Mapping[str, Claim]) -> str:
    """Returns why the run does not claim a profile; empty if it does."""
    own = _results(report, profile)
    return (
        _not_judged_at_all(report, profile, own)
        or _unsuitable(report, profile)
        or (f"{profile.builds_on} is not claimed" if profile.builds_on and not found[profile.builds_on].claimed else "")
        or _broken(report, own)
        or _undecided(report, own)
        or _incomplete(report, profile, own)
    )


def _results(report: Report, profile: Profile) -> tuple[Result, ...]:
    """Returns the results of a profile's behaviours."""
    if profile.lane and profile.lane != lane_of(report):
        return ()
    return tuple(result for result in report.results if concerns(profile, result.entry.clause))


def _not_judged_at_all(report: Report, profile: Profile, own: Sequence[Result]) -> str:
    if profile.lane and profile.lane != lane_of(report):
        return _not_run(profile.lane)
    if profile.areas and not own:
        clauses = [clause.id for clause in _clauses(profile)]
        problem = _why_absent(
            report, clauses, f"judges {names(profile.areas)}" if profile.complete else "belongs to it"
        )
        if problem:
            return problem
    return "the target was not reached" if report.found is None else ""


def _unsuitable(report: Report, profile: Profile) -> str:
    for name in profile.needs:
        has, missing, _ = _PROPERTIES[name]
        if not has(report):
            return missing + _inventory(report, name)
    for name in profile.lacks:
        has, _, present = _PROPERTIES[name]
        if has(report):
            return present
    return ""


def _inventory(report: Report, name: str) -> str:
    types = report.found.capacity_types if name == "spot" and report.found is not None else ()
    return f" ({', '.join(types)})" if types else ""


def _broken(report: Report, own: Sequence[Result]) -> str:
    failed = broken(report, own)
    waived = " (waived)" if failed and all(result.id in report.waived for result in failed) else ""
    return f"{some_ids(failed)} failed{waived}" if failed else ""


def _undecided(report: Report, own: Sequence[Result]) -> str:
    undecided = [result for result in own if result.status is Status.ERROR and counts(result, report.strict)]
    verb = "was" if len(undecided) == 1 else "were"
    return f"{some_ids(undecided)} {verb} not judged" if undecided else ""


def _incomplete(report: Report, profile: Profile, own: Sequence[Result]) -> str:
    """Returns what else a claim lacks: behaviours that were not selected, skipped or not run."""
    if not report.whole:
        return "partial run: not all behaviours were selected"
    if report.truncated:
        return "the log ends before the run does"
    judged = {result.entry.clause.id for result in own if result.status in JUDGED}
    for clause in _demanded(profile):
        if clause not in judged:
            results = [result for result in own if result.entry.clause.id == clause]
            reason = why_unjudged(report, clause, results)
            return f"{clause} was {reason}" if results else reason
    return "" if judged else "its behaviours were not judged"


def _clauses(profile: Profile) -> tuple[Clause, ...]:
    return tuple(clause for clause in catalogue.load().clauses if clause.area in profile.areas)


def _demanded(profile: Profile) -> tuple[str, ...]:
    """Returns the clauses without which there is no claim."""
    unconditional = [c.id for c in _clauses(profile) if c.level is Level.MUST and not c.where]
    return (*profile.clauses, *(unconditional if profile.complete else ()))


def _remark(report: Report, profile: Profile) -> str:
    """Returns what a claim leaves out: broken SHOULD clauses, and MUST clauses that were skipped."""
    own = _results(report, profile)
    warned = sum(result.status is Status.WARNED for result in own)
    by_clause: dict[str, list[Result]] = defaultdict(list)
    for result in own:
        if result.entry.clause.level is Level.MUST:
            by_clause[result.entry.clause.id].append(result)
    skipped = [name for name, results in by_clause.items() if not _is_judged(results)]
    parts = [quantity(warned, "warning")] if warned else []
    parts += [f"without {', '.join(skipped)} (skipped)"] if skipped else []
    return ", ".join(parts)


def some_ids(results: Sequence[Result]) -> str:
    """Returns the ids of some results: at most `MAX_NAMES`, then the number of the others."""
    more = len(results) - MAX_NAMES
    return ", ".join(result.id for result in results[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
