"""The inventory of a core: machines, marks and counters, and the changes since the last save."""

import heapq
from collections.abc import Sequence
from itertools import takewhile
from operator import attrgetter

from fake_provider import revision
from fake_provider.fence import Token
from fake_provider.machine import Machine
from fake_provider.store import MarkKey, Snapshot


class Inventory:
    """Machines, marks, counters and due operations. Changes are saved or undone together."""

    def __init__(self) -> None:
        self.machines: dict[str, Machine] = {}  # in the order of their last changes: oldest_first relies on it
        self.marks: dict[MarkKey, Token] = {}
        self.origin = revision.new_origin()
        self.operations = 0
        self.revision = 0
        self.stopped = False
        """True if nothing has changed since a provider stopped in an orderly way."""
        self._schedule: list[tuple[float, str, str]] = []  # a heap of due time, machine id, operation id
        # The values that changed since the last save, as they were then.
        self._saved_machines: dict[str, Machine | None] = {}
        self._saved_marks: dict[MarkKey, Token | None] = {}
        self._saved_stopped = False

    def put(self, machine: Machine) -> None:
        """Stores the machine under its id."""
        previous = self.machines.get(machine.id)
        self._saved_machines.setdefault(machine.id, previous)
        if previous and previous.revision != machine.revision:
            del self.machines[machine.id]
        self.machines[machine.id] = machine
        self.stopped = False

    def oldest_first(self, since: int) -> Sequence[Machine]:
        """Returns the machines whose last change is not older than a revision, oldest change first."""
        recent = takewhile(lambda machine: machine.revision >= since, reversed(self.machines.values()))
        return list(recent)[::-1]

    def mark(self, key: MarkKey, token: Token) -> None:
        """Stores the mark under its key."""
        self._saved_marks.setdefault(key, self.marks.get(key))
        self.marks[key] = token

    def schedule(self, due: float, machine: Machine, operation_id: str) -> None:
        """Schedules the end of an operation at the due time, in seconds."""
        heapq.heappush(self._schedule, (due, machine.id, operation_id))

    def pop_due(self, now: float) -> tuple[float, str, str] | None:
        """Removes the first operation that is due by now; returns its due time, machine id and operation id."""
        return heapq.heappop(self._schedule) if self._schedule and self._schedule[0][0] <= now else None

    def next_due(self) -> float | None:
        """Returns the next due time in seconds; None if no operation is running."""
        return self._schedule[0][0] if self._schedule else None

    def reschedule(self) -> None:
        """Rebuilds the schedule from the machines that are in transition (DUR-3)."""
        self._schedule = []
        for machine in self.machines.values():
            self._schedule_end(machine)

    def _schedule_end(self, machine: Machine) -> None:
        if machine.moving and machine.operation:
            self.schedule(machine.operation.due, machine, machine.operation.id)

    def unsaved_change(self) -> Snapshot | None:
        """Returns the changes since the last save; None if nothing changed."""
        if not self._saved_machines and not self._saved_marks and self.stopped == self._saved_stopped:
            return None
        return Snapshot(
            origin=self.origin,
            operations=self.operations,
            revision=self.revision,
            stopped=self.stopped,
            machines={key: self.machines[key] for key in self._saved_machines},
            marks={key: self.marks[key] for key in self._saved_marks},
        )

    def mark_saved(self) -> None:
        """Records that all changes are saved."""
        self._saved_machines, self._saved_marks = {}, {}
        self._saved_stopped = self.stopped

    def undo(self) -> None:
        """Undoes the changes since the last save; the counters never decrease."""
        for machine_id, machine in self._saved_machines.items():
            if machine:
                self.machines[machine_id] = machine
        self._sort_by_revision()
        for key, mark in self._saved_marks.items():
            if mark:
                self.marks[key] = mark
            else:
                del self.marks[key]
        self.stopped = self._saved_stopped
        self.mark_saved()
        self.reschedule()

    def restore(self, snapshot: Snapshot) -> None:
        """Replaces the content with that of the snapshot (DUR-1)."""
        self.machines, self.marks = dict(snapshot.machines), dict(snapshot.marks)
        self._sort_by_revision()
        self._take_counters(snapshot)
        self.reschedule()

    def merge(self, changes: Snapshot) -> None:
        """Takes over what another replica has saved (ROL-4); all changes here must be saved already."""
        for machine in sorted(changes.machines.values(), key=attrgetter("revision")):
            self.machines.pop(machine.id, None)
            self.machines[machine.id] = machine
            self._schedule_end(machine)
        self.marks.update(changes.marks)
        self._take_counters(changes)

    def _take_counters(self, snapshot: Snapshot) -> None:
        self.origin, self.operations = snapshot.origin, snapshot.operations
        self.revision, self.stopped = snapshot.revision, snapshot.stopped
        self.mark_saved()

    def _sort_by_revision(self) -> None:
        in_order = sorted(self.machines.values(), key=attrgetter("revision"))
        self.machines = {machine.id: machine for machine in in_order}
