"""Decides which failures of a run are tolerated: those with a waiver, and those that the baseline has too."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from conformance import lanes
from conformance.core import catalogue
from conformance.results import waivers
from conformance.results.compare import change_of, compare
from conformance.results.comparison import Kind
from conformance.results.result import Status

if TYPE_CHECKING:
    from conformance.core.catalogue import Catalogue
    from conformance.engine.options import Options
    from conformance.frontends.settings import Settings
    from conformance.results.report import Report
    from conformance.results.result import Result


class Tolerances:
    """The tolerated failures. The run's first day counts for all waivers, so none expires while the run lasts."""

    def __init__(self, settings: Settings) -> None:
        self._options, self._known = settings.options, settings.known_failures
        self._today = datetime.now(UTC).date()
        self._waivers = {waiver.id: waiver for waiver in self._known.waivers}
        self._covered_by = {name: waiver for waiver in self._known.waivers for name in waiver.covers}
        baseline = self._known.baseline
        self._before = {result.id: result for result in baseline.results} if baseline else {}

    def options(self) -> Options:
        """Returns the options of the run, in which `--fail-fast` does not stop for a tolerated failure."""
        return replace(self._options, tolerates=lambda result: bool(self.reason_tolerated(result)))

    def reason_tolerated(self, result: Result) -> str:
        """Returns why a failure is tolerated; empty if it is not."""
        waiver = self._waivers.get(result.id)
        if waiver is not None and waivers.state_of(waiver, result, today=self._today).tolerates:
            return f"waived {waiver.terms}"
        cover = self._covered_by.get(result.id)
        counts = result.status in (Status.FAILED, Status.WARNED, Status.ERROR)
        if counts and waiver is None and cover is not None and cover.expires >= self._today:
            # Whether the waived failure itself comes back is known only at the end: `apply` decides then.
            return f"waived with {cover.id} {cover.terms}"
        old = self._known.only_new and change_of(self._before.get(result.id), result) is Kind.STILL_FAILING
        return f"failed in {self._known.baseline_name} too" if old else ""

    def apply(self, report: Report) -> Report:
        """Returns the report with the waivers and with the comparison to the baseline."""
        known = self._known
        report = replace(
            report,
            waivers=waivers.check_waivers(known.waivers, report.results, _all_behaviours(), today=self._today),
            waivers_file=known.waivers_file,
            only_new=known.only_new,
        )
        if known.baseline is None:
            return report
        names = (known.baseline_name, "this run")
        return replace(report, comparison=compare(known.baseline, report, names=names))


def _all_behaviours() -> Catalogue:
    """Returns the behaviours of all lanes: a waiver may name a behaviour of another lane than this run's."""
    return replace(catalogue.load(), entries=lanes.entries())
