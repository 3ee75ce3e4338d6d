"""Forwards the events of a run to its listeners; all front ends use it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from conformance.results import events

if TYPE_CHECKING:
    from conformance.frontends.tolerances import Tolerances
    from conformance.results.report import Report

Listener: TypeAlias = Callable[[events.Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerError:
    """A listener that was dropped, and the error that it raised."""

    listener: Listener
    error: Exception | SystemExit

    @property
    def text(self) -> str:
        """The name of the listener and its error, in one line."""
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(self.listener).__name__)  # ReportDirectory -> report directory
        return f"{words.lower()}: {self.error}"


class Dispatcher:
    """Forwards every event to all listeners, and applies the run's tolerances to the final report.

    A listener that raises is dropped and the run continues, because its machines must be cleaned up in any case.
    """

    def __init__(self, tolerances: Tolerances, *listeners: Listener) -> None:
        self.report: Report | None = None
        """The report, once the run has finished."""
        self.ledger: str | None = None
        """The path of the ledger, once the run has started."""
        self.errors: list[ListenerError] = []
        self._tolerances = tolerances
        self._listeners = list(listeners)

    def add(self, listener: Listener) -> None:
        """Adds a listener, which receives all events from now on."""
        self._listeners.append(listener)

    def __call__(self, event: events.Event) -> None:
        """Forwards one event."""
        match event:
            case events.RunStarted():
                self.ledger = event.ledger
            case events.RunFinished():
                self.report = self._tolerances.apply(event.report)
                event = events.RunFinished(report=self.report)
            case _:
                pass
        for listener in list(self._listeners):
            try:
                listener(event)
            except (Exception, SystemExit) as error:  # rich exits when the reader of its output has closed the pipe
                self._listeners.remove(listener)
                self.errors.append(ListenerError(listener=listener, error=error))
