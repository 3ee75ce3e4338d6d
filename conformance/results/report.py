"""A finished run as one frozen value. All reports are pure functions of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.core.value_types import Seconds
from conformance.results.kit_coverage import KitCoverage
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
    """Durations in seconds: wall time, critical path, and serial time, the sum of all behaviours."""

    wall: Seconds
    critical_path: Seconds
    sum: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The clean-up: `left` names the started machines that were not returned, with the reasons."""

    left: tuple[tuple[str, str], ...] = ()
    taken: tuple[tuple[str, str], ...] = ()
    """Machines that the run started, or tried to start, and that may belong to another client now, with their states.
    The kit does not touch them. If there is no other client, the user has to return them."""
    failed: tuple[tuple[str, str], ...] = ()
    """Machines of the run that rest in FAILED, with their last errors. The contract allows that, and no call leads out
    of FAILED (FLT-3): only the provider's operator can clean them up."""
    kept: bool = False
    known: bool = True
    """False if the log ends before the clean-up: then only the ledger names the machines."""

    @property
    def clean(self) -> bool:
        """True if it is known that no machine is left that the kit could have returned."""
        return self.known and not self.left


# More than 15 attributes: about one for each top-level key of report.json, which is written and read by name.
@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All data of a finished run."""

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
    """The reason if the run ended early."""
    strict: bool = False
    lacking: tuple[str, ...] = ()
    """Capabilities that `--require` names and the target does not have."""
    whole: bool = True
    """True if every behaviour of the catalogue was selected."""
    asked: ReplayOptions = field(default_factory=ReplayOptions)
    took: Mapping[str, float] = field(default_factory=dict)
    """The median duration of transitions in seconds, from ack to settling, by the verb's name."""
    held: Mapping[str, float] = field(default_factory=dict)
    """The seconds for which each kind of long-lived state was held until it was checked: see `results/held.py`."""
    weather: FaultStats | None = None
    """The injected faults and their effects; None without `--fault`."""
    waivers: tuple[Waived, ...] = ()
    """All waivers of the file, with their states in this run."""
    waivers_file: str = ""
    """The path of the waivers file; empty without `--waivers`."""
    comparison: Comparison | None = None
    """The comparison with the baseline, if there is one."""
    only_new: bool = False
    """True if only new failures count for the exit code (`--fail-on new`). The verdict does not depend on it."""

    coverage: KitCoverage = field(default_factory=KitCoverage)
    """The lane, and what the other lanes of that release could have judged."""
    figures: LaneFigures | None = None
    """The figures of the lane; None for the conformance lane, which only judges."""

    @property
    def waived(self) -> Mapping[str, Waived]:
        """The tolerated behaviours by id: those with a waiver, and those that one covers."""
        return {
            name: waived for waived in self.waivers if waived.state.tolerates for name in (*waived.covered, waived.id)
        }

    @property
    def truncated(self) -> bool:
        """True if this was read from a log that ends before its run does."""
        return not self.home.known

    @property
    def verdict(self) -> Verdict:
        """The verdict on the results that are not waived; non-conformant if a required capability is missing.

        A truncated run is never conformant, because its end is unknown.
        """
        return self._verdict(self.waived)

    @property
    def verdict_line(self) -> str:
        """The verdict with the number of waived failures: `conformant, 2 waived`. In strict runs, warnings count too.

        The headline of a lane's figures is added: `conformant, over budget`.
        """
        statuses = {Status.FAILED} | ({Status.WARNED} if self.strict else set())
        count = sum(result.id in self.waived for result in self.with_status(*statuses))
        waived = f", {count} waived" if count else ""
        headline = f", {self.figures.headline}" if self.figures and self.figures.headline else ""
        return f"{self.verdict.value}{waived}{headline}"

    @property
    def exit_code(self) -> int:
        """0 conformant · 1 not conformant, bad waiver or exceeded budget · 3 inconclusive · 4 machines not returned.

        With `only_new`, failures that the baseline has too, in the same way, and behaviours that were not judged in
        both runs, do not count.
        """
        effect = self.figures.effect if self.figures else Effect.NONE
        if effect is Effect.FAILED or any(waived.state.broken for waived in self.waivers):
            return 1
        match self._verdict_for_exit:
            case Verdict.NON_CONFORMANT:
                return 1
            case Verdict.INCONCLUSIVE:
                return 3
            case Verdict.CONFORMANT if effect is Effect.INCONCLUSIVE:
                return 3
            case Verdict.CONFORMANT:
                return 0 if self.home.clean or self.home.kept else 4

    @property
    def _verdict_for_exit(self) -> Verdict:
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
