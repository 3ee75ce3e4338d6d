"""The certificate: what several lanes have judged of one provider, as one frozen table made from their reports.

It has no text of its own from the provider: everything comes from reports, which are redacted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

from conformance.core import catalogue
from conformance.core.catalogue import Level
from conformance.core.json_reader import decode
from conformance.core.profiles import PROFILES
from conformance.core.value_types import Count, Seconds
from conformance.results import profiles
from conformance.results.causes import causes
from conformance.results.result import JUDGED, Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from conformance.core.catalogue import Clause
    from conformance.core.profiles import Profile
    from conformance.results.report import Report
    from conformance.results.result import Result

FORMAT: Final = 1
EXIT_CODES: Final = (1, 3, 4)
"""The exit codes of lanes, the most important first: it is the exit code of the whole."""


class ClauseStatus(StrEnum):
    """The state of a clause after all lanes, worst first."""

    BROKEN = "broken"
    WARNED = "warned"
    """It is a SHOULD, and broken."""
    WAIVED = "waived"
    """It is broken, and every failure is tolerated by a waiver."""
    NOT_JUDGED = "not judged"
    SKIPPED = "skipped"
    """The provider legally lacks the feature, or the run had no means to see it."""
    KEPT = "kept"


_FOUND: Final = {
    Status.FAILED: ClauseStatus.BROKEN,
    Status.WARNED: ClauseStatus.WARNED,
    Status.ERROR: ClauseStatus.NOT_JUDGED,
    Status.PASSED: ClauseStatus.KEPT,
    Status.SKIPPED: ClauseStatus.SKIPPED,
}
_DECIDES: Final = (Status.FAILED, Status.WARNED, Status.ERROR, Status.PASSED, Status.SKIPPED)
"""The statuses by which several results decide about one clause: the first that occurs counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOutcome:
    """The end of one lane. Without a report, `reason` says why it did not run to its end."""

    lane: str
    report: Report | None = None
    reason: str = ""
    path: str = ""
    """The directory of its report, relative to that of the certificate; empty if it was not written."""


# More than 15 attributes: one for each key of a lane in certificate.json, which is written and read by name.
@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRow:
    """One lane of the certificate."""

    lane: str
    verdict: Verdict | None
    """None if the lane was not run, or could judge nothing of its own here: then there is a reason."""
    verdict_line: str
    """The verdict with the number of waived failures and what the lane's figures add."""
    reason: str
    """The reason why nothing was judged, or why the run ended early; empty otherwise."""
    exit_code: Count
    passed: Count
    failed: Count
    warned: Count
    not_judged: Count
    skipped: Count
    creates: Count
    restarts: Count
    seconds: Seconds
    left: tuple[str, ...]
    """The machines that were not returned."""
    run: str
    report: str
    """The path of its report.json, relative to the certificate; empty if it was not written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRow:
    """One profile of the certificate."""

    name: str
    purpose: str
    claimed: bool
    lanes: tuple[str, ...]
    """The lanes that judged its clauses."""
    failed: tuple[str, ...]
    """The behaviours that failed in its clauses, in any lane."""
    reason: str
    """The reason why it is not claimed; for a claim, the part that it leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClauseRow:
    """One clause of the certificate, over all lanes."""

    clause: str
    level: Level
    text: str
    status: ClauseStatus
    lanes: tuple[str, ...]
    """The lanes with this status."""
    behaviours: tuple[str, ...]
    """The behaviours that decide, the one to look at first at the beginning; empty for a clause that is kept."""
    reason: str
    """The wanted and the actual answer, or the reason why it was not judged; empty for a clause that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The judgement of several lanes on one provider."""

    kind: Literal["certificate"] = "certificate"
    format: Literal[1] = FORMAT
    kit: str
    target: str
    started: str
    seed: int
    verdict: Verdict
    exit_code: Count
    lanes: tuple[LaneRow, ...]
    profiles: tuple[ProfileRow, ...]
    clauses: tuple[ClauseRow, ...]
    """All clauses but those of level MAY, worst first."""

    @property
    def claimed(self) -> tuple[str, ...]:
        """The names of the claimed profiles."""
        return tuple(row.name for row in self.profiles if row.claimed)

    @property
    def creates(self) -> int:
        """The number of machines that all lanes have started."""
        return sum(row.creates for row in self.lanes)

    @property
    def restarts(self) -> int:
        """The number of times that the kit has ended the provider."""
        return sum(row.restarts for row in self.lanes)

    @property
    def seconds(self) -> float:
        """The seconds that all lanes took."""
        return sum(row.seconds for row in self.lanes)

    @property
    def left(self) -> tuple[str, ...]:
        """The machines that were not returned."""
        return tuple(machine for row in self.lanes for machine in row.left)

    def with_status(self, *statuses: ClauseStatus) -> tuple[ClauseRow, ...]:
        """Returns the clauses with one of these statuses."""
        return tuple(row for row in self.clauses if row.status in statuses)


