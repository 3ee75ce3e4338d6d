"""A finished run as one frozen value. What is written and printed are pure functions of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from conformance.asked import Asked
from conformance.catalogue import Level
from conformance.value_types import Seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from conformance.bill import Bill
    from conformance.call import Told
    from conformance.catalogue import Entry
    from conformance.compare import Comparison
    from conformance.found import Found
    from conformance.scale.figures import Scale
    from conformance.waiver import Waived
    from conformance.weather import Weather

FORMAT = 1


class Status(StrEnum):
    """How a behaviour ended."""

    PASSED = "passed"
    FAILED = "failed"
    """The provider broke a MUST."""
    WARNED = "warned"
    """The provider broke a SHOULD."""
    SKIPPED = "skipped"
    """The provider legally lacks what is judged."""
    ERROR = "error"
    """The kit could not tell."""


JUDGED = (Status.PASSED, Status.FAILED, Status.WARNED)


class Verdict(StrEnum):
    """What a run says of the target."""

    CONFORMANT = "conformant"
    NON_CONFORMANT = "non-conformant"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one behaviour ended, and the calls that it rests on. Times in seconds on the run's clock."""

    entry: Entry
    status: Status
    reason: str = ""
    wanted: str = ""
    got: str = ""
    started: float = 0.0
    seconds: float = 0.0
    machines: tuple[str, ...] = ()
    calls: tuple[Told, ...] = field(default=(), repr=False)
    decisive: tuple[int, ...] = ()
    """Which of the calls show what is wrong: indices into `calls`, in order. Empty where nothing is."""

    @property
    def id(self) -> str:
        """The behaviour's id."""
        return self.entry.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """Seconds: as the clock saw them, as they must be, and as they would be one after the other."""

    wall: Seconds
    critical_path: Seconds
    sum: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Whether all that was started is home again; `left` names what is not, each with the reason."""

    left: tuple[tuple[str, str], ...] = ()
    taken: tuple[tuple[str, str], ...] = ()
    """What was ours, or asked for by us, and is somebody else's as far as one can tell, with what it shows. It is not
    for us to touch; where nobody else uses the provider, somebody has to look at it."""
    kept: bool = False
    known: bool = True
    """False where the record ends before the machines were home: then only the ledger can tell."""

    @property
    def clean(self) -> bool:
        """Whether it is known that nothing is left."""
        return self.known and not self.left


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that is known of a run."""

    run: str
    version: str
    target: str
    started: str
    seed: int
    found: Found | None
    results: tuple[Result, ...]
    quarantined: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    bill: Bill
    time: Time
    home: Home
    rpcs: int
    ledger: str
    stopped: str | None = None
    """Why the run ended before its plan did."""
    strict: bool = False
    lacking: tuple[str, ...] = ()
    """Capabilities that the user requires and the target does not have."""
    whole: bool = True
    """Whether every behaviour of the catalogue was selected."""
    asked: Asked = field(default_factory=Asked)
    took: Mapping[str, float] = field(default_factory=dict)
    """The median seconds of each verb's transitions that were seen from ack to settling, by the verb's name."""
    weather: Weather | None = None
    """What the run's own faults have done to it; None where there were none."""
    waivers: tuple[Waived, ...] = ()
    """Every waiver that was read, with what this run says of it."""
    waivers_file: str = ""
    """Where they were read; empty where there are none."""
    comparison: Comparison | None = None
    """What is new since the run that this one is held against, if any."""
    only_new: bool = False
    """Whether a failure that is not new leaves the exit code alone. The verdict is what it is."""

    scale: Scale | None = None
    """What the scale lane measured; None where the conformance lane ran."""

    @property
    def waived(self) -> Mapping[str, Waived]:
        """The failures and warnings that are tolerated, by the behaviours' ids."""
        return {waived.id: waived for waived in self.waivers if waived.standing.tolerates}

    @property
    def truncated(self) -> bool:
        """Whether this was read from a log that ends before its run did."""
        return not self.home.known

    @property
    def verdict(self) -> Verdict:
        """The verdict: from the results that are not waived, unless the target lacks what is required of it.

        Nobody knows how a truncated run would have ended: what speaks for the target is not enough there.
        """
        return self._verdict(self.waived)

    @property
    def verdict_line(self) -> str:
        """The verdict with what it tolerates: `conformant, 2 waived`. A waived warning counts where it would decide.

        A budget is no part of the verdict, but that it is exceeded is said here too: `conformant, over budget`.
        """
        statuses = {Status.FAILED} | ({Status.WARNED} if self.strict else set())
        count = sum(result.id in self.waived for result in self.with_status(*statuses))
        waived = f", {count} waived" if count else ""
        return f"{self.verdict.value}{waived}{', over budget' if self.scale and self.scale.over else ''}"

    @property
    def exit_code(self) -> int:
        """0 conformant · 1 not conformant, a waiver broken or a budget exceeded · 3 inconclusive · 4 not all is home.

        A budget of which nothing could be measured leaves a run inconclusive.

        With `only_new` as if what failed before, in the same way, or was not judged before either, were not there.
        """
        if any(waived.standing.broken for waived in self.waivers) or (self.scale and self.scale.over):
            return 1
        match self._deciding:
            case Verdict.NON_CONFORMANT:
                return 1
            case Verdict.INCONCLUSIVE:
                return 3
            case Verdict.CONFORMANT if self.scale and self.scale.unmeasured:
                return 3
            case Verdict.CONFORMANT:
                return 0 if self.home.clean or self.home.kept else 4

    @property
    def _deciding(self) -> Verdict:
        if not self.only_new or self.comparison is None:
            return self.verdict
        new = self._verdict({*self.waived, *self.comparison.known})
        return Verdict.INCONCLUSIVE if new is Verdict.CONFORMANT and self.stopped else new

    def _verdict(self, tolerated: Collection[str]) -> Verdict:
        if self.lacking:
            return Verdict.NON_CONFORMANT
        verdict = judge(self.results, strict=self.strict, tolerated=tolerated)
        return Verdict.INCONCLUSIVE if verdict is Verdict.CONFORMANT and self.truncated else verdict

    def with_status(self, *statuses: Status) -> tuple[Result, ...]:
        """The results that ended so."""
        return tuple(result for result in self.results if result.status in statuses)

    @property
    def violations(self) -> Mapping[str, Result]:
        """What is broken by its id: failures and warnings."""
        return {result.id: result for result in self.with_status(Status.FAILED, Status.WARNED)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A behaviour that failed by itself, and those that failed because they rest on it."""

    root: Result
    consequences: tuple[Result, ...]


def causes(results: Sequence[Result]) -> tuple[Cause, ...]:
    """What is broken, first things first: failures before warnings, and what most others follow from before the rest.

    Every failure and every warning is in just one of them, as its root or as a consequence. A result follows from
    what it rests on, directly or by way of others that may be whole, where that is broken and follows from nothing.
    """
    grounds = {result.id: result.entry.rests_on for result in results}
    broken = {result.id: result for result in results if result.status in (Status.FAILED, Status.WARNED)}
    followers: dict[str, list[Result]] = {}
    for result in broken.values():
        root = next(
            (g for g in _below(result.id, grounds) if g in broken and not _broken_below(g, grounds, broken)), None
        )
        followers.setdefault(root or result.id, []).append(result)
    found = [
        Cause(root=broken[root], consequences=tuple(result for result in group if result.id != root))
        for root, group in followers.items()
    ]
    return tuple(sorted(found, key=lambda cause: (cause.root.status is not Status.FAILED, -len(cause.consequences))))


def follows(results: Sequence[Result]) -> dict[str, str]:
    """Of each behaviour that failed because it rests on what is broken, by id: the id of what broke by itself."""
    return {result.id: cause.root.id for cause in causes(results) for result in cause.consequences}


def _below(behaviour_id: str, grounds: Mapping[str, Sequence[str]]) -> list[str]:
    """All that a behaviour rests on, the nearest first."""
    known: dict[str, None] = {}
    layer = list(grounds.get(behaviour_id, ()))
    while layer:
        known |= dict.fromkeys(layer)
        layer = [g for each in layer for g in grounds.get(each, ()) if g not in known]
    return list(known)


def _broken_below(behaviour_id: str, grounds: Mapping[str, Sequence[str]], broken: Collection[str]) -> bool:
    return any(ground in broken for ground in _below(behaviour_id, grounds))


def judge(results: Sequence[Result], *, strict: bool = False, tolerated: Collection[str] = ()) -> Verdict:
    """A broken MUST decides; then a MUST that could not be judged; a run that judged nothing says nothing.

    With `strict` a broken SHOULD counts like a MUST. What is `tolerated`, by its id, was judged and decides nothing.
    """
    counting = [result for result in results if result.id not in tolerated]
    statuses = {result.status for result in counting}
    if Status.FAILED in statuses or (strict and Status.WARNED in statuses):
        return Verdict.NON_CONFORMANT
    undecided = any(result.status is Status.ERROR and _counts(result, strict) for result in counting)
    if undecided or not any(result.status in JUDGED for result in results):
        return Verdict.INCONCLUSIVE
    return Verdict.CONFORMANT


def _counts(result: Result, strict: bool) -> bool:
    return result.entry.level is Level.MUST or (strict and result.entry.level is Level.SHOULD)
