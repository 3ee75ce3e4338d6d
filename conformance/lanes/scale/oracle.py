"""Holds the expected record of each driven machine, and compares every answer with it. Sends no calls, and never waits.

Machines of other clients may appear and disappear: the oracle ignores machines that the churn does not drive.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from conformance.core.errors import Violation
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.rpc.call import cut, describe_machine, describe_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.fleet.context import SettleResult
    from conformance.rpc.call import Call

MAX_OPERATION_IDS: Final = 50_000
"""The number of operation ids that are kept, about 12 MB. The reuse of an older id is not found."""
MAX_GIVEN_UP_IN_A_ROW: Final = 6
"""The number of Configures in a row that a provider does not give up if it configures machines at all (FLT-1)."""
OWNER: Final = "conformance.lanes.scale/machine"
"""The metadata key under which a machine's own id is stored."""


@dataclass(slots=True, kw_only=True)
class Expected:
    """The expected record of one machine at rest. `run` and `number` make its names unique."""

    id: str
    run: str
    number: int
    state: State = State.SPECULATIVE
    cluster: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    """The ref of the current host; empty before the first reading."""
    returned_host: str = ""
    """The ref of the host that was returned last."""
    operation: str = ""
    """The id of the last operation."""
    verb: Verb | None = None
    """The verb of the last operation."""
    bindings: int = 0

    @property
    def prefix(self) -> str:
        """The prefix of the names of its clusters, unique to this machine."""
        return f"{self.run}-s{self.number}-"

    def binding(self) -> tuple[str, Mapping[str, str]]:
        """Returns the cluster and the metadata of the current binding: unique to this machine and this binding."""
        return f"{self.prefix}b{self.bindings}", {
            OWNER: self.id,
            "conformance.lanes.scale/binding": str(self.bindings),
            "conformance.lanes.scale/empty": "",
            "Conformance.Scale/Empty": "é e\u0301 \u0000 \n ",
        }

    def bind(self) -> None:
        """Notes that the Configure for the current binding was accepted."""
        self.cluster, self.metadata = self.binding()

    def unbind(self) -> None:
        """Notes that the machine has neither a cluster nor metadata."""
        self.cluster, self.metadata = "", {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference between a machine at rest and its expected record, with the clause."""

    clause: str
    wanted: str
    got: str


@dataclass(slots=True, kw_only=True)
class Finding:
    """The first disagreement about a clause, and the number of disagreements."""

    wanted: str
    got: str
    machines: tuple[str, ...]
    calls: tuple[Call, ...]
    """The calls before it, in order."""
    decisive: tuple[Call, ...]
    count: int = 1


class Oracle:
    """Holds the expected machines by id, counts the checked facts and keeps the disagreements."""

    def __init__(self) -> None:
        self.machines: dict[str, Expected] = {}
        self.judged: Counter[str] = Counter()
        """The number of checked facts by clause."""
        self.findings: dict[str, Finding] = {}
        self._operations: dict[str, str] = {}
        """The last operation ids, each with its transition."""
        self._given_up_in_a_row = 0
        """The number of Configures in a row, of all machines, that were given up."""

    @property
    def facts(self) -> int:
        """The number of comparisons of an answer with an expected value."""
        return self.judged.total()

    @property
    def disagreements(self) -> int:
        """The number of comparisons that failed."""
        return sum(finding.count for finding in self.findings.values())

    def fact(
        self,
        holds: object,
        clause: str,
        *,
        wanted: str,
        got: str,
        machine: str = "",
        calls: Sequence[Call] = (),
        decisive: Sequence[Call] = (),
    ) -> None:
        """Counts a fact. If it is false, keeps it and raises Violation. `decisive` is the last call by default."""
        self.judged[clause] += 1
        if holds:
            return
        if clause in self.findings:
            self.findings[clause].count += 1
        else:
            self.findings[clause] = Finding(
                wanted=wanted,
                got=got,
                machines=(machine,) if machine else (),
                calls=(*calls, *(call for call in decisive if call not in calls)),
                decisive=tuple(decisive) or tuple(calls[-1:]),
            )
        raise Violation(wanted, got, calls=decisive)

    # Acks.

    def check_ack(self, expected: Expected, verb: Verb, call: Call, calls: Sequence[Call]) -> None:
        """Checks the ack of a new transition, whose operation id must be new. Raises Violation."""
        about, operation = {"machine": expected.id, "calls": calls, "decisive": [call]}, call.operation_id
        acked_id = call.response.machine.id
        self._fact(
            acked_id == expected.id,
            "LIF-11",
            f"the ack of {verb.value} to name {expected.id}",
            f"machine {acked_id!r}",
            about,
        )
        self._fact(operation, "OPS-1", f"an operation id for {verb.value} of {expected.id}", "none", about)
        owner = self._operations.get(operation)
        transition = f"{verb.value} of {expected.id}"
        expected.operation, expected.verb = operation, verb
        if verb is Verb.CONFIGURE:
            expected.bind()
        self._fact(
            owner is None,
            "OPS-3",
            f"a new operation id for {transition}",
            f"{cut(operation)!r}, which is the id of {owner}",
            about,
        )
        self._operations[operation] = transition
        if len(self._operations) > MAX_OPERATION_IDS:
            del self._operations[next(iter(self._operations))]

    def knows_operation(self, operation: str) -> bool:
        """Returns whether this is the id of one of the last transitions."""
        return operation in self._operations

    def check_retry(self, expected: Expected, call: Call, calls: Sequence[Call]) -> None:
        """Checks the answer to a retry of the machine's last call. Raises Violation."""
        self._fact(
            call.ok and call.operation_id == expected.operation,
            "OPS-2",
            f"operation {cut(expected.operation)!r} for a retry of {call.rpc} of {expected.id}",
            call.outcome(),
            {"machine": expected.id, "calls": calls, "decisive": [call]},
        )

    # Readings.

    def check_settled(self, expected: Expected, verb: Verb, watch: SettleResult, calls: Sequence[Call]) -> None:
        """Checks the end of a transition, after which the machine is at rest. Raises Violation."""
        target, seen = EDGES[verb].target, watch.state
        failed = seen is State.FAILED and watch.machine.last_error
        given_up = verb is Verb.CONFIGURE and seen is State.IDLE and not watch.machine.cluster
        if verb is Verb.CONFIGURE:
            self._given_up_in_a_row = self._given_up_in_a_row + 1 if given_up else 0
        self._fact(
            seen is target or failed or (given_up and self._given_up_in_a_row < MAX_GIVEN_UP_IN_A_ROW),
            "LIF-1",
            f"{expected.id} to settle at {target.name} after {verb.value}",
            f"{describe_machine(watch.machine)} after {watch.seconds:.1f} s",
            {"machine": expected.id, "calls": calls},
        )
        expected.state = seen
        match verb:
            case Verb.CREATE:
                expected.host = watch.machine.host.ref
            case Verb.DRAIN:
                expected.unbind()
            case Verb.DELETE:
                expected.unbind()
                expected.returned_host, expected.host = expected.host, ""
            case Verb.CONFIGURE if given_up:
                expected.unbind()
            case Verb.CONFIGURE:
                pass
        if seen is State.FAILED:
            return
        self.check_reading(expected, watch.machine, calls)

    def check_reading(self, expected: Expected, machine: pb.Machine, calls: Sequence[Call]) -> None:
        """Checks a Get of a machine at rest. Raises Violation."""
        self.judged.update(("LIF-3", "LIF-5", "LIF-6", "MET-1" if expected.cluster else "MET-2"))
        for each in differences(expected, machine):
            self._fact(False, each.clause, each.wanted, each.got, {"machine": expected.id, "calls": calls})

    def check_list(self, call: Call, *, whole: bool) -> None:
        """Checks a List: no machine twice, all machines in a whole List, and no binding of another machine.

        Raises Violation.
        """
        shown, decisive = Counter(machine.id for machine in call.response.machines), [call]
        twice = [each for each, count in shown.items() if count > 1]
        self._fact(
            not twice, "LST-3", "every machine once in a List", _some(twice) + " more than once", {"decisive": decisive}
        )
        if whole:
            missing = [each for each in self.machines if each not in shown]
            wanted = f"all {len(self.machines)} driven machines in a whole List"
            got = f"{len(shown)} machines without {_some(missing)}"
            self._fact(not missing, "LST-1", wanted, got, {"machine": (missing or [""])[0], "decisive": decisive})
        for machine in self._driven(call.response.machines):
            expected = self.machines[machine.id]
            owner = machine.shard_metadata.get(OWNER, machine.id)
            other = machine.cluster.startswith(expected.run) and not machine.cluster.startswith(expected.prefix)
            self._fact(
                not other and owner == machine.id,
                "MET-3",
                f"{machine.id} to show no other machine's binding",
                describe_machine(machine),
                {"machine": machine.id, "decisive": decisive},
            )

    def compare(self, clause: str, machines: Iterable[pb.Machine]) -> list[Difference]:
        """Returns how `machines` differ from the expected ones at rest. Counts the facts for `clause`."""
        self.judged[clause] += len(self.machines)
        found = []
        for machine in self._driven(machines):
            found += list(differences(self.machines[machine.id], machine))
        return found

    def _driven(self, machines: Iterable[pb.Machine]) -> Iterator[pb.Machine]:
        return (machine for machine in machines if machine.id in self.machines)

    def _fact(self, holds: object, clause: str, wanted: str, got: str, about: Mapping[str, object]) -> None:
        self.fact(holds, clause, wanted=wanted, got=got, **about)  # type: ignore[arg-type]  # named as there


def differences(expected: Expected, machine: pb.Machine) -> Iterator[Difference]:
    """Yields how a machine at rest differs from its expected record. The first difference may cause the others."""
    state = state_of(machine.state)
    if state is not expected.state:
        owned = expected.state is not State.SPECULATIVE or machine.host.ref == expected.returned_host != ""
        if not owned:
            return  # another client may have the slot, but not with the host that was returned
        wanted = f"{expected.id} to stay {expected.state.name}"
        yield Difference(clause="LIF-3", wanted=wanted, got=describe_machine(machine))
        return
    if state is State.FAILED:
        return
    if machine.host.ref != expected.host:
        wanted = f"{expected.id} to have host {cut(expected.host) or 'none'}"
        yield Difference(clause="LIF-5", wanted=wanted, got=f"host {cut(machine.host.ref) or 'none'}")
    if machine.cluster != expected.cluster:
        wanted = f"{expected.id}, {state.name}, to show cluster {expected.cluster or 'none'}"
        yield Difference(clause="LIF-6", wanted=wanted, got=f"cluster {cut(machine.cluster) or 'none'}")
    shown = dict(machine.shard_metadata)
    if shown != expected.metadata:
        clause = "MET-1" if expected.cluster else "MET-2"
        if shown.get(OWNER, expected.id) != expected.id:
            clause = "MET-3"
        wanted = f"{expected.id}, {state.name}, to show metadata {describe_map(dict(expected.metadata))}"
        yield Difference(clause=clause, wanted=wanted, got=f"metadata {describe_map(shown)}")


def _some(ids: Sequence[str]) -> str:
    return ", ".join(cut(each) for each in ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