def certificate(outcomes: Sequence[LaneOutcome], *, kit: str, target: str, seed: int) -> Certificate:
    """Returns the certificate of lanes that ran in turn against one provider."""
    rows = tuple(map(_lane_row, outcomes))
    code = exit_code(rows)
    reports = [outcome.report for outcome in outcomes if outcome.report is not None]
    return Certificate(
        kit=kit,
        target=target,
        started=next((report.started for report in reports if report.started), ""),
        seed=seed,
        verdict=_verdict(rows, code),
        exit_code=code,
        lanes=rows,
        profiles=profile_rows(outcomes),
        clauses=clause_rows(outcomes),
    )


def exit_code(rows: Iterable[LaneRow]) -> int:
    """Returns the first of 1, 3 and 4 that a lane ended with; else 0, or 3 if no lane has judged anything."""
    codes = {row.exit_code for row in rows}
    if not any(row.verdict for row in rows):
        codes.add(3)
    return next((code for code in EXIT_CODES if code in codes), 0)


def _verdict(rows: Sequence[LaneRow], code: int) -> Verdict:
    verdicts = {row.verdict for row in rows}
    if Verdict.NON_CONFORMANT in verdicts:
        return Verdict.NON_CONFORMANT
    return Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts or code == 3 else Verdict.CONFORMANT


# The lanes.


def _lane_row(outcome: LaneOutcome) -> LaneRow:
    report = outcome.report
    if report is None:
        nothing = dict.fromkeys(("passed", "failed", "warned", "not_judged", "skipped", "creates", "restarts"), 0)
        return LaneRow(
            lane=outcome.lane,
            verdict=None,
            verdict_line="not run",
            reason=outcome.reason,
            exit_code=3,
            seconds=0.0,
            left=(),
            run="",
            report="",
            **nothing,
        )
    missing = inapplicable(report)
    counts = Counter(result.status for result in report.results)
    return LaneRow(
        lane=outcome.lane,
        verdict=None if missing else report.verdict,
        verdict_line="not judged" if missing else report.verdict_line,
        reason=missing or report.stopped or "",
        exit_code=0 if missing else report.exit_code,
        passed=counts[Status.PASSED],
        failed=counts[Status.FAILED],
        warned=counts[Status.WARNED],
        not_judged=counts[Status.ERROR],
        skipped=counts[Status.SKIPPED],
        creates=report.bill.create,
        restarts=report.bill.restarts,
        seconds=report.time.wall,
        left=tuple(machine for machine, _ in report.home.left),
        run=report.run,
        report=f"{outcome.path}/report.json" if outcome.path else "",
    )


def inapplicable(report: Report) -> str:
    """Returns why a lane could judge nothing of its own, because every behaviour of its clauses was skipped.

    Empty if it judged something, if it ended early, or if it found a failure or left a machine anyway.
    """
    if report.stopped or report.exit_code in (1, 4):
        return ""
    own = report.coverage.lanes.get(profiles.lane_of(report), ())
    results = [result for result in report.results if result.entry.clause.id in own]
    if not results or any(result.status is not Status.SKIPPED for result in results):
        return ""
    return Counter(result.reason for result in results).most_common(1)[0][0]


