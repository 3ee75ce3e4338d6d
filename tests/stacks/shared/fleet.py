"""The fleet that the Python providers of this directory share: machines and their rules, without gRPC.

A transition settles when a call reads its machine after the latency has passed; there are no timers.
"""

import argparse
import time
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from pathlib import Path

DEFECTS = ("double-create", "no-fence-on-drain", "trims-metadata")
MAX_METADATA = 256 * 1024
MAX_BLOB = 2 * 1024 * 1024


class Reason(Enum):
    """The reason of a refusal. The value is the name of the gRPC status code."""

    INVALID = "INVALID_ARGUMENT"
    UNKNOWN = "NOT_FOUND"
    FENCED = "FAILED_PRECONDITION"
    NO_EDGE = "ABORTED"


class RefusedError(Exception):
    """The fleet refuses a call. Servers translate `reason` to a status code."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class State(IntEnum):
    """The states of a machine, with the numbers of `MachineState` in the proto."""

    SPECULATIVE = 1
    CREATING = 2
    IDLE = 3
    CONFIGURING = 4
    CONFIGURED = 5
    DRAINING = 6
    DELETING = 7


ON_DEMAND, SPOT = 3, 4  # CapacityType
EDGES = {
    "create": (State.SPECULATIVE, State.CREATING, State.IDLE),
    "configure": (State.IDLE, State.CONFIGURING, State.CONFIGURED),
    "drain": (State.CONFIGURED, State.DRAINING, State.IDLE),
    "delete": (State.IDLE, State.DELETING, State.SPECULATIVE),
}


@dataclass
class Machine:
    """One machine. `verb`, `operation` and `due` describe the last transition."""

    id: str
    zone: str
    capacity_type: int
    state: State = State.SPECULATIVE
    host: str = ""
    cluster: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    created_by: str = ""
    verb: str = ""
    operation: str = ""
    due: float | None = None  # in seconds since 1970, so that it outlives the process


@dataclass(frozen=True)
class Token:
    """The fencing token of a call."""

    shard: str
    epoch: int
    sequence: int

    @property
    def absent(self) -> bool:
        """True if the call carries no token at all."""
        return self == Token("", 0, 0)


class Fleet:
    """Machines, marks and operations. Not thread-safe: the caller must serialise the calls."""

    def __init__(self, machines: int, latency: float, defect: str = "") -> None:
        self.latency = latency
        self.defect = defect
        self.machines = {
            f"slot-{n:05}": Machine(f"slot-{n:05}", f"zone-{'ab'[n % 2]}", SPOT if n % 4 == 0 else ON_DEMAND)
            for n in range(1, machines + 1)
        }
        self.marks: dict[tuple[str, str], tuple[int, int]] = {}
        self.operations = 0

    def get(self, machine_id: str) -> Machine:
        """Returns the machine with this id as it is now."""
        if not machine_id:
            raise RefusedError(Reason.INVALID, "the machine id is empty")
        if machine_id not in self.machines:
            raise RefusedError(Reason.UNKNOWN, f"there is no machine {machine_id[:64]!r}")
        machine = self.machines[machine_id]
        self._settle(machine)
        return machine

    def list(self, states: list[int], max_results: int) -> list[Machine]:
        """Returns the machines in one of `states`, or in any state if `states` is empty."""
        if max_results < 0:
            raise RefusedError(Reason.INVALID, "max_results is negative")
        for machine in self.machines.values():
            self._settle(machine)
        found = [each for each in self.machines.values() if not states or each.state in states]
        return found[:max_results] if max_results else found

    def create(self, machine_id: str, token: Token) -> tuple[str, Machine]:
        """Attaches a host; returns the operation id and the machine."""
        self._fence(machine_id, token)
        machine = self.get(machine_id)
        if machine.state in (State.CREATING, State.IDLE) and machine.created_by:
            if self.defect == "double-create":
                machine.created_by = self._new_operation()
            return machine.created_by, self._snapshot(machine)
        return self._start("create", machine)

    def configure(
        self, machine_id: str, token: Token, cluster: str, blob: bytes, metadata: dict[str, str]
    ) -> tuple[str, Machine]:
        """Binds an IDLE machine to a cluster; returns the operation id and the machine."""
        self._fence(machine_id, token)
        machine = self.get(machine_id)
        if not cluster:
            raise RefusedError(Reason.INVALID, "cluster_id is empty")
        if len(blob) > MAX_BLOB:
            raise RefusedError(Reason.INVALID, f"bootstrap_blob is larger than {MAX_BLOB} bytes")
        if sum(len(k.encode()) + len(v.encode()) for k, v in metadata.items()) > MAX_METADATA:
            raise RefusedError(Reason.INVALID, f"shard_metadata is larger than {MAX_METADATA} bytes")
        if self._is_retry("configure", machine) and machine.cluster == cluster:
            return machine.operation, self._snapshot(machine)
        if self.defect == "trims-metadata":
            metadata = {key: value.strip() for key, value in metadata.items()}
        return self._start("configure", machine, cluster=cluster, metadata=metadata)

    def drain(self, machine_id: str, token: Token, grace: int) -> tuple[str, Machine]:
        """Unbinds a CONFIGURED machine; returns the operation id and the machine."""
        if self.defect != "no-fence-on-drain":
            self._fence(machine_id, token)
        machine = self.get(machine_id)
        if grace < 0:
            raise RefusedError(Reason.INVALID, "grace_period_seconds is negative")
        if self._is_retry("drain", machine):
            return machine.operation, self._snapshot(machine)
        return self._start("drain", machine)

    def delete(self, machine_id: str, token: Token) -> tuple[str, Machine]:
        """Gives the host of an IDLE machine back; returns the operation id and the machine."""
        self._fence(machine_id, token)
        machine = self.get(machine_id)
        if self._is_retry("delete", machine):
            return machine.operation, self._snapshot(machine)
        return self._start("delete", machine)

    def _fence(self, machine_id: str, token: Token) -> None:
        """Checks the token against the mark of (shard, machine), and raises the mark (FEN-1 to FEN-14)."""
        if token.absent:
            return
        key, number = (token.shard, machine_id), (token.epoch, token.sequence)
        mark = self.marks.get(key)
        if mark is None and min(number) < 0:
            raise RefusedError(Reason.INVALID, "shard_epoch and sequence_number must not be negative")
        if mark is not None and number <= mark:
            raise RefusedError(Reason.FENCED, f"token {number} is not newer than the mark {mark}")
        self.marks[key] = number

    def _is_retry(self, verb: str, machine: Machine) -> bool:
        return machine.verb == verb and machine.state in EDGES[verb][1:]

    def _start(
        self, verb: str, machine: Machine, cluster: str = "", metadata: dict[str, str] | None = None
    ) -> tuple[str, Machine]:
        source, via, _ = EDGES[verb]
        if machine.state != source:
            raise RefusedError(Reason.NO_EDGE, f"cannot {verb} {machine.id}: it is {machine.state.name}")
        machine.verb, machine.operation = verb, self._new_operation()
        machine.state, machine.due = via, time.time() + self.latency
        if verb == "create":
            machine.created_by = machine.operation
        elif verb == "configure":
            machine.cluster, machine.metadata = cluster, dict(metadata or {})
        self._settle(machine)
        return machine.operation, self._snapshot(machine)

    def _settle(self, machine: Machine) -> None:
        if machine.due is None or machine.due > time.time():
            return
        machine.due, machine.state = None, EDGES[machine.verb][2]
        if machine.verb == "create":
            machine.host = f"host-{machine.operation}"
        elif machine.verb == "drain":
            machine.cluster, machine.metadata = "", {}
        elif machine.verb == "delete":
            machine.host, machine.created_by = "", ""

    def _new_operation(self) -> str:
        self.operations += 1
        return f"op-{self.operations}"

    @staticmethod
    def _snapshot(machine: Machine) -> Machine:
        return replace(machine)


def arguments() -> argparse.Namespace:
    """Returns the options of the command line, which are the same for all stacks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--machines", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--defect", choices=DEFECTS, default="")
    parser.add_argument("--state", type=Path, help="directory that keeps the state; in memory if not given")
    return parser.parse_args()
