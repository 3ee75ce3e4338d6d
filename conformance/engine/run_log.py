"""The results of a run so far, and how long each behaviour kept its machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.results.report import Time
from conformance.results.result import Result, Status

if TYPE_CHECKING:
    from collections.abc import Collection

    from conformance.engine.report_builder import ReportBuilder
    from conformance.rpc.client import Client
    from conformance.testkit.behaviour import Behaviour


class RunLog:
    """Collects the results of a run, and emits an event for each."""

    def __init__(self, builder: ReportBuilder, client: Client) -> None:
        self._builder, self._began = builder, client.now()
        self.results: dict[str, Result] = {}
        """By the behaviour's id."""
        self.chains: dict[str, float] = {}
        """By the behaviour's id, the seconds from a machine in its original state until it is back in that state."""
        self.cut_short: str | None = None
        """The reason why a behaviour was not judged; None if all were, even if the run was stopped after that."""

    def finish(self, result: Result) -> None:
        """Adds the result of a behaviour."""
        self.results[result.id] = result
        self._builder.add(result)

    def error(self, behaviour: Behaviour, reason: str) -> None:
        """Adds a behaviour that could not be judged."""
        self.finish(Result(entry=behaviour.entry, status=Status.ERROR, reason=reason))

    def time(self, now: float, *, alone: Collection[str]) -> Time:
        """Returns the duration of the run and its critical path. Behaviours in `alone` ran one at a time."""
        longest = max((chain for name, chain in self.chains.items() if name not in alone), default=0.0)
        quiet = sum(chain for name, chain in self.chains.items() if name in alone)
        return Time(
            wall=round(now, 3),
            critical_path=round(min(now, self._began + longest + quiet), 3),
            sum=round(sum(self.chains.values()), 3),
        )