# The profiles.


def profile_rows(outcomes: Sequence[LaneOutcome]) -> tuple[ProfileRow, ...]:
    """Returns each profile: claimed if a lane claims it, and if no lane has found a failure in its clauses."""
    found: dict[str, ProfileRow] = {}
    for profile in PROFILES:
        found[profile.name] = _profile_row(profile, outcomes, found)
    return tuple(found.values())


def _profile_row(profile: Profile, outcomes: Sequence[LaneOutcome], found: Mapping[str, ProfileRow]) -> ProfileRow:
    reports = [outcome.report for outcome in outcomes if outcome.report is not None]
    judging = [report for report in reports if _judged(profile, report)]
    claims = {
        profiles.lane_of(report): claim
        for report in reports
        for claim in profiles.claims(report)
        if claim.profile.name == profile.name
    }
    own = _own_lanes(profile, reports)
    claiming = [lane for lane, claim in claims.items() if claim.claimed]
    base, broken = profile.builds_on, _broken(profile, reports)
    problem = (
        (f"{base} is not claimed" if base and not found[base].claimed else "")
        or "; ".join(_failed_in(*each) for each in broken)
        or ("" if claiming else _why_not(profile, outcomes, own, {lane: claims[lane].reason for lane in claims}))
    )
    reason = problem or "; ".join(dict.fromkeys(claims[lane].reason for lane in claiming if claims[lane].reason))
    return ProfileRow(
        name=profile.name,
        purpose=profile.purpose,
        claimed=not problem,
        lanes=tuple(map(profiles.lane_of, judging)),
        failed=tuple(dict.fromkeys(result.id for _, failed in broken for result in failed)),
        reason=reason,
    )


def _applies(profile: Profile, report: Report) -> bool:
    """Returns whether a lane can say something about a profile: one without areas is about its own lane only."""
    return not profile.lane or bool(profile.areas) or profile.lane == profiles.lane_of(report)


def _judged(profile: Profile, report: Report) -> bool:
    """Returns whether a lane has judged a clause of a profile."""
    judged = [result for result in report.results if result.status in JUDGED]
    return _applies(profile, report) and any(profiles.concerns(profile, result.entry.clause) for result in judged)


def _broken(profile: Profile, reports: Iterable[Report]) -> list[tuple[Report, tuple[Result, ...]]]:
    """Returns the failures in a profile's clauses, with the reports of the lanes that found them."""
    found = []
    for report in reports:
        failed = profiles.broken(report, report.results)
        own = tuple(result for result in failed if profiles.concerns(profile, result.entry.clause))
        if own and _applies(profile, report):
            found.append((report, own))
    return found


def _failed_in(report: Report, failed: Sequence[Result]) -> str:
    waived = " (waived)" if all(result.id in report.waived for result in failed) else ""
    return f"{profiles.some_ids(failed)} failed in the {profiles.lane_of(report)} lane{waived}"


def _own_lanes(profile: Profile, reports: Iterable[Report]) -> tuple[str, ...]:
    """Returns the lanes that can show a profile: of the kit that made the reports, whether they ran or not."""
    if profile.lane:
        return (profile.lane,)
    lanes = next((report.coverage.lanes for report in reports if report.coverage.lanes), {})
    known = {clause.id for clause in catalogue.load().clauses if profiles.concerns(profile, clause)}
    return tuple(lane for lane, clauses in lanes.items() if known.intersection(clauses))


def _why_not(profile: Profile, outcomes: Sequence[LaneOutcome], own: Sequence[str], reasons: Mapping[str, str]) -> str:
    """Returns why no lane claims a profile, in the words of the lane that could show it."""
    by_name = {outcome.lane: outcome for outcome in outcomes}
    for lane in own:
        outcome = by_name.get(lane)
        if outcome is not None and outcome.report is None:
            return f"the {lane} lane was not run: {outcome.reason}"
        if outcome is not None and outcome.report is not None:
            missing = inapplicable(outcome.report)
            return f"the {lane} lane could judge nothing: {missing}" if missing else reasons[lane]
    if profile.lane or own:
        return f"the {own[0]} lane was not run"
    return next(iter(reasons.values()), "nothing was judged")


