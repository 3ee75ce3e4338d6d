"""What has come of a run so far: results, notes, and how long each behaviour kept its machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance import events
from conformance.report import Result, Status, Time

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from conformance.behaviour import Behaviour
    from conformance.bill import Meter
    from conformance.client import Client


class RunLog:
    """Collects what comes of a run, and emits an event for each result and each note."""

    def __init__(self, client: Client, meter: Meter, emit: Callable[[events.Event], None]) -> None:
        self._client, self._meter = client, meter
        self._began = client.now()
        self.emit = emit
        self.results: dict[str, Result] = {}
        """By the behaviour's id."""
        self.notes: list[str] = []
        self.chains: dict[str, float] = {}
        """By the behaviour's id, the seconds from a machine in its original state until it is back there."""
        self.cut: str | None = None
        """Why something was not judged; None if everything was, even if the run was stopped after that."""

    def finish(self, result: Result) -> None:
        """Adds the result of a behaviour."""
        self.results[result.id] = result
        now = self._client.now()
        bill = self._meter.bill(now)
        self.emit(events.BehaviourFinished(result=result, at=now, bill=bill, rpcs=self._client.count))

    def error(self, behaviour: Behaviour, reason: str) -> None:
        """Adds a behaviour that could not be judged."""
        self.finish(Result(entry=behaviour.entry, status=Status.ERROR, reason=reason))

    def note(self, text: str) -> None:
        """Adds a note for the user."""
        self.notes.append(text)
        self.emit(events.Noted(at=self._client.now(), text=text))

    def time(self, now: float, *, alone: Collection[str]) -> Time:
        """Returns how long the run took, and has to take; behaviours that run `alone` do so one after the other."""
        longest = max((chain for name, chain in self.chains.items() if name not in alone), default=0.0)
        quiet = sum(chain for name, chain in self.chains.items() if name in alone)
        return Time(
            wall=round(now, 3),
            critical_path=round(min(now, self._began + longest + quiet), 3),
            sum=round(sum(self.chains.values()), 3),
        )
