"""What a run's failures are held against: the waivers that were read, and what failed in an earlier run already."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from conformance import catalogue, waiver
from conformance.compare import became, compare
from conformance.comparison_values import Kind
from conformance.scale import behaviours

if TYPE_CHECKING:
    from conformance.catalogue import Catalogue
    from conformance.report import Report
    from conformance.result import Result
    from conformance.run_options import Options
    from conformance.settings import Settings


class Allowance:
    """What the settings tolerate, from the moment that the run begins: a day that ends meanwhile ends no waiver."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._today = datetime.now(UTC).date()
        self._waivers = {each.id: each for each in settings.waivers}
        self._before = {result.id: result for result in settings.baseline.results} if settings.baseline else {}

    def options(self) -> Options:
        """The engine's options: `--fail-fast` does not stop for what is no surprise."""
        return replace(self._settings.options, tolerates=lambda result: bool(self.expected(result)))

    def expected(self, result: Result) -> str:
        """Why a failure is no surprise; empty where it is one."""
        one = self._waivers.get(result.id)
        if one is not None and waiver.standing(one, result, today=self._today).tolerates:
            return f"waived {one.terms}"
        old = self._settings.only_new and became(self._before.get(result.id), result) is Kind.STILL_FAILING
        return f"failed in {self._settings.baseline_name} too" if old else ""

    def applied(self, report: Report) -> Report:
        """The report with what is tolerated, and with what is new since the run that this one is held against."""
        settings = self._settings
        report = replace(
            report,
            waivers=waiver.judged(settings.waivers, report.results, _known(), today=self._today),
            waivers_file=settings.waivers_file,
            only_new=settings.only_new,
        )
        if settings.baseline is None:
            return report
        names = (settings.baseline_name, "this run")
        return replace(report, comparison=compare(settings.baseline, report, names=names))


def _known() -> Catalogue:
    """The behaviours of all lanes: a waiver of what another lane judges is none of something unknown."""
    known = catalogue.load()
    return replace(known, entries=(*known.entries, *behaviours.load()))
