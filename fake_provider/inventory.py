"""What a core keeps, and what of it changed since it was last saved."""

import heapq
from collections.abc import Sequence
from itertools import takewhile
from operator import attrgetter

from fake_provider import revision
from fake_provider.fence import Token
from fake_provider.machine import Machine
from fake_provider.store import MarkKey, Snapshot


class Inventory:
    """Machines, marks, counters, and when what falls due. Changes are saved, or undone, in one piece."""

    def __init__(self) -> None:
        self.machines: dict[str, Machine] = {}  # in the order of their last changes
        self.marks: dict[MarkKey, Token] = {}
        self.origin = revision.new_origin()
        self.operations = 0
        self.revision = 0
        self._agenda: list[tuple[float, str, str]] = []  # when, machine, operation
        self._before: dict[str, Machine | None] = {}  # what changed since the last save, as it was
        self._marks_before: dict[MarkKey, Token | None] = {}

    def put(self, machine: Machine) -> None:
        """Make this the machine under its id."""
        known = self.machines.get(machine.id)
        self._before.setdefault(machine.id, known)
        if known and known.revision != machine.revision:
            del self.machines[machine.id]
        self.machines[machine.id] = machine

    def oldest_first(self, since: int) -> Sequence[Machine]:
        """The machines whose last change is not older than a revision, in the order of these changes."""
        recent = takewhile(lambda machine: machine.revision >= since, reversed(self.machines.values()))
        return list(recent)[::-1]

    def mark(self, key: MarkKey, token: Token) -> None:
        """Make this the mark under its key."""
        self._marks_before.setdefault(key, self.marks.get(key))
        self.marks[key] = token

    def schedule(self, when: float, machine: Machine, operation_id: str) -> None:
        """Have word from the operation at that time."""
        heapq.heappush(self._agenda, (when, machine.id, operation_id))

    def due(self, now: float) -> tuple[float, str, str] | None:
        """Take the next word that is due by now off the agenda: when, from which machine and operation."""
        return heapq.heappop(self._agenda) if self._agenda and self._agenda[0][0] <= now else None

    def next_due(self) -> float | None:
        """When the next word is due; None where nothing is under way."""
        return self._agenda[0][0] if self._agenda else None

    def reschedule(self) -> None:
        """Work out the agenda anew from the machines that are on their way (DUR-3)."""
        self._agenda = []
        for machine in self.machines.values():
            if machine.moving and machine.operation:
                self.schedule(machine.operation.due, machine, machine.operation.id)

    def change(self) -> Snapshot | None:
        """What changed since the last save; None where nothing did."""
        if not self._before and not self._marks_before:
            return None
        return Snapshot(
            origin=self.origin,
            operations=self.operations,
            revision=self.revision,
            machines={key: self.machines[key] for key in self._before},
            marks={key: self.marks[key] for key in self._marks_before},
        )

    def saved(self) -> None:
        """Say that the change is saved."""
        self._before, self._marks_before = {}, {}

    def undo(self) -> None:
        """Take back what changed since the last save; the counters never go back."""
        for machine_id, machine in self._before.items():
            if machine:
                self.machines[machine_id] = machine
        self._sort()
        for key, mark in self._marks_before.items():
            if mark:
                self.marks[key] = mark
            else:
                del self.marks[key]
        self.saved()
        self.reschedule()

    def restore(self, snapshot: Snapshot) -> None:
        """Be as the snapshot says (DUR-1)."""
        self.machines, self.marks = dict(snapshot.machines), dict(snapshot.marks)
        self._sort()
        self.origin, self.operations = snapshot.origin, snapshot.operations
        self.revision = snapshot.revision
        self.reschedule()

    def _sort(self) -> None:
        in_order = sorted(self.machines.values(), key=attrgetter("revision"))
        self.machines = {machine.id: machine for machine in in_order}
