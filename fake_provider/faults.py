"""Fault hooks (contract section 9): a caller can make transitions of this conformant provider fail."""

from dataclasses import dataclass, replace

from fake_provider.machine import Machine, Operation, Verb

FAULT_LABEL = "conformance.fault/create"
"""The label with which a slot's Create fails if its value is `error`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The time after which transitions fail, and the rules for which of them do."""

    timeout: float = 1.0
    """The time in seconds after which the provider gives up a transition."""
    min_delay: float = 0.05
    """The minimum time of a failing transition in seconds, so that an ack never shows FAILED (LIF-11)."""

    def apply(self, operation: Operation, machine: Machine, now: float) -> Operation:
        """Returns the operation with its failure, if a hook applies to it; otherwise returns it unchanged."""
        soon = max(operation.due, now + self.min_delay)
        timeout = now + self.timeout
        match operation.verb:
            case Verb.CREATE if machine.labels.get(FAULT_LABEL) == "error":
                return replace(operation, due=soon, error="the cloud refused to start the host")
            case Verb.DRAIN if machine.cluster == "fault-drain-error":
                return replace(operation, due=soon, error="the node could not be drained")
            case Verb.CONFIGURE:
                pass
            case _:
                return operation
        match operation.cluster:
            case "fault-error":
                return replace(operation, due=soon, error="the bootstrap failed")
            case "fault-timeout":
                return replace(operation, due=timeout, error="the bootstrap timed out")
            case "fault-readiness-block":
                return replace(operation, due=timeout, error="the node never became ready")
            case "fault-slow-ok":
                late_due = timeout + self.timeout
                return replace(operation, due=timeout, error="the bootstrap timed out", late_due=late_due)
        return operation
