"""What every lane offers, and what a lane is given for a run.

A lane judges a target in its own way. Nothing outside its package names it: front ends turn its options into options of
the command line and of the configuration file, and reporters show its figures through `lane_figures`.
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
    from conformance.results.events import Event
    from conformance.results.lane_figures import FiguresReader
    from conformance.results.report import Report
    from conformance.rpc.target import Target
    from conformance.testkit.behaviour import Plan

S = TypeVar("S")
"""A lane's settings: a frozen value of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOption:
    """An option that means something in one lane only. Front ends make theirs of it."""

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
    """One run of a lane: what it is given beside its own settings."""

    target: Target
    options: Options
    ledger_at: Callable[[str], Path]
    """Returns the path of the ledger for the name of a run."""
    emit: Callable[[Event], None]
    stop: Stop
    plan: Plan = ()
    """The collected behaviours, for a lane that needs them."""


class Lane(Protocol[S]):
    """One way to judge a target."""

    @property
    def name(self) -> str:
        """The value of `--lane`, and the key of its figures in report.json."""

    @property
    def help(self) -> str:
        """What it does, in one line without a full stop."""

    @property
    def options(self) -> tuple[LaneOption, ...]:
        """Its own options."""

    @property
    def excluded(self) -> Collection[str]:
        """The shared options that mean nothing in it, by their long names."""

    @property
    def needs_plan(self) -> bool:
        """Whether it runs collected test functions. A lane that does not runs without pytest."""

    def entries(self) -> tuple[Entry, ...]:
        """Returns the catalogue entries of its behaviours, in the contract's order."""

    def configure(self, values: Mapping[str, Any]) -> S:
        """Returns its settings from the values of its options, by parameter name. Raises UsageError."""

    def run(self, settings: S, run: LaneRun) -> Coroutine[Any, Any, Report]:
        """Judges the target, returns all machines and reports.

        Raises TargetError if the target cannot be judged at all (then nothing was started), and UsageError if the
        ledger cannot be written. No value of a header is in anything that is emitted, returned or raised.
        """

    @property
    def read_figures(self) -> FiguresReader | None:
        """Reads its figures back from a record; None for a lane that adds none."""
