"""Providers whose defect shows only in a crowd of machines, shards, operations or calls at once.

The scale lane must find them, as those in `scale_mutants`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import Host, Machine, Operation, State, Verb
from fake_provider.request import Configure, Filter, Listing, Request
from selftest.scale_mutants import churned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fake_provider.fence import Token
    from fake_provider.store import MarkKey


@churned("FEN-12", operations=50)
class KeepsAThousandMarks(Core):
    """Keeps the marks of the last 1,000 shards in a cache."""

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        self.inventory.marks.pop(key, None)
        super().raise_mark(verb, key, token)
        while len(self.inventory.marks) > 1_000:
            del self.inventory.marks[next(iter(self.inventory.marks))]


@churned("OPS-3")
class CountsToAThousand(Core):
    """Starts again with the first operation id after a thousand operations."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        serial = super().new_operation_id(verb, machine)
        return f"op-{int(serial.rpartition('-')[2]) % 1_000:03}"


@churned("LST-1", fleet=600, operations=50)
class ListsFiveHundred(Core):
    """Shows at most 500 machines in a List, whose cap it takes for a missing one."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return machines[: limit or 500]


@churned("LST-2", fleet=600, operations=50)
class HasPagesOfFiveHundred(Core):
    """Cuts a cap of more than 500 to 500."""

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return machines[: min(limit, 500)] if limit else machines


@churned("LST-1", fleet=300, operations=50)
class IndexesStatesInAByte(Core):
    """Filters by an index of states that holds the first 256 machines only."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        known = not wanted.states or int(machine.id.rpartition("-")[2]) <= 256
        return known and super().matches(machine, wanted)


@churned("LST-1", fleet=300, operations=50)
class ListsOnePartitionOnly(Core):
    """Without a filter, reads only the first of two partitions of 256 machines each."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        if wanted.states or wanted.since:
            return listing
        first = [machine for machine in listing.machines if int(machine.id.rpartition("-")[2]) <= 256]
        return Listing(machines=first, revision=listing.revision)


@churned("LST-4", fleet=300, operations=50)
class GetReadsOnePartitionOnly(Core):
    """Get does not find free slots after the 256th."""

    def get(self, machine_id: str, now: float) -> Machine:
        machine = super().get(machine_id, now)
        if (
            machine.state is State.SPECULATIVE
            and machine.revision <= len(self.machines)
            and machine.id > "machine-0256"
        ):
            raise Rejected(Code.NOT_FOUND, "there is no such machine")
        return machine


@churned("LST-6", operations=600)
class RemembersTwoHundredChanges(Core):
    """Answers a delta from a queue of the newest 200 changes, even if its revision is older than all of them."""

    def changed(self, machine: Machine, since: int) -> bool:
        oldest = self.inventory.revision - 200 if since else 0
        return machine.revision > max(since, oldest)


@churned("OPS-3", at_once=48, latency="500ms..900ms", operations=400)
class NumbersThirtyTwoOperations(Core):
    """Gives the 33rd operation that runs at once the id of the first."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        running = [each.operation.id for each in self.machines.values() if each.moving and each.operation]
        return running[0] if len(running) >= 32 else super().new_operation_id(verb, machine)


@churned("LIF-1", at_once=48, latency="500ms..900ms", operations=400)
class HasThirtyTwoWorkers(Core):
    """Drops the transition that starts while 32 others run: it never ends."""

    dropped: frozenset[str] = frozenset()

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        running = sum(each.moving for each in self.machines.values())
        started = super().start(verb, machine, request, now)
        if running >= 32 and started.operation is not None:
            self.dropped |= {started.operation.id}
        return started

    def complete(self, machine: Machine, operation_id: str) -> None:
        if operation_id not in self.dropped:
            super().complete(machine, operation_id)


@churned("LIF-5f", at_once=48, operations=200)
class SharesTheThirtyThirdHost(Core):
    """Gives the 33rd living machine the host of another one."""

    def new_host(self, machine: Machine, operation: Operation) -> Host:
        hosts = [each.host for each in self.machines.values() if each.host is not None]
        return hosts[0] if len(hosts) >= 32 else super().new_host(machine, operation)


@churned("MET-3", at_once=48, latency="500ms..900ms", operations=400)
class BatchesBindings(Core):
    """Writes bindings in batches of 24: a machine that is bound when 24 are, gets the metadata of the first."""

    def bound(self, machine: Machine, request: Configure) -> Machine:
        binding = [each for each in self.machines.values() if each.cluster]
        if len(binding) >= 24:
            request = replace(request, metadata=binding[0].shard_metadata)
        return super().bound(machine, request)