# The clauses.


def clause_rows(outcomes: Sequence[LaneOutcome]) -> tuple[ClauseRow, ...]:
    """Returns every clause that is not a MAY: first the broken ones, most important cause first; then the others.

    Causes are ordered as in the lanes' own reports.
    """
    rank = _importance(outcome.report for outcome in outcomes if outcome.report is not None)
    clauses = [clause for clause in catalogue.load().clauses if clause.level is not Level.MAY]
    order = list(ClauseStatus)

    def importance(row: ClauseRow) -> tuple[int, tuple[int, int]]:
        return order.index(row.status), min((rank.get(name, _LAST) for name in row.behaviours), default=_NOBODY)

    return tuple(sorted((_clause_row(clause, outcomes, rank) for clause in clauses), key=importance))


_LAST: Final = (2, 0)
"""The place of what is not a failure."""
_NOBODY: Final = (3, 0)
"""The place of a clause without a behaviour."""


def _importance(reports: Iterable[Report]) -> dict[str, tuple[int, int]]:
    """Returns the place of each failure among all: causes come first, then what only follows from them."""
    found = [cause for report in reports for cause in causes(report.results)]
    rank = {result.id: (1, number) for number, cause in enumerate(found) for result in cause.consequences}
    return rank | {cause.root.id: (0, number) for number, cause in reversed(list(enumerate(found)))}


def _clause_row(clause: Clause, outcomes: Sequence[LaneOutcome], rank: Mapping[str, tuple[int, int]]) -> ClauseRow:
    reports = [outcome.report for outcome in outcomes if outcome.report is not None]
    pairs = [(report, result) for report in reports for result in report.results if result.entry.clause.id == clause.id]
    status = next((each for each in _DECIDES if any(result.status is each for _, result in pairs)), None)
    deciding = [(report, result) for report, result in pairs if result.status is status]
    lanes = tuple(dict.fromkeys(profiles.lane_of(report) for report, _ in deciding))
    found = ClauseStatus.NOT_JUDGED if status is None else _FOUND[status]
    behaviours: tuple[str, ...] = ()
    reason = ""
    if found is not ClauseStatus.KEPT:
        deciding.sort(key=lambda pair: rank.get(pair[1].id, _LAST))
        behaviours = tuple(dict.fromkeys(result.id for _, result in deciding))
        reason = _reason(deciding[0][1]) if deciding else _why_absent(clause, outcomes)
    if status in (Status.FAILED, Status.WARNED) and all(result.id in report.waived for report, result in deciding):
        found = ClauseStatus.WAIVED
    return ClauseRow(
        clause=clause.id,
        level=clause.level,
        text=clause.text,
        status=found,
        lanes=lanes,
        behaviours=behaviours,
        reason=reason,
    )


def _reason(result: Result) -> str:
    return f"wanted {result.wanted}; got {result.got}" if result.wanted else result.got or result.reason


def _why_absent(clause: Clause, outcomes: Sequence[LaneOutcome]) -> str:
    """Returns why no lane has a behaviour of a clause."""
    reports = [outcome.report for outcome in outcomes if outcome.report is not None]
    judging = {lane for report in reports for lane, clauses in report.coverage.lanes.items() if clause.id in clauses}
    for outcome in outcomes:
        if outcome.report is None and (outcome.lane in judging or not reports):
            return f"the {outcome.lane} lane was not run: {outcome.reason}"
    return profiles.why_unjudged(reports[0], clause.id, ()) if reports else "no lane was run"


# A written certificate.


def from_json(value: object) -> Certificate | None:
    """Returns the certificate in a JSON value; None if it is another document. Raises Malformed."""
    if not isinstance(value, dict) or value.get("kind") != "certificate":
        return None
    return decode(value, Certificate)
