"""Providers that lose something in a kill: what they had at rest, marks, operation ids, cursors (DUR-1, 2, 4, 5, 7)."""

from __future__ import annotations

import time
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fake_provider.errors import Code, Rejected
from fake_provider.fleet import fleet
from fake_provider.machine import EDGES, Host, State, Verb
from selftest.durable import Restarted, durable

if TYPE_CHECKING:
    from fake_provider.fence import Token
    from fake_provider.machine import Machine
    from fake_provider.request import Filter, Listing
    from fake_provider.store import Snapshot


class _Forgets(Restarted):
    """Not a mutant: finds its state changed when it starts again."""

    def machine(self, machine: Machine) -> Machine:
        """Returns a machine as it finds it."""
        return machine

    def restored_part(self, saved: Snapshot) -> Snapshot:
        return replace(saved, machines={each.id: self.machine(each) for each in saved.machines.values()})


# Marks.


@durable("DUR-1b")
class MarksAreInMemory(Restarted):
    """Keeps the marks in memory only."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        return replace(saved, marks={})


@durable("DUR-1b")
class OneMarkPerMachineIsSaved(Restarted):
    """Has one column for the mark of a machine, which the shard that calls last overwrites."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        last = {machine: (shard, machine) for shard, machine in saved.marks}
        return replace(saved, marks={key: saved.marks[key] for key in last.values()})


@durable("DUR-1b")
class MarksOfIdleMachinesAreDropped(Restarted):
    """Reads only the marks of bound machines when it starts, to start fast."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        bound = {each.id for each in saved.machines.values() if each.state is State.CONFIGURED}
        return replace(saved, marks={key: mark for key, mark in saved.marks.items() if key[1] in bound})


@durable("DUR-1b")
class OnlyTheEpochIsSaved(Restarted):
    """Saves the epoch of a mark, and begins with sequence 0 again."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        return replace(saved, marks={key: replace(mark, sequence=0) for key, mark in saved.marks.items()})


@durable("DUR-1b")
class OldMarksAreVacuumed(Restarted):
    """Keeps the newest eight marks when it starts, so that the table stays small."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        return replace(saved, marks=dict(list(saved.marks.items())[-8:]))


class _SavesLater(Restarted):
    """Not a mutant: saves some of its changes when some time has passed, or with a change that it saves at once."""

    seconds = 0.4

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._later: list[tuple[float, Snapshot]] = []
        self._begun = False
        super().__init__(*arguments, **options)
        self._begun = True

    def saves_later(self, change: Snapshot) -> bool:
        """Returns whether this change can wait."""
        raise NotImplementedError

    def commit(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now and self.store:
            self.store.save(self._later.pop(0)[1])
        change = self.inventory.unsaved_change()
        if change is not None and self.store and self._begun and self.saves_later(change):
            self._later.append((now + self.seconds, change))
            self.inventory.mark_saved()
            return
        if change is not None and self.store:
            for _, earlier in self._later:
                self.store.save(earlier)
            self._later.clear()
        super().commit()

    def next_due(self) -> float | None:
        due = super().next_due()
        later = self._later[0][0] if self._later else None
        return min(due, later) if due is not None and later is not None else due if later is None else later


@durable("DUR-1d")
class MarksOfRefusedCallsAreSavedLater(_SavesLater):
    """Saves a mark together with the change of its machine; a refused call changes no machine, so its mark waits."""

    def saves_later(self, change: Snapshot) -> bool:
        return not change.machines


@durable("DUR-1d")
class MarksOfRefusedCallsAreNotSaved(_SavesLater):
    """Saves a mark in the transaction of its call, which is rolled back if the call is refused."""

    seconds = 1e9

    def commit(self) -> None:
        change = self.inventory.unsaved_change()
        if change is not None and change.marks and not change.machines:
            self.inventory.mark_saved()
            return
        super().commit()

    def saves_later(self, change: Snapshot) -> bool:
        return False


class _AcksFirst(_SavesLater):
    """Not a mutant: answers a verb before its change is on disk."""

    verb = Verb.CREATE

    def saves_later(self, change: Snapshot) -> bool:
        return any(each.state is EDGES[self.verb].via for each in change.machines.values())


@durable("DUR-1e")
class CreateIsAckedFirst(_AcksFirst):
    """Answers a Create before it has written it."""


@durable("DUR-1e")
class ConfigureIsAckedFirst(_AcksFirst):
    """Answers a Configure before it has written it."""

    verb = Verb.CONFIGURE


@durable("DUR-1e")
class DrainIsAckedFirst(_AcksFirst):
    """Answers a Drain before it has written it."""

    verb = Verb.DRAIN


@durable("DUR-1e")
class DeleteIsAckedFirst(_AcksFirst):
    """Answers a Delete before it has written it."""

    verb = Verb.DELETE


@durable("DUR-1e")
class EverythingIsWrittenLater(_SavesLater):
    """Writes in the background, without fsync before the answer."""

    def saves_later(self, change: Snapshot) -> bool:
        return True


@durable("DUR-1g")
class BurstsAreWrittenTogether(_SavesLater):
    """Writes at once, but groups changes that are less than 20 ms apart."""

    def saves_later(self, change: Snapshot) -> bool:
        now = time.monotonic()
        near, self.kept["last"] = now - self.kept.get("last", 0.0) < 0.02, now
        return bool(near and change.machines)


# Operation ids.


@durable("DUR-1c")
class OperationsAreForgotten(_Forgets):
    """Does not know what has led a machine where it rests."""

    def machine(self, machine: Machine) -> Machine:
        return machine if machine.moving else replace(machine, operation=None, created_by="")


@durable("DUR-1c")
class DrainsAreForgotten(_Forgets):
    """Keeps no operation of a machine that has no cluster."""

    def machine(self, machine: Machine) -> Machine:
        return replace(machine, operation=None) if machine.state is State.IDLE else machine


class _RenamesOperations(_Forgets):
    """Not a mutant: has another name for each operation when it starts again."""

    def machine(self, machine: Machine) -> Machine:
        operation = machine.operation
        if operation is None or machine.moving:
            return machine
        return replace(machine, operation=replace(operation, id=f"{operation.id}-{self.kills}"))


@durable("DUR-1c")
class OperationsAreRenamed(_RenamesOperations):
    """Names the operations after the process that knows them."""


@durable("DUR-1c")
class OperationsAreForgottenInTheSecondKill(_RenamesOperations):
    """Has two generations of its log, and loses the older one in every second restart."""

    def machine(self, machine: Machine) -> Machine:
        return super().machine(machine) if self.kills % 2 == 0 else machine


@durable("DUR-2a")
class OperationsAreCountedFromOne(Restarted):
    """Counts its operations in memory."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        return replace(saved, operations=0)


