"""A finished run as one frozen value. Everything that is written or printed is a pure function of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.core.value_types import Seconds
from conformance.results.lane_figures import Effect
from conformance.results.replay_options import ReplayOptions
from conformance.results.result import Status, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from conformance.results.bill import Bill
    from conformance.results.comparison import Comparison
    from conformance.results.lane_figures import LaneFigures
    from conformance.results.result import Result
    from conformance.results.target_info import TargetInfo
    from conformance.results.waivers import Waived
    from conformance.rpc.faults.spec import FaultStats

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """Seconds: by the clock, on the critical path, and in sequence."""

    wall: Seconds
    critical_path: Seconds
    sum: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Whether all started machines were returned; `left` names those that were not, with the reasons."""

    left: tuple[tuple[str, str], ...] = ()
    taken: tuple[tuple[str, str], ...] = ()
    """Machines that the run started, or requested, and that seem to belong to another client now, with what they show.
    The kit does not touch them. If no other client uses the provider, they have to be checked by hand."""
    kept: bool = False
    known: bool = True
    """False if the record ends before the machines were returned: then only the ledger knows."""

    @property
    def clean(self) -> bool:
        """Whether it is known that no machine is left."""
        return self.known and not self.left


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that is known about a run."""

    run: str
    version: str
    target: str
    started: str
    seed: int
    found: TargetInfo | None
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
    asked: ReplayOptions = field(default_factory=ReplayOptions)
    took: Mapping[str, float] = field(default_factory=dict)
    """The median seconds of transitions from ack to settling, by the verb's name."""
    weather: FaultStats | None = None
    """What the injected faults did; None if there were none."""
    waivers: tuple[Waived, ...] = ()
    """Every waiver that was read, with its status in this run."""
    waivers_file: str = ""
    """The file of the waivers; empty if there are none."""
    comparison: Comparison | None = None
    """The comparison with the baseline, if there is one."""
    only_new: bool = False
    """Whether failures that are not new leave the exit code alone. They do not change the verdict."""

    figures: LaneFigures | None = None
    """What the lane measured; None for the conformance lane, which only judges."""

    @property
    def waived(self) -> Mapping[str, Waived]:
        """The tolerated failures and warnings by the behaviours' ids."""
        return {waived.id: waived for waived in self.waivers if waived.standing.tolerates}

    @property
    def truncated(self) -> bool:
        """Whether this was read from a log that ends before its run did."""
        return not self.home.known

    @property
    def verdict(self) -> Verdict:
        """The verdict on the results that are not waived; non-conformant if the target lacks a required capability.

        A truncated run is never conformant, because its end is not known.
        """
        return self._verdict(self.waived)

    @property
    def verdict_line(self) -> str:
        """The verdict with what it tolerates: `conformant, 2 waived`. Waived warnings count if they would decide.

        A lane's figures are not part of the verdict, but their headline follows it: `conformant, over budget`.
        """
        statuses = {Status.FAILED} | ({Status.WARNED} if self.strict else set())
        count = sum(result.id in self.waived for result in self.with_status(*statuses))
        waived = f", {count} waived" if count else ""
        headline = f", {self.figures.headline}" if self.figures and self.figures.headline else ""
        return f"{self.verdict.value}{waived}{headline}"

    @property
    def exit_code(self) -> int:
        """0 conformant · 1 not conformant, a waiver broken or a budget exceeded · 3 inconclusive · 4 machines are left.

        With `only_new`, failures that the baseline has too, in the same way, and behaviours that were not judged there
        either, do not count.
        """
        effect = self.figures.effect if self.figures else Effect.NONE
        if effect is Effect.FAILED or any(waived.standing.broken for waived in self.waivers):
            return 1
        match self._deciding:
            case Verdict.NON_CONFORMANT:
                return 1
            case Verdict.INCONCLUSIVE:
                return 3
            case Verdict.CONFORMANT if effect is Effect.INCONCLUSIVE:
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
        """Returns the results with one of these statuses."""
        return tuple(result for result in self.results if result.status in statuses)

    @property
    def violations(self) -> Mapping[str, Result]:
        """The failures and warnings by id."""
        return {result.id: result for result in self.with_status(Status.FAILED, Status.WARNED)}
