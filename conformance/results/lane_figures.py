"""What a lane adds to a run's report and progress: protocols that every reporter renders in its own way.

A report holds at most one `LaneFigures`. Reporters know these protocols only, so a new lane changes no reporter.
Figures and progress contain the kit's own words and numbers only, never text from the provider: they are not redacted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping


class Effect(StrEnum):
    """What a lane's figures do to the exit code. They never change the verdict, which is about the contract."""

    NONE = "none"
    FAILED = "failed"
    """The exit code is 1: a promise of the user was broken."""
    INCONCLUSIVE = "inconclusive"
    """A conformant run has exit code 3: a promise could not be checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a lane's figures: a title of one word, lines of text, and a table."""

    title: str
    lines: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    """The heads of the table. The first column is text, the others are numbers."""
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCheck:
    """A promise of the user that the run broke, which JUnit shows as a failed test case."""

    kind: str
    """What was promised: `budget`."""
    name: str
    message: str


class LaneFigures(Protocol):
    """What a lane measured in one run, as a frozen value."""

    @property
    def lane(self) -> str:
        """The lane's name, and the key of the figures in report.json."""

    @property
    def about(self) -> str:
        """What the lane does, in a few words."""

    @property
    def headline(self) -> str:
        """What follows the verdict: `over budget`. Empty if there is nothing to add."""

    @property
    def effect(self) -> Effect:
        """What the figures do to the exit code."""

    @property
    def sections(self) -> tuple[Section, ...]:
        """The figures for people."""

    @property
    def failed_checks(self) -> tuple[FailedCheck, ...]:
        """The promises that the run broke."""

    @property
    def repeat_options(self) -> tuple[str, ...]:
        """The command line options, apart from lane, target and seed, that repeat the run."""

    def as_json(self) -> Mapping[str, Any]:
        """Returns the figures as JSON's own types."""


FiguresReader: TypeAlias = Callable[[object, str], LaneFigures]
"""Reads figures back from their JSON value; the string is its place in the record. Raises Malformed."""


class LaneProgress(Protocol):
    """How far a lane's run is, as a frozen value. Shown while it runs and written to events.ndjson."""

    @property
    def at(self) -> float:
        """Seconds on the run's clock."""

    @property
    def line(self) -> str:
        """The progress in one line."""

    @property
    def table(self) -> Section:
        """Details for a terminal, which is updated in place."""

    def as_json(self) -> Mapping[str, Any]:
        """Returns the progress as JSON's own types."""
