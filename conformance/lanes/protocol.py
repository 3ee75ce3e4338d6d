"""The protocol of a lane, and the inputs of one run of a lane.

A lane judges a target in its own way. No module outside its package names it: front ends turn its options into options
of the command line and of the configuration file, and reporters show its figures through `lane_figures`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Mapping
    from pathlib import Path

    from conformance.core.catalogue import Entry
    from conformance.core.stop import Stop
    from conformance.engine.options import Options
    from conformance.fleet.backend import Backend
    from conformance.fleet.provider import Provider
    from conformance.fleet.repair import Repair
    from conformance.results.events import Event
    from conformance.results.lane_figures import FiguresReader
    from conformance.results.report import Report
    from conformance.rpc.target import Target
    from conformance.testkit.behaviour import Plan

S = TypeVar("S")
"""The type of a lane's settings, a frozen value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOption:
    """An option that applies to one lane only. Front ends build their own option from it."""

    name: str
    """The long name without dashes: `soak`."""
    metavar: str
    help: str
    parse: Callable[[str], object]
    """Checks and converts one value. Raises UsageError."""
    default: str | None = None
    multiple: bool = False

    @property
    def parameter(self) -> str:
        """The name in Python: `max_rate` for `max-rate`."""
        return self.name.replace("-", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRun:
    """The inputs of one run of a lane, beside its own settings."""

    target: Target
    options: Options
    ledger_at: Callable[[str], Path]
    """Returns the path of the ledger for a run's name."""
    emit: Callable[[Event], None]
    stop: Stop
    provider: Provider | None = None
    """The provider, if the kit may stop and start it. It serves when the lane begins."""
    backend: Backend | None = None
    """The provider's backend, if the kit may ask it for its hosts."""
    repair: Repair | None = None
    """The way to clean FAILED machines up, if the user gave one."""
    plan: Plan = ()
    """The chosen behaviours, for a lane that has a plan."""

    def judge_plan(self, settings: object = None) -> Coroutine[Any, Any, Report]:
        """Judges the target by the behaviours of the plan, in the engine; they see `settings` as `trial.settings`."""
        from conformance.engine import run as engine_run

        return engine_run.run(
            self.plan,
            self.target,
            options=self.options,
            ledger_at=self.ledger_at,
            emit=self.emit,
            stop=self.stop,
            provider=self.provider,
            backend=self.backend,
            repair=self.repair,
            settings=settings,
        )


class Lane(Protocol[S]):
    """One way to judge a target."""

    @property
    def name(self) -> str:
        """The value of `--lane`, and the key of its figures in report.json."""

    @property
    def help(self) -> str:
        """A description in one line without a full stop."""

    @property
    def options(self) -> tuple[LaneOption, ...]:
        """Its own options."""

    @property
    def excluded(self) -> Collection[str]:
        """The long names of the shared options that do not apply to it."""

    @property
    def in_all(self) -> Mapping[str, object]:
        """The defaults that differ if all lanes run in turn, by parameter name: they bound the whole bill and time."""

    @property
    def needs_plan(self) -> bool:
        """True if pytest collects its behaviours. Other lanes run without pytest."""

    def entries(self) -> tuple[Entry, ...]:
        """Returns the catalogue entries of its behaviours, in the contract's order."""

    def plan(self, settings: S) -> Plan:
        """Returns all its behaviours that the engine judges one by one; () for a lane that judges in another way."""

    def configure(self, values: Mapping[str, Any]) -> S:
        """Returns its settings from the values of its options, by parameter name. Raises UsageError."""

    def run(self, settings: S, run: LaneRun) -> Coroutine[Any, Any, Report]:
        """Judges the target, returns all machines and reports.

        Raises TargetError if the target cannot be judged at all (then no machine was started), and UsageError if
        the ledger cannot be written. Events, the report and errors contain no header values.
        """

    @property
    def read_figures(self) -> FiguresReader | None:
        """The reader of its figures in a record; None for a lane without figures."""
