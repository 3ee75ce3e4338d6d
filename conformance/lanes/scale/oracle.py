"""Knows what each of our machines should show, and compares every answer with it. Sends nothing, waits for nothing.

Other clients' machines may come and go: the oracle only knows those that it was given.
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

REMEMBERED: Final = 50_000
"""The number of operation ids, about 12 MB. An older one that comes back is not noticed."""
OWNER: Final = "conformance.lanes.scale/machine"
"""The metadata key under which a machine's own id is stored."""


@dataclass(slots=True, kw_only=True)
class Expected:
    """What one machine should show when it is at rest. `run` and `number` make its names unique."""

    id: str
    run: str
    number: int
    state: State = State.SPECULATIVE
    cluster: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    """The ref of the current host; empty before it was seen."""
    gone: str = ""
    """The ref of the host that was given back last."""
    operation: str = ""
    """The id of the last operation."""
    verb: Verb | None = None
    """The verb of the last operation."""
    bindings: int = 0

    @property
    def prefix(self) -> str:
        """The beginning of the names of all its clusters, and of no other machine's."""
        return f"{self.run}-s{self.number}-"

    def binding(self) -> tuple[str, Mapping[str, str]]:
        """Returns cluster and metadata of the current binding number: unique to this machine and this binding."""
        return f"{self.prefix}b{self.bindings}", {
            OWNER: self.id,
            "conformance.lanes.scale/binding": str(self.bindings),
            "conformance.lanes.scale/empty": "",
            "Conformance.Scale/Empty": "é e\u0301 \u0000 \n ",
        }

    def bind(self) -> None:
        """Notes that a Configure for that binding was accepted."""
        self.cluster, self.metadata = self.binding()

    def unbind(self) -> None:
        """Notes that there is neither cluster nor metadata."""
        self.cluster, self.metadata = "", {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A fact about a machine at rest that does not hold, and its clause."""

    clause: str
    wanted: str
    got: str


@dataclass(slots=True, kw_only=True)
class Finding:
    """The first disagreement about a clause, and how many there were."""

    wanted: str
    got: str
    machines: tuple[str, ...]
    calls: tuple[Call, ...]
    """The calls before it, in order."""
    decisive: tuple[Call, ...]
    count: int = 1


class Oracle:
    """Knows the machines by id, counts the judged facts and keeps the disagreements."""

    def __init__(self) -> None:
        self.machines: dict[str, Expected] = {}
        self.judged: Counter[str] = Counter()
        """Facts by clause."""
        self.findings: dict[str, Finding] = {}
        self._given: dict[str, str] = {}
        """The transitions of the last operation ids."""

    @property
    def facts(self) -> int:
        """The number of comparisons of an answer with what it should show."""
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
        """Counts a fact; if it does not hold, keeps it and raises Violation. `decisive` is the last call by default."""
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

    def acked(self, expected: Expected, verb: Verb, call: Call, calls: Sequence[Call]) -> None:
        """Checks the ack of a new transition: its operation id is new. Raises Violation."""
        about, operation = {"machine": expected.id, "calls": calls, "decisive": [call]}, call.operation_id
        own = call.response.machine.id
        self._fact(
            own == expected.id, "LIF-11", f"the ack of {verb.value} to show {expected.id}", f"machine {own!r}", about
        )
        self._fact(operation, "OPS-1", f"an operation id for {verb.value} of {expected.id}", "none", about)
        owner = self._given.get(operation)
        mine = f"{verb.value} of {expected.id}"
        expected.operation, expected.verb = operation, verb
        if verb is Verb.CONFIGURE:
            expected.bind()
        self._fact(
            owner is None,
            "OPS-3",
            f"{mine} to have an operation id that no transition had before",
            f"{cut(operation)!r}, which {owner} had",
            about,
        )
        self._given[operation] = mine
        if len(self._given) > REMEMBERED:
            del self._given[next(iter(self._given))]

    def known(self, operation: str) -> bool:
        """Returns whether one of our transitions has had this id."""
        return operation in self._given

    def retried(self, expected: Expected, call: Call, calls: Sequence[Call]) -> None:
        """Checks the answer to a repeat of the machine's last call. Raises Violation."""
        self._fact(
            call.ok and call.operation_id == expected.operation,
            "OPS-2",
            f"a retry of {call.rpc} of {expected.id} to be answered with operation {cut(expected.operation)!r}",
            call.outcome(),
            {"machine": expected.id, "calls": calls, "decisive": [call]},
        )

    # Readings.

    def settled(self, expected: Expected, verb: Verb, watch: SettleResult, calls: Sequence[Call]) -> None:
        """Checks the end of a transition, after which the machine is at rest. Raises Violation."""
        target, seen = EDGES[verb].target, watch.state
        failed = seen is State.FAILED and watch.machine.last_error
        self._fact(
            seen is target or failed,
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
                expected.gone, expected.host = expected.host, ""
            case Verb.CONFIGURE:
                pass
        if seen is State.FAILED:
            return
        self.shown(expected, watch.machine, calls)

    def shown(self, expected: Expected, machine: pb.Machine, calls: Sequence[Call]) -> None:
        """Checks what Get shows of a machine at rest. Raises Violation."""
        self.judged.update(("LIF-3", "LIF-5", "LIF-6", "MET-1" if expected.cluster else "MET-2"))
        for each in differences(expected, machine):
            self._fact(False, each.clause, each.wanted, each.got, {"machine": expected.id, "calls": calls})

    def listed(self, call: Call, *, whole: bool) -> None:
        """Checks what holds for any List: no machine twice, all in a whole one, no other machine's binding.

        Raises Violation.
        """
        shown, decisive = Counter(machine.id for machine in call.response.machines), [call]
        twice = [each for each, count in shown.items() if count > 1]
        self._fact(
            not twice, "LST-3", "every machine once in a List", _some(twice) + " more than once", {"decisive": decisive}
        )
        if whole:
            missing = [each for each in self.machines if each not in shown]
            wanted = f"all {len(self.machines)} machines of ours in a whole List"
            got = f"{len(shown)} machines without {_some(missing)}"
            self._fact(not missing, "LST-1", wanted, got, {"machine": (missing or [""])[0], "decisive": decisive})
        for machine in self._ours(call.response.machines):
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

    def agree(self, clause: str, machines: Iterable[pb.Machine]) -> list[Difference]:
        """Returns how `machines` differ from ours at rest. The facts are counted for `clause`."""
        self.judged[clause] += len(self.machines)
        found = []
        for machine in self._ours(machines):
            found += list(differences(self.machines[machine.id], machine))
        return found

    def _ours(self, machines: Iterable[pb.Machine]) -> Iterator[pb.Machine]:
        return (machine for machine in machines if machine.id in self.machines)

    def _fact(self, holds: object, clause: str, wanted: str, got: str, about: Mapping[str, object]) -> None:
        self.fact(holds, clause, wanted=wanted, got=got, **about)  # type: ignore[arg-type]  # named as there


def differences(expected: Expected, machine: pb.Machine) -> Iterator[Difference]:
    """Yields how a machine at rest differs from what it should show; the first difference may cause the others."""
    state = state_of(machine.state)
    if state is not expected.state:
        ours = expected.state is not State.SPECULATIVE or machine.host.ref == expected.gone != ""
        if not ours:
            return  # another client may have the slot, but not with the host that we gave back
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
