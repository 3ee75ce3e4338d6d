"""Providers whose long-lived state changes by itself: machines, bindings, marks, operation ids and cursors (LIF-3)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.fence import Token
from fake_provider.machine import EDGES, Host, State, Verb
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.machine import Machine
    from fake_provider.request import Filter, Listing, Request
    from fake_provider.store import MarkKey

HOLD = 10.0
"""The value of `--hold` with which these providers are judged."""


class _Ages(Core):
    """Not a mutant: changes machines that have rested for some seconds since their last transition."""

    after, state = 5.0, State.IDLE
    now = 0.0

    def aged(self, machine: Machine) -> Machine:
        """Returns the machine as it is after that time."""
        raise NotImplementedError

    def advance(self, now: float) -> None:
        super().advance(now)
        self.now = now
        for machine in list(self.machines.values()):
            operation = machine.operation
            if machine.state is self.state and operation and operation.due < now - self.after:
                aged = self.aged(machine)
                if aged != machine:
                    self.put(aged)
        self.commit()


@mutant("LIF-3", "LIF-3c", hold=HOLD)
class IdleMachinesAreReaped(_Ages):
    """Returns a machine to the cloud after eight seconds without work, to save money."""

    after = 8.0

    def aged(self, machine: Machine) -> Machine:
        return replace(self.cleared_by_delete(machine), state=State.SPECULATIVE, operation=None)


@mutant("LIF-3", "LIF-3c", hold=HOLD)
class BindingsAreLeases(_Ages):
    """Takes a binding for a lease of seven seconds, and unbinds a machine whose lease was not renewed."""

    after, state = 7.0, State.CONFIGURED

    def aged(self, machine: Machine) -> Machine:
        return replace(self.cleared_by_drain(machine), state=State.IDLE)


@mutant("LIF-6", "LIF-6a", hold=HOLD, whole=True)
class ClusterIsCached(_Ages):
    """Keeps the cluster of a binding in a cache for five seconds."""

    state = State.CONFIGURED

    def aged(self, machine: Machine) -> Machine:
        return replace(machine, cluster="")


@mutant("MET-1", "MET-1a", hold=HOLD, whole=True)
class MetadataIsCached(_Ages):
    """Keeps the metadata of a binding in a cache for five seconds."""

    state = State.CONFIGURED

    def aged(self, machine: Machine) -> Machine:
        return replace(machine, shard_metadata={})


@mutant("MET-1", "MET-1a", hold=HOLD, whole=True)
class MetadataIsCompacted(_Ages):
    """Drops empty values when it compacts its metadata, one second after a binding."""

    after, state = 1.0, State.CONFIGURED

    def aged(self, machine: Machine) -> Machine:
        kept = {key: value for key, value in machine.shard_metadata.items() if value}
        return replace(machine, shard_metadata=kept)


@mutant("LIF-5", "LIF-5a", hold=HOLD, whole=True)
class HostsAreRegisteredAgain(_Ages):
    """Registers each host again after five seconds, under another name."""

    def aged(self, machine: Machine) -> Machine:
        if machine.host is None or machine.host.ref.endswith("-again"):
            return machine
        return replace(machine, host=Host(provider=machine.host.provider, ref=f"{machine.host.ref}-again"))


@mutant("SHP-4", "SHP-4a", hold=HOLD, whole=True)
class IdleMachinesComplain(_Ages):
    """Shows an error on a machine that has had no work for eight seconds."""

    after = 8.0

    def aged(self, machine: Machine) -> Machine:
        return replace(machine, last_error="no cluster has bound this machine")


class _OperationsAge(_Ages):
    """Not a mutant: does not know an operation again after some time."""

    def aged(self, machine: Machine) -> Machine:
        return machine

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        found = super().retry_of(verb, machine, request)
        operation = machine.operation
        known = operation and (machine.moving or self.now - operation.due <= self.after)
        return found if known or verb is Verb.CREATE else None


@mutant("OPS-2", "OPS-2b", hold=HOLD, whole=True)
class OldConfigureStartsAgain(_OperationsAge):
    """Forgets an operation one second after its end, and configures the machine once more if the call is repeated."""

    after = 1.0

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if not (verb is Verb.CONFIGURE and machine.state is State.CONFIGURED and self.same_binding(machine, request)):
            super().check_edge(verb, machine, request)

    def same_binding(self, machine: Machine, request: Request) -> bool:
        return machine.operation is not None and self.same_target(machine.operation, request)


@mutant(
    "OPS-2",
    "OPS-2c",
    also=("COD-5a", "COD-5b", "COD-5c", "COD-5d", "COD-5e"),
    because="these repeat an old Configure to see whether the server still answers",
    hold=HOLD,
    whole=True,
)
class OldOperationsAreUnknown(_OperationsAge):
    """Forgets an operation eight seconds after its end, and refuses a retry."""

    after = 8.0


@mutant("OPS-2", "OPS-2b", hold=HOLD, whole=True)
class OldOperationsAreRenamed(_OperationsAge):
    """Keeps the names of operations for five seconds, and gives a retry another name after that."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        found = super().retry_of(verb, machine, request)
        if found is None and verb is Verb.CONFIGURE and machine.state is EDGES[verb].target:
            known = machine.operation is not None and self.same_target(machine.operation, request)
            return self.new_operation_id(verb, machine) if known else None
        return found


