"""Figures that a lane adds to a run's report and progress: protocols that every reporter renders in its own way.

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
    """The effect of a lane's figures on the exit code. They never change the verdict, which is about the contract."""

    NONE = "none"
    FAILED = "failed"
    """The exit code is 1: a limit set by the user was exceeded."""
    INCONCLUSIVE = "inconclusive"
    """The exit code of a conformant run is 3: a limit set by the user could not be checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a lane's figures: a title of one word, lines of text, and a table."""

    title: str
    lines: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    """The headings of the table. The first column is text, the others are numbers."""
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCheck:
    """A limit set by the user that the run exceeded. JUnit shows it as a failed test case."""

    kind: str
    """The kind of limit: `budget`."""
    name: str
    message: str


class LaneFigures(Protocol):
    """The measurements of a lane in one run, as a frozen value."""

    @property
    def lane(self) -> str:
        """The lane's name, and the key of the figures in report.json."""

    @property
    def about(self) -> str:
        """A short description of the lane."""

    @property
    def headline(self) -> str:
        """An addition to the verdict, such as `over budget`. May be empty."""

    @property
    def effect(self) -> Effect:
        """The effect of the figures on the exit code."""

    @property
    def sections(self) -> tuple[Section, ...]:
        """The figures as text and tables."""

    @property
    def failed_checks(self) -> tuple[FailedCheck, ...]:
        """The user's limits that the run exceeded."""

    @property
    def repeat_options(self) -> tuple[str, ...]:
        """The command line options that repeat the run, without lane, target and seed."""

    def as_json(self) -> Mapping[str, Any]:
        """Returns the figures as JSON types."""


FiguresReader: TypeAlias = Callable[[object, str], LaneFigures]
"""Reads figures back from their JSON value; the string is its place in the record. Raises Malformed."""


class LaneProgress(Protocol):
    """The progress of a lane's run, as a frozen value. Shown during the run and written to events.ndjson."""

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
        """Returns the progress as JSON types."""