@durable("DUR-2a")
class OperationsAreCountedAgainFromAHundredBack(Restarted):
    """Saves its counter rarely, and goes on where it has saved it last."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        return replace(saved, operations=max(0, saved.operations - 10))


# Machines at rest.


@durable("DUR-1a")
class MetadataIsInMemory(_Forgets):
    """Keeps the metadata of bindings in memory."""

    def machine(self, machine: Machine) -> Machine:
        return machine if machine.moving else replace(machine, shard_metadata={})


@durable("DUR-1a")
class EmptyValuesAreLost(_Forgets):
    """Does not save empty values of metadata."""

    def machine(self, machine: Machine) -> Machine:
        return replace(machine, shard_metadata={key: value for key, value in machine.shard_metadata.items() if value})


@durable("DUR-1a")
class MetadataIsNormalised(_Forgets):
    """Saves text in the normal form of its database."""

    def machine(self, machine: Machine) -> Machine:
        metadata = {key: unicodedata.normalize("NFC", value) for key, value in machine.shard_metadata.items()}
        return replace(machine, shard_metadata=metadata)


@durable("DUR-1a")
class BindingsAreLost(_Forgets):
    """Considers a machine to be unbound when it starts, because no process holds it any more."""

    def machine(self, machine: Machine) -> Machine:
        if machine.state is not State.CONFIGURED:
            return machine
        return replace(self.cleared_by_drain(machine), state=State.IDLE)


@durable("DUR-1a")
class ClustersAreLost(_Forgets):
    """Does not save the cluster of a binding."""

    def machine(self, machine: Machine) -> Machine:
        return replace(machine, cluster="") if machine.state is State.CONFIGURED else machine


@durable("DUR-1a")
class HostsAreRenamed(_Forgets):
    """Registers its hosts again when it starts, under other names."""

    def machine(self, machine: Machine) -> Machine:
        if machine.host is None:
            return machine
        ref = f"{machine.host.ref.partition('~')[0]}~{self.kills}"
        return replace(machine, host=Host(provider=machine.host.provider, ref=ref))


@durable("DUR-1a")
class InventoryIsReadFromItsFile(Restarted):
    """Reads its inventory from the file of its first start; marks and counters are saved."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        return replace(saved, machines={each.id: replace(each, revision=1) for each in fleet(len(saved.machines))})


@durable("DUR-1a")
class AMachineIsLost(Restarted):
    """Loses the last machine of its inventory in a restart."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        kept = dict(sorted(saved.machines.items())[:-1])
        return replace(saved, machines=kept)


@durable("DUR-1a")
class AMachineAppears(Restarted):
    """Adds a spare machine to its inventory at each start."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        spare = replace(fleet(1)[0], id=f"spare-{self.kills}", revision=saved.revision)
        return replace(saved, machines={**saved.machines, spare.id: spare})