class _MarksAge(Core):
    """Not a mutant: forgets marks."""

    now = 0.0

    def advance(self, now: float) -> None:
        super().advance(now)
        self.now = now

    @property
    def used(self) -> dict[MarkKey, float]:
        used: dict[MarkKey, float] = self.__dict__.setdefault("last_used", {})
        return used

    def forgets(self, key: MarkKey) -> bool:
        """Returns whether the mark is forgotten by now."""
        raise NotImplementedError

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        key = self.mark_key(verb, machine_id, token)
        if key in self.inventory.marks and self.forgets(key):
            self.inventory.mark(key, Token(shard=token.shard, epoch=-1))
        self.used.pop(key, None)
        self.used[key] = self.now
        super().fence(verb, machine_id, token)


@mutant("FEN-12", "FEN-12f", hold=HOLD)
class MarksExpireAfterEightSeconds(_MarksAge):
    """Keeps the mark of a shard for eight seconds after its last call."""

    def forgets(self, key: MarkKey) -> bool:
        return self.now - self.used.get(key, self.now) > 8


@mutant("FEN-12", "FEN-12f", hold=HOLD)
class MarksExpireAndRefusalsAreInternal(MarksExpireAfterEightSeconds):
    """Keeps the mark of a shard for eight seconds, and answers INTERNAL to calls that have no edge."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        return Rejected(Code.INTERNAL, super().no_edge(verb, machine).message)


@mutant("FEN-12", "FEN-12c")
class MarksOf200Shards(_MarksAge):
    """Keeps the marks of the last 200 shards."""

    def forgets(self, key: MarkKey) -> bool:
        return key not in [*self.used][-200:]


@mutant("LST-6", "LST-6a", whole=True)
class ChangesOfTheLast100(Core):
    """Keeps the last 100 changes, and answers an older cursor with no machine."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        since = self.since(wanted.since)
        return replace(listing, machines=[]) if 0 < since < self.inventory.revision - 100 else listing


class _CursorsAge(Core):
    """Not a mutant: knows the age of each cursor."""

    def age(self, cursor: bytes, now: float) -> float:
        """Returns the seconds since the cursor was given."""
        given: dict[bytes, float] = self.__dict__.setdefault("given", {})
        return now - given.get(cursor, now)

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        given: dict[bytes, float] = self.__dict__.setdefault("given", {})
        given.setdefault(bytes(listing.revision), now)
        return listing


@mutant("LST-6", "LST-6a", hold=HOLD)
class OldCursorsTellNothing(_CursorsAge):
    """Answers a cursor that is older than five seconds with no machine."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        return replace(listing, machines=[]) if self.age(bytes(wanted.since), now) > 5 else listing


@mutant("LST-6", "LST-6a", hold=HOLD)
class OldCursorsAreRefused(_CursorsAge):
    """Refuses a cursor that is older than eight seconds."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        if self.age(bytes(wanted.since), now) > 8:
            raise Rejected(Code.INVALID_ARGUMENT, "the cursor has expired")
        return super().list_machines(wanted, now)
