"""The provider's mind: a request and the time in, a new state and an answer out.

No wire, no event loop and no clock: every entry takes `now` in seconds, and `advance` settles what is due by
then. Each decision of the contract is a method of its own, so that a provider which decides one thing
otherwise is a subclass of a few lines.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from fake_provider import revision
from fake_provider.errors import Code, Rejected, quoted
from fake_provider.faults import Faults
from fake_provider.fence import Scope, Token, newer
from fake_provider.fleet import host_for
from fake_provider.inventory import Inventory
from fake_provider.latency import Latency
from fake_provider.machine import EDGES, Host, Machine, Operation, State, Verb
from fake_provider.request import Ack, Configure, Drain, Filter, Listing, Request
from fake_provider.store import MarkKey, Snapshot, Store

AtTarget = Literal["refuse", "retry"]
"""What a Drain of an IDLE machine, or a Delete of a slot, is that no call brought there (COD-2)."""

MAX_KEYS = 256
MAX_METADATA = 256 * 1024
MAX_BLOB = 2 * 1024 * 1024


class Core:
    """A fleet and what may be done with it."""

    def __init__(
        self,
        fleet: Iterable[Machine] = (),
        *,
        latency: Latency = Latency(),  # noqa: B008 - frozen
        seed: int = 0,
        scope: Scope = Scope.SHARD,
        deletes: bool = True,
        revisions: bool = True,
        faults: Faults | None = None,
        drain_of_idle: AtTarget = "refuse",
        delete_of_speculative: AtTarget = "refuse",
        store: Store | None = None,
    ) -> None:
        """Take over what the store saved; where it saved nothing, start with the fleet."""
        self.latency = latency
        self.rng = random.Random(seed)
        self.scope = scope
        self.deletes = deletes
        self.revisions = revisions
        self.faults = faults
        self.at_target = {Verb.DRAIN: drain_of_idle, Verb.DELETE: delete_of_speculative}
        self.store = store
        self.inventory = Inventory()
        saved = store.load() if store else None
        if saved is None:
            for machine in fleet:
                self.put(machine)
            self.commit()
        else:
            self.inventory.restore(self.restored(saved))

    # Entries. Each settles first what is due, so that no answer depends on when somebody looked.

    def mutate(self, request: Request, now: float) -> Ack:
        """Carry out a mutating call; raises Rejected. What changed is saved on return."""
        self.advance(now)
        try:
            return self.serve(request.verb, request, now)
        finally:
            self.commit()

    def get(self, machine_id: str, now: float) -> Machine:
        """Read one machine; raises Rejected. Never fenced (FEN-8)."""
        self.advance(now)
        self.validate_id(None, machine_id)
        return self.shown_in_get(self.find(machine_id))

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        """Read many machines; raises Rejected. Never fenced (FEN-8)."""
        self.advance(now)
        self.validate_filter(wanted)
        since = self.since(wanted.since)
        found = [each for each in self.oldest_first(since) if self.changed(each, since) and self.matches(each, wanted)]
        kept = self.cap(found, wanted.max_results)
        shown = [self.shown_in_list(each) for each in kept]
        return Listing(machines=shown, revision=self.cursor_after(found, kept))

    def advance(self, now: float) -> None:
        """Settle what is due by now, in the order in which it fell due."""
        while word := self.inventory.due(now):
            _, machine_id, operation_id = word
            self.arrive(self.machines[machine_id], operation_id)
        self.commit()

    def next_due(self) -> float | None:
        """When the next transition settles; None where none is under way."""
        return self.inventory.next_due()

    def resume(self, now: float) -> None:
        """After a restart: see to it that no transition waits longer than it takes anew (DUR-3).

        The clock that its due time was told by may have been another.
        """
        for machine in list(self.machines.values()):
            operation = machine.operation
            if operation and machine.moving:
                longest = max(self.latency.span(operation.verb).high, self.faults.timeout if self.faults else 0.0)
                if operation.due > now + longest:
                    self.put(replace(machine, operation=replace(operation, due=now + longest)))
        self.commit()
        self.inventory.reschedule()

    @property
    def machines(self) -> Mapping[str, Machine]:
        """The fleet by id, as it is; `put` changes it."""
        return self.inventory.machines

    # The way of a mutating call.

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        """The fence, then existence, then the request, then the retry answer, then the edge (FEN-4)."""
        self.check_offered(verb)
        self.fence(verb, request.machine_id, request.token)
        self.validate_id(verb, request.machine_id)
        machine = self.find(request.machine_id)
        self.validate(verb, request)
        operation_id = self.retry_of(verb, machine, request)
        if operation_id is None:
            self.check_edge(verb, machine, request)
            machine = self.start(verb, machine, request, now)
            operation_id = machine.operation.id if machine.operation else ""
        return self.ack(verb, operation_id, machine)

    def check_offered(self, verb: Verb) -> None:
        """Delete may be missing, and then for every id (LIF-8)."""
        if verb is Verb.DELETE and not self.deletes:
            raise Rejected(Code.UNIMPLEMENTED, "this provider does not delete: the machine stays IDLE")

    # The fence.

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        """Let a newer token pass and raise the mark to it; refuse every other (FEN-1..7, FEN-11)."""
        if self.unfenced(token):
            return
        key = self.mark_key(verb, machine_id, token)
        mark = self.inventory.marks.get(key)
        if mark is None:
            self.validate_first_token(verb, token)
        elif not self.passes(verb, token, mark):
            raise self.fenced(verb, token)
        self.raise_mark(verb, key, token)

    def unfenced(self, token: Token) -> bool:
        """A call with no token at all is not fenced (FEN-14)."""
        return token.absent

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        """What the mark is kept under (FEN-7, FEN-9, FEN-13)."""
        return (token.shard, machine_id if self.scope is Scope.SHARD_MACHINE else "")

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        """Whether the token is strictly newer than the mark (FEN-1, FEN-3, FEN-10)."""
        return newer(token, mark)

    def fenced(self, verb: Verb, token: Token) -> Rejected:
        """The refusal of a fenced call: the one use of its code (COD-3)."""
        return Rejected(
            Code.FAILED_PRECONDITION,
            f"token ({token.epoch}, {token.sequence}) of {quoted(token.shard)} is not newer than its mark",
        )

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        """Set the mark, before anything can fail (FEN-6)."""
        self.inventory.mark(key, token)

    # What may be asked.

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        """A shard without a mark may come with any numbers but negative ones (FEN-2, COD-4)."""
        if token.negative:
            raise Rejected(Code.INVALID_ARGUMENT, "shard_epoch and sequence_number must not be negative")

    def validate_id(self, verb: Verb | None, machine_id: str) -> None:
        """A machine id is not empty (COD-4). The verb is None for a Get."""
        if not machine_id:
            raise Rejected(Code.INVALID_ARGUMENT, "the machine id must not be empty")

    def find(self, machine_id: str) -> Machine:
        """The machine under this id (COD-1)."""
        try:
            return self.machines[machine_id]
        except KeyError:
            raise Rejected(Code.NOT_FOUND, f"there is no machine {quoted(machine_id)}") from None

    def validate(self, verb: Verb, request: Request) -> None:
        """What else is wrong with the request by itself (COD-4, WIR-5, MET-4)."""
        match request:
            case Configure():
                self.validate_cluster(request)
                self.validate_blob(request)
                self.validate_metadata(request)
            case Drain():
                self.validate_grace(request)

    def validate_cluster(self, request: Configure) -> None:
        """A binding has a cluster (LIF-6, COD-4)."""
        if not request.cluster:
            raise Rejected(Code.INVALID_ARGUMENT, "cluster_id must not be empty")

    def validate_blob(self, request: Configure) -> None:
        """A bootstrap blob has its limit (WIR-5)."""
        if len(request.blob) > MAX_BLOB:
            raise Rejected(Code.INVALID_ARGUMENT, f"bootstrap_blob is larger than {MAX_BLOB} bytes")

    def validate_metadata(self, request: Configure) -> None:
        """Metadata is kept whole or not at all (MET-4)."""
        if len(request.metadata) > MAX_KEYS:
            raise Rejected(Code.INVALID_ARGUMENT, f"shard_metadata has more than {MAX_KEYS} keys")
        if sum(len(key.encode()) + len(value.encode()) for key, value in request.metadata.items()) > MAX_METADATA:
            raise Rejected(Code.INVALID_ARGUMENT, f"shard_metadata is larger than {MAX_METADATA} bytes")

    def validate_grace(self, request: Drain) -> None:
        """Workloads cannot be given less than no time (COD-4)."""
        if request.grace < 0:
            raise Rejected(Code.INVALID_ARGUMENT, "grace_period_seconds must not be negative")

    # Retries and edges.

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        """The operation that this call repeats; None where it asks for a new one (OPS-2, OPS-5).

        Keyed on machine and target, never on the token. A Create is repeated all through its life at IDLE.
        """
        edge, operation = EDGES[verb], machine.operation
        if machine.state not in (edge.via, edge.target):
            return None
        if verb is Verb.CREATE:
            return machine.created_by or None
        if operation and operation.verb is verb and self.same_target(operation, request):
            return operation.id
        if machine.state is edge.target and self.at_target.get(verb) == "retry":
            return self.rest(verb, machine)
        return None

    def same_target(self, operation: Operation, request: Request) -> bool:
        """Whether the request leads where the operation led: a binding is one to a cluster (OPS-5, OPS-6)."""
        return not isinstance(request, Configure) or request.cluster == operation.cluster

    def rest(self, verb: Verb, machine: Machine) -> str:
        """Give an operation to a machine which is where the call wants it, and stays there (COD-2)."""
        operation = Operation(verb=verb, id=self.new_operation_id(verb, machine))
        self.put(replace(machine, operation=operation))
        return operation.id

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        """A transition starts from its source and nowhere else (LIF-1, COD-2)."""
        if machine.state is not EDGES[verb].source:
            raise self.no_edge(verb, machine)

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        """The refusal of a call that has no edge: with any code but the fence's (COD-2, COD-3)."""
        there = machine.state in (EDGES[verb].via, EDGES[verb].target)
        code = Code.ALREADY_EXISTS if there and verb in (Verb.CREATE, Verb.CONFIGURE) else Code.ABORTED
        bound = f", bound to {quoted(machine.cluster)}" if machine.cluster else ""
        return Rejected(code, f"cannot {verb} {quoted(machine.id)}: it is {machine.state.name}{bound}")

    # Transitions.

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        """Put the machine on its way; one that takes no time is over on return (LIF-10, LIF-11)."""
        operation = Operation(
            verb=verb,
            id=self.new_operation_id(verb, machine),
            cluster=request.cluster if isinstance(request, Configure) else "",
            due=now + self.latency.draw(verb, self.rng),
        )
        if self.faults:
            operation = self.faults.doom(operation, machine, now)
        machine = self.put(replace(self.under_way(verb, machine, request, operation), operation=operation))
        self.schedule(machine, now)
        return self.machines[machine.id]

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        """An id that was never used before, in any life of any machine (OPS-3, DUR-2)."""
        self.inventory.operations += 1
        return f"op-{self.inventory.origin:05x}-{self.inventory.operations}"

    def under_way(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        """The machine in its transitional state (LIF-2)."""
        machine = replace(machine, state=EDGES[verb].via)
        match request:
            case Configure():
                return self.bound(machine, request)
            case _ if verb is Verb.CREATE:
                return replace(machine, created_by=operation.id)
            case _:
                return machine

    def bound(self, machine: Machine, request: Configure) -> Machine:
        """The machine with its cluster and what the shard must remember (LIF-6, MET-1)."""
        return replace(machine, cluster=request.cluster, shard_metadata=dict(request.metadata))

    def schedule(self, machine: Machine, now: float) -> None:
        """Settle the machine when its operation is due, at once where that is now."""
        operation = machine.operation
        if operation is None:
            return
        if operation.due <= now:
            self.arrive(machine, operation.id)
            return
        for when in (operation.due, operation.late):
            if when is not None:
                self.inventory.schedule(when, machine, operation.id)

    def arrive(self, machine: Machine, operation_id: str) -> None:
        """Word from an operation: it is over. Of one that failed already it is thrown away (FLT-2)."""
        if self.awaited(machine, operation_id):
            self.put(self.settle(machine))

    def awaited(self, machine: Machine, operation_id: str) -> bool:
        """Whether the machine is still on its way with this very operation (FLT-2)."""
        return machine.moving and machine.operation is not None and machine.operation.id == operation_id

    def settle(self, machine: Machine) -> Machine:
        """The machine at the end of its transition: its target, or FAILED (LIF-1, FLT-1)."""
        operation = machine.operation
        if operation is None:
            return machine
        if operation.error:
            return self.failed(machine, operation.error)
        machine = replace(machine, state=EDGES[operation.verb].target)
        match operation.verb:
            case Verb.CREATE:
                return replace(machine, host=self.new_host(machine, operation))
            case Verb.CONFIGURE:
                return machine
            case Verb.DRAIN:
                return self.cleared_by_drain(machine)
            case Verb.DELETE:
                return self.cleared_by_delete(machine)

    def new_host(self, machine: Machine, operation: Operation) -> Host:
        """The host that a Create attached, which nobody had before (LIF-5)."""
        return host_for(operation.id)

    def cleared_by_drain(self, machine: Machine) -> Machine:
        """IDLE shows no trace of a binding (LIF-7, MET-2)."""
        return replace(machine, cluster="", shard_metadata={}, last_error="")

    def cleared_by_delete(self, machine: Machine) -> Machine:
        """A slot shows no trace of a life (LIF-8)."""
        return replace(machine, host=None, cluster="", shard_metadata={}, last_error="", created_by="")

    def failed(self, machine: Machine, error: str) -> Machine:
        """A machine that rests in FAILED and says why: bound to nothing (SHP-4, LIF-6, FLT-3)."""
        return replace(machine, state=State.FAILED, last_error=error, cluster="", shard_metadata={})

    # What callers see.

    def ack(self, verb: Verb, operation_id: str, machine: Machine) -> Ack:
        """The answer to an accepted call (OPS-1, LIF-11)."""
        return Ack(operation_id=operation_id, machine=self.shown_in_ack(verb, machine))

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        """The machine as an ack shows it (LIF-11, MET-1)."""
        return machine

    def shown_in_get(self, machine: Machine) -> Machine:
        """The machine as a Get shows it."""
        return machine

    def shown_in_list(self, machine: Machine) -> Machine:
        """The machine as a List shows it: as a Get does (LST-4, LST-10)."""
        return machine

    def validate_filter(self, wanted: Filter) -> None:
        """A cap is not negative (LST-2)."""
        if wanted.max_results < 0:
            raise Rejected(Code.INVALID_ARGUMENT, "max_results must not be negative")

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        """Whether the machine is in one of the states; in any, where none is named (LST-1, WIR-2)."""
        return not wanted.states or machine.state in wanted.states

    def oldest_first(self, since: int) -> Sequence[Machine]:
        """The fleet from a revision on, in the order of its last changes, which is the order to page in (LST-9)."""
        return self.inventory.oldest_first(since)

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        """The first so many; all of them at 0 (LST-2)."""
        return machines[:limit] if limit else machines

    # Revisions.

    def since(self, cursor: bytes) -> int:
        """The revision to list from; 0 is before everything, as for a cursor that cannot be ours (LST-8)."""
        if not self.revisions or not cursor:
            return 0
        since = self.decode_cursor(cursor)
        return 0 if since is None or since > self.inventory.revision else since

    def changed(self, machine: Machine, since: int) -> bool:
        """Whether the machine changed after the revision, into whatever state (LST-6, LST-7)."""
        return machine.revision > since

    def cursor_after(self, found: Sequence[Machine], kept: Sequence[Machine]) -> bytes:
        """The cursor that covers what was returned and nothing else (LST-5, LST-9)."""
        if not self.revisions:
            return b""
        return self.encode_cursor(kept[-1].revision if len(kept) < len(found) and kept else self.inventory.revision)

    def encode_cursor(self, number: int) -> bytes:
        """A revision as a cursor."""
        return revision.encode(self.inventory.origin, number)

    def decode_cursor(self, cursor: bytes) -> int | None:
        """A cursor's revision; None for garbage and for another inventory's (LST-8)."""
        return revision.decode(self.inventory.origin, cursor)

    # Keeping.

    def put(self, machine: Machine) -> Machine:
        """Make this the machine under its id; every change moves the revision (LST-6)."""
        self.inventory.revision += 1
        machine = replace(machine, revision=self.inventory.revision)
        self.inventory.put(machine)
        return machine

    def commit(self) -> None:
        """Save what changed, before anybody is told (DUR-1). What cannot be saved did not happen."""
        change = self.inventory.change()
        if change is None:
            return
        try:
            if self.store:
                self.store.save(self.kept(change))
        except BaseException:
            self.inventory.undo()
            raise
        self.inventory.saved()

    def kept(self, change: Snapshot) -> Snapshot:
        """What of a change is saved: all of it (DUR-1)."""
        return change

    def restored(self, saved: Snapshot) -> Snapshot:
        """What of the saved comes back after a restart: all of it (DUR-1, DUR-2)."""
        return saved