@durable("DUR-1a")
class InstanceTypesAreLookedUpAgain(_Forgets):
    """Looks up the type of a machine when it starts, and takes the catalogue's first one."""

    def machine(self, machine: Machine) -> Machine:
        return replace(machine, instance_type=fleet(1)[0].instance_type, zone="eu-west-1z")


@durable("DUR-1h")
class StateIsRewrittenAtTheStart(Restarted):
    """Empties its file when it starts, and writes it again a moment later."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        begun, self.kept["begun"] = self.kept.get("begun", -1e9), time.monotonic()
        if time.monotonic() - begun < 0.5:
            self.inventory.marks.clear()


@durable("DUR-4a")
class NewShardsStartHigh(Restarted):
    """Keeps one highest epoch when it starts, and fences every shard below it."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        key = self.mark_key(verb, machine_id, token)
        if self.kills and key not in self.inventory.marks and token.epoch < 2 and not token.absent:
            raise self.fenced(verb, token)
        super().fence(verb, machine_id, token)


# FAILED machines.


@durable("DUR-1i", faults=True)
class FailedMachinesHeal(_Forgets):
    """Takes a machine with a cluster for bound when it starts, although its Configure has failed."""

    def machine(self, machine: Machine) -> Machine:
        if machine.state is not State.FAILED:
            return machine
        return replace(machine, state=State.CONFIGURED, cluster="fault-error", last_error="")


@durable("DUR-1i", faults=True)
class ErrorsAreLost(_Forgets):
    """Does not save why a machine has failed."""

    def machine(self, machine: Machine) -> Machine:
        return replace(machine, last_error="")


@durable("DUR-1i", faults=True)
class FailedMachinesGetAnotherHost(_Forgets):
    """Cleans up failed machines when it starts, with a new host and the old one forgotten."""

    def machine(self, machine: Machine) -> Machine:
        if machine.state is not State.FAILED:
            return machine
        return replace(
            machine, state=State.IDLE, last_error="", operation=None, host=Host(provider="fake", ref=f"i-{machine.id}")
        )


# Cursors.


class _BlindCursors(Restarted):
    """Not a mutant: takes a cursor for what it says, also one from its future."""

    def since(self, cursor: bytes) -> int:
        return int(cursor) if cursor.isdigit() else 0

    def encode_cursor(self, number: int) -> bytes:
        return str(number).encode()


@durable("DUR-5b")
class RevisionsAreCountedAgain(_BlindCursors):
    """Counts its revisions from one again when it starts."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        machines = {each.id: replace(each, revision=1) for each in saved.machines.values()}
        return replace(saved, revision=1, machines=machines)


@durable("DUR-5a")
class ChangesAreNotSaved(_BlindCursors):
    """Saves its counter of revisions, but not when each machine has changed."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        return replace(saved, machines={each.id: replace(each, revision=0) for each in saved.machines.values()})


@durable("DUR-5a")
class OldCursorsShowNothing(Restarted):
    """Answers a cursor of an earlier process with an empty delta."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        return replace(saved, origin=saved.origin + 1)

    def since(self, cursor: bytes) -> int:
        known = not cursor or self.decode_cursor(cursor) is not None
        return super().since(cursor) if known else self.inventory.revision


# The start.


class _Starts(Restarted):
    """Not a mutant: needs a moment after its start before it knows its state."""

    seconds = 1.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.ready_at = time.monotonic() + (self.seconds if self.kills else 0.0)

    @property
    def ready(self) -> bool:
        """True if it has its state."""
        return time.monotonic() >= self.ready_at


@durable("DUR-7a")
class ListIsServedBeforeTheStateIsRead(_Starts):
    """Serves while it still reads its state, and lists what it has read."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(machine, wanted) and (self.ready or machine.state is State.SPECULATIVE)


@durable("DUR-7a")
class ListIsServedWithoutBindings(_Starts):
    """Serves its inventory at once, and the bindings a moment later."""

    def shown_in_list(self, machine: Machine) -> Machine:
        bound = machine.state is State.CONFIGURED and not self.ready
        return replace(machine, state=State.IDLE, cluster="", shard_metadata={}) if bound else machine


@durable("DUR-7b")
class ServingIsSaidTooEarly(_Starts):
    """Says SERVING as soon as its port is open, and refuses all reads until it has its state."""

    def get(self, machine_id: str, now: float) -> Machine:
        self.check_ready()
        return super().get(machine_id, now)

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        self.check_ready()
        return super().list_machines(wanted, now)

    def check_ready(self) -> None:
        if not self.ready:
            raise Rejected(Code.UNAVAILABLE, "the state is being read")
