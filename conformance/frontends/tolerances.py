"""Which failures of a run are tolerated: those with a waiver, and those that the baseline has too."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from conformance import lanes
from conformance.core import catalogue
from conformance.results import waivers
from conformance.results.compare import change_of, compare
from conformance.results.comparison import Kind

if TYPE_CHECKING:
    from conformance.core.catalogue import Catalogue
    from conformance.engine.options import Options
    from conformance.frontends.settings import Settings
    from conformance.results.report import Report
    from conformance.results.result import Result


class Tolerances:
    """The tolerated failures as of the run's first day: no waiver expires while the run lasts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._today = datetime.now(UTC).date()
        self._waivers = {each.id: each for each in settings.waivers}
        self._before = {result.id: result for result in settings.baseline.results} if settings.baseline else {}

    def options(self) -> Options:
        """Returns the options of the run, in which `--fail-fast` does not stop for a tolerated failure."""
        return replace(self._settings.options, tolerates=lambda result: bool(self.expected(result)))

    def expected(self, result: Result) -> str:
        """Returns why a failure is tolerated; empty if it is not."""
        one = self._waivers.get(result.id)
        if one is not None and waivers.state_of(one, result, today=self._today).tolerates:
            return f"waived {one.terms}"
        old = self._settings.only_new and change_of(self._before.get(result.id), result) is Kind.STILL_FAILING
        return f"failed in {self._settings.baseline_name} too" if old else ""

    def applied(self, report: Report) -> Report:
        """Returns the report with the waivers and with the comparison to the baseline."""
        settings = self._settings
        report = replace(
            report,
            waivers=waivers.check_waivers(settings.waivers, report.results, _known(), today=self._today),
            waivers_file=settings.waivers_file,
            only_new=settings.only_new,
        )
        if settings.baseline is None:
            return report
        names = (settings.baseline_name, "this run")
        return replace(report, comparison=compare(settings.baseline, report, names=names))


def _known() -> Catalogue:
    """Returns the behaviours of all lanes: a waiver of a behaviour that another lane judges is not unknown."""
    return replace(catalogue.load(), entries=lanes.entries())
