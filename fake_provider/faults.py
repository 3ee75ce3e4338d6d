"""Fault hooks (contract section 9): a caller can make transitions of this conformant provider fail."""

from dataclasses import dataclass, replace

from fake_provider.machine import Machine, Operation, Verb

FAULT_LABEL = "conformance.fault/create"
"""The label with which a slot's Create fails, in the way that its value says."""
CREATE_FAULTS = ("error", "timeout", "slow-ok")
"""The values of the label."""

_ERRORS = {
    Verb.CREATE: "the cloud refused to start the host",
    Verb.CONFIGURE: "the bootstrap failed",
    Verb.DRAIN: "the node could not be drained",
}
_TIMEOUTS = {
    Verb.CREATE: "the host did not start in time",
    Verb.CONFIGURE: "the bootstrap timed out",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The time after which transitions fail, and the rules for which of them do."""

    timeout: float = 1.0
    """The time in seconds after which the provider gives up a transition."""
    min_delay: float = 0.05
    """The minimum time of a failing transition in seconds, so that an ack never shows FAILED (LIF-11)."""

    def apply(self, operation: Operation, machine: Machine, now: float) -> Operation:
        """Returns the operation with its failure, if a hook applies to it; otherwise returns it unchanged."""
        match self.kind(operation, machine):
            case "error":
                soon = max(operation.due, now + self.min_delay)
                return replace(operation, due=soon, error=_ERRORS[operation.verb])
            case "timeout":
                return replace(operation, due=now + self.timeout, error=_TIMEOUTS[operation.verb])
            case "readiness-block":
                return replace(operation, due=now + self.timeout, error="the node never became ready")
            case "slow-ok":
                late_due = now + 2 * self.timeout
                return replace(operation, due=now + self.timeout, error=_TIMEOUTS[operation.verb], late_due=late_due)
        return operation

    def kind(self, operation: Operation, machine: Machine) -> str:
        """Returns how the operation fails; empty if it does not fail."""
        match operation.verb:
            case Verb.CREATE:
                value = machine.labels.get(FAULT_LABEL, "")
                return value if value in CREATE_FAULTS else ""
            case Verb.CONFIGURE if operation.cluster.startswith("fault-"):
                return operation.cluster.removeprefix("fault-")
            case Verb.DRAIN if machine.cluster == "fault-drain-error":
                return "error"
        return ""
