"""The provider's logic: takes a request and the time, returns an answer, and changes the state of the fleet.

It has no gRPC, no event loop and no clock: every entry point takes `now` in seconds, and `advance` completes the
transitions that are due by then. Each decision of the contract has a method of its own, so that a provider that
makes one decision differently is a subclass of a few lines.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from fake_provider import revision
from fake_provider.errors import Code, Rejected, quoted
from fake_provider.faults import Faults
from fake_provider.fence import Scope, Token, newer
from fake_provider.fleet import host_for
from fake_provider.hosts import Backend
from fake_provider.latency import Latency
from fake_provider.machine import EDGES, Host, Machine, Operation, State, Verb
from fake_provider.request import Ack, Configure, Drain, Filter, Listing, Request
from fake_provider.saved_fleet import SavedFleet
from fake_provider.store import MarkKey, Store

AtTarget = Literal["refuse", "retry"]
"""The treatment of a Drain of an IDLE machine, or a Delete of a slot, that no earlier call brought there (COD-2)."""

MAX_METADATA_KEYS = 256
MAX_METADATA_BYTES = 256 * 1024
MAX_BLOB_BYTES = 2 * 1024 * 1024


class Core(SavedFleet):
    """A fleet of machines and the six RPCs on it."""

    def __init__(
        self,
        fleet: Iterable[Machine] = (),
        *,
        latency: Latency = Latency(),  # noqa: B008 - frozen
        seed: int = 0,
        scope: Scope = Scope.SHARD_MACHINE,
        deletes: bool = True,
        revisions: bool = True,
        faults: Faults | None = None,
        drain_of_idle: AtTarget = "refuse",
        delete_of_speculative: AtTarget = "refuse",
        store: Store | None = None,
        backend: Backend | None = None,
    ) -> None:
        """Restores the saved fleet from the store; starts with `fleet` if nothing was saved."""
        self.latency = latency
        self.rng = random.Random(seed)
        self.scope = scope
        self.deletes = deletes
        self.revisions = revisions
        self.faults = faults
        self.at_target = {Verb.DRAIN: drain_of_idle, Verb.DELETE: delete_of_speculative}
        super().__init__(fleet, store=store, backend=backend)

    # Entry points. Each first completes the transitions that are due, so that no answer depends on when a client reads.

    def mutate(self, request: Request, now: float) -> Ack:
        """Performs a mutating call. All changes are saved on return. Raises Rejected."""
        self.advance(now)
        with self.exclusive():
            try:
                return self.serve(request.verb, request, now)
            finally:
                self.commit()

    def get(self, machine_id: str, now: float) -> Machine:
        """Returns one machine; never fenced (FEN-8). Raises Rejected."""
        self.advance(now)
        self.validate_id(None, machine_id)
        return self.shown_in_get(self.find(machine_id))

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        """Returns the machines that match a filter; never fenced (FEN-8). Raises Rejected."""
        self.advance(now)
        self.validate_filter(wanted)
        since = self.since(wanted.since)
        found = [each for each in self.oldest_first(since) if self.changed(each, since) and self.matches(each, wanted)]
        page = self.cap(found, wanted.max_results)
        shown = [self.shown_in_list(each) for each in page]
        return Listing(machines=shown, revision=self.cursor_after(found, page))

    def advance(self, now: float) -> None:
        """Completes the operations that are due by now, in the order of their due times."""
        self.synchronize()
        due = self.next_due()
        if due is not None and due <= now:
            with self.exclusive():  # another replica may have completed them meanwhile
                self.complete_due(now)
        self.commit()

    def complete_due(self, now: float) -> None:
        """Completes the operations that are due by now, and saves that; undoes all of it if one fails."""
        try:
            while event := self.inventory.pop_due(now):
                _, machine_id, operation_id = event
                self.complete(self.machines[machine_id], operation_id)
            self.commit()
        except BaseException:
            self.inventory.undo()
            raise

    def next_due(self) -> float | None:
        """Returns the time, in seconds, at which the next transition ends; None if no transition is running."""
        return self.inventory.next_due()

    def resume(self, now: float) -> None:
        """Continues what a restart has interrupted (DUR-3), and cleans up after an orderly stop.

        The rest of a running transition takes at most the time of a new one: its saved due time may come from another
        clock.
        """
        with self.exclusive():
            after_orderly_stop = self.inventory.stopped
            for machine in list(self.machines.values()):
                operation = machine.operation
                if operation and machine.moving:
                    longest = max(self.latency.span(operation.verb).high, self.faults.timeout if self.faults else 0.0)
                    if operation.due > now + longest:
                        self.put(replace(machine, operation=replace(operation, due=now + longest)))
                elif after_orderly_stop and machine.state is State.FAILED:
                    self.put(self.cleaned_up(machine))
            self.inventory.stopped = False
            self.commit()
        self.inventory.reschedule()

    def stop(self) -> None:
        """Records that the provider stops in an orderly way: FAILED machines are cleaned up at its next start."""
        with self.exclusive():
            self.inventory.stopped = True
            self.commit()

    # The steps of a mutating call.

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        """Checks the fence, then existence, the request, a retry, and the edge, in this order (FEN-4)."""
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
        """Rejects Delete for every id if the provider does not have it (LIF-8)."""
        if verb is Verb.DELETE and not self.deletes:
            raise Rejected(Code.UNIMPLEMENTED, "this provider does not support Delete: the machine stays IDLE")

    # The fence.

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        """Accepts a newer token and raises the mark to it; rejects every other token (FEN-1..7, FEN-11)."""
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
        """Returns True if the call is not fenced because it has no token (FEN-14)."""
        return token.absent

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        """Returns the key under which the mark is stored (FEN-7, FEN-9, FEN-13)."""
        return (token.shard, machine_id if self.scope is Scope.SHARD_MACHINE else "")

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        """Returns whether the token is strictly newer than the mark (FEN-1, FEN-3, FEN-10)."""
        return newer(token, mark)

    def fenced(self, verb: Verb, token: Token) -> Rejected:
        """Returns the rejection of a fenced call, the only use of FAILED_PRECONDITION (COD-3)."""
        return Rejected(
            Code.FAILED_PRECONDITION,
            f"the token of shard {quoted(token.shard)} (epoch {token.epoch}, sequence {token.sequence})"
            " is not newer than its mark",
        )

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        """Sets the mark, before any other check can fail (FEN-6)."""
        self.inventory.mark(key, token)

    # Validation of requests.

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        """Rejects negative numbers in the first token of a shard; accepts all others (FEN-2, COD-4)."""
        if token.negative:
            raise Rejected(Code.INVALID_ARGUMENT, "shard_epoch and sequence_number must not be negative")

    def validate_id(self, verb: Verb | None, machine_id: str) -> None:
        """Rejects an empty machine id (COD-4). For a Get, `verb` has the value None."""
        if not machine_id:
            raise Rejected(Code.INVALID_ARGUMENT, "the machine id must not be empty")

    def find(self, machine_id: str) -> Machine:
        """Returns the machine with this id; rejects an unknown id (COD-1)."""
        try:
            return self.machines[machine_id]
        except KeyError:
            raise Rejected(Code.NOT_FOUND, f"there is no machine {quoted(machine_id)}") from None

    def validate(self, verb: Verb, request: Request) -> None:
        """Rejects a request whose other fields are invalid (COD-4, WIR-5, MET-4)."""
        match request:
            case Configure():
                self.validate_cluster(request)
                self.validate_blob(request)
                self.validate_metadata(request)
            case Drain():
                self.validate_grace(request)

    def validate_cluster(self, request: Configure) -> None:
        """Rejects a binding without a cluster (LIF-6, COD-4)."""
        if not request.cluster:
            raise Rejected(Code.INVALID_ARGUMENT, "cluster_id must not be empty")

    def validate_blob(self, request: Configure) -> None:
        """Rejects a bootstrap blob above the size limit (WIR-5)."""
        if len(request.blob) > MAX_BLOB_BYTES:
            raise Rejected(Code.INVALID_ARGUMENT, f"bootstrap_blob is larger than {MAX_BLOB_BYTES} bytes")

    def validate_metadata(self, request: Configure) -> None:
        """Rejects metadata above the limits, so that it is never stored in part (MET-4)."""
        if len(request.metadata) > MAX_METADATA_KEYS:
            raise Rejected(Code.INVALID_ARGUMENT, f"shard_metadata has more than {MAX_METADATA_KEYS} keys")
        size = sum(len(key.encode()) + len(value.encode()) for key, value in request.metadata.items())
        if size > MAX_METADATA_BYTES:
            raise Rejected(Code.INVALID_ARGUMENT, f"shard_metadata is larger than {MAX_METADATA_BYTES} bytes")

    def validate_grace(self, request: Drain) -> None:
        """Rejects a negative grace period (COD-4)."""
        if request.grace < 0:
            raise Rejected(Code.INVALID_ARGUMENT, "grace_period_seconds must not be negative")

    # Retries and edges.

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        """Returns the id of the operation that this call retries; None if it starts a new one (OPS-2, OPS-5).

        The machine and the target decide, never the token. A Create can be retried whenever its machine is IDLE, until
        the machine is deleted.
        """
        edge, operation = EDGES[verb], machine.operation
        if machine.state not in (edge.via, edge.target):
            return None
        if verb is Verb.CREATE:
            return machine.created_by or None
        if operation and operation.verb is verb and self.same_target(operation, request):
            return operation.id
        if machine.state is edge.target and self.at_target.get(verb) == "retry":
            return self.operation_at_target(verb, machine)
        return None

    def same_target(self, operation: Operation, request: Request) -> bool:
        """Returns whether request and operation have the same target: for a Configure, the cluster (OPS-5, OPS-6)."""
        return not isinstance(request, Configure) or request.cluster == operation.cluster

    def operation_at_target(self, verb: Verb, machine: Machine) -> str:
        """Records an operation for a machine that is already in the target state; returns the operation id (COD-2)."""
        operation = Operation(verb=verb, id=self.new_operation_id(verb, machine))
        self.put(replace(machine, operation=operation))
        return operation.id

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        """Rejects a call on a machine that is not in the verb's source state (LIF-1, COD-2)."""
        if machine.state is not EDGES[verb].source:
            raise self.no_edge(verb, machine)

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        """Returns the rejection of a call that has no edge: any code except FAILED_PRECONDITION (COD-2, COD-3)."""
        reached = machine.state in (EDGES[verb].via, EDGES[verb].target)
        code = Code.ALREADY_EXISTS if reached and verb in (Verb.CREATE, Verb.CONFIGURE) else Code.ABORTED
        bound = f", bound to {quoted(machine.cluster)}" if machine.cluster else ""
        return Rejected(code, f"cannot {verb} {quoted(machine.id)}: it is {machine.state.name}{bound}")

    # Transitions.

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        """Starts a transition; one without latency has ended on return (LIF-10, LIF-11)."""
        operation = Operation(
            verb=verb,
            id=self.new_operation_id(verb, machine),
            cluster=request.cluster if isinstance(request, Configure) else "",
            due=now + self.latency.draw(verb, self.rng),
        )
        if self.faults:
            operation = self.faults.apply(operation, machine, now)
        machine = self.put(replace(self.in_transition(verb, machine, request, operation), operation=operation))
        self.schedule(machine, now)
        return self.machines[machine.id]

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        """Returns an operation id that was never used before, for any machine (OPS-3, DUR-2)."""
        self.inventory.operations += 1
        return f"op-{self.inventory.origin:05x}-{self.inventory.operations}"

    def in_transition(self, verb: Verb, machine: Machine, request: Request, operation: Operation) -> Machine:
        """Returns the machine in its transitional state (LIF-2)."""
        machine = replace(machine, state=EDGES[verb].via)
        match request:
            case Configure():
                return self.bound(machine, request)
            case _ if verb is Verb.CREATE:
                return replace(machine, created_by=operation.id)
            case _:
                return machine

    def bound(self, machine: Machine, request: Configure) -> Machine:
        """Returns the machine with the cluster and the shard metadata of the request (LIF-6, MET-1)."""
        return replace(machine, cluster=request.cluster, shard_metadata=dict(request.metadata))

    def schedule(self, machine: Machine, now: float) -> None:
        """Schedules the end of the machine's operation; completes it immediately if it is due."""
        operation = machine.operation
        if operation is None:
            return
        if operation.due <= now and self.backend is None:  # a host starts only after its operation was saved
            self.complete(machine, operation.id)
            return
        for due in (operation.due, operation.late_due):
            if due is not None:
                self.inventory.schedule(due, machine, operation.id)

    def complete(self, machine: Machine, operation_id: str) -> None:
        """Ends the transition of an operation. A late success of one that has already failed is ignored (FLT-2)."""
        if self.is_running(machine, operation_id):
            self.put(self.settle(machine))

    def is_running(self, machine: Machine, operation_id: str) -> bool:
        """Returns whether the machine is still in transition with this operation (FLT-2)."""
        return machine.moving and machine.operation is not None and machine.operation.id == operation_id

    def settle(self, machine: Machine) -> Machine:
        """Returns the machine at the end of its transition: in the target state or in FAILED (LIF-1, FLT-1)."""
        operation = machine.operation
        if operation is None:
            return machine
        if operation.error:
            return self.failed(machine, operation.error)
        machine = replace(machine, state=EDGES[operation.verb].target)
        match operation.verb:
            case Verb.CREATE:
                host = self.new_host(machine, operation)
                self.start_host(host)
                return replace(machine, host=host)
            case Verb.CONFIGURE:
                return machine
            case Verb.DRAIN:
                return self.cleared_by_drain(machine)
            case Verb.DELETE:
                if machine.host:
                    self.terminate_host(machine.host)
                return self.cleared_by_delete(machine)

    def new_host(self, machine: Machine, operation: Operation) -> Host:
        """Returns the host that a Create attaches, which no machine had before (LIF-5)."""
        return host_for(operation.id)

    def cleared_by_drain(self, machine: Machine) -> Machine:
        """Returns the machine without any trace of its binding, as IDLE must show it (LIF-7, MET-2)."""
        return replace(machine, cluster="", shard_metadata={}, last_error="")

    def cleared_by_delete(self, machine: Machine) -> Machine:
        """Returns the machine without host, binding and error, as a slot must show it (LIF-8)."""
        return replace(machine, host=None, cluster="", shard_metadata={}, last_error="", created_by="")

    def failed(self, machine: Machine, error: str) -> Machine:
        """Returns the machine in FAILED, with its error and without a binding (SHP-4, LIF-6, FLT-3)."""
        return replace(machine, state=State.FAILED, last_error=error, cluster="", shard_metadata={})

    def cleaned_up(self, machine: Machine) -> Machine:
        """Returns a FAILED machine as a slot again, without its host and its operation; as IDLE if it has no Delete."""
        if machine.host and not self.deletes:
            return replace(self.cleared_by_drain(machine), state=State.IDLE, operation=None)
        if machine.host:
            self.terminate_host(machine.host)
        return replace(self.cleared_by_delete(machine), state=State.SPECULATIVE, operation=None)

    # Answers.

    def ack(self, verb: Verb, operation_id: str, machine: Machine) -> Ack:
        """Returns the answer to an accepted call (OPS-1, LIF-11)."""
        return Ack(operation_id=operation_id, machine=self.shown_in_ack(verb, machine))

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        """Returns the machine as an ack shows it (LIF-11, MET-1)."""
        return machine

    def shown_in_get(self, machine: Machine) -> Machine:
        """Returns the machine as a Get shows it."""
        return machine

    def shown_in_list(self, machine: Machine) -> Machine:
        """Returns the machine as a List shows it: the same as in a Get (LST-4, LST-10)."""
        return machine

    def validate_filter(self, wanted: Filter) -> None:
        """Rejects a negative cap (LST-2)."""
        if wanted.max_results < 0:
            raise Rejected(Code.INVALID_ARGUMENT, "max_results must not be negative")

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        """Returns whether the machine is in one of the states; True if the filter names no state (LST-1, WIR-2)."""
        return not wanted.states or machine.state in wanted.states

    def oldest_first(self, since: int) -> Sequence[Machine]:
        """Returns the machines from a revision on, oldest change first: pages follow this order (LST-9)."""
        return self.inventory.oldest_first(since)

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        """Returns the first `limit` machines, or all of them if the limit is 0 (LST-2)."""
        return machines[:limit] if limit else machines

    # Revisions.

    def since(self, cursor: bytes) -> int:
        """Returns the revision to list from; 0, which lists everything, for a missing or foreign cursor (LST-8)."""
        if not self.revisions or not cursor:
            return 0
        since = self.decode_cursor(cursor)
        return 0 if since is None or since > self.inventory.revision else since

    def changed(self, machine: Machine, since: int) -> bool:
        """Returns whether the machine changed after the revision, into any state (LST-6, LST-7)."""
        return machine.revision > since

    def cursor_after(self, found: Sequence[Machine], page: Sequence[Machine]) -> bytes:
        """Returns the cursor that covers exactly the machines on the page (LST-5, LST-9)."""
        if not self.revisions:
            return b""
        return self.encode_cursor(page[-1].revision if len(page) < len(found) and page else self.inventory.revision)

    def encode_cursor(self, number: int) -> bytes:
        """Returns the cursor of a revision."""
        return revision.encode(self.inventory.origin, number)

    def decode_cursor(self, cursor: bytes) -> int | None:
        """Returns the revision of a cursor; None if it is invalid or from another inventory (LST-8)."""
        return revision.decode(self.inventory.origin, cursor)
