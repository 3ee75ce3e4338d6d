"""A conformant provider's bad days (contract section 9): hooks by which a caller makes transitions fail."""

from dataclasses import dataclass, replace

from fake_provider.machine import Machine, Operation, Verb

FAULT_LABEL = "conformance.fault/create"
"""The label of a slot whose Create fails, with the value `error`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Which transitions fail, and after how long."""

    timeout: float = 1.0
    """The provider's own patience with a transition, in seconds."""
    notice: float = 0.05
    """The least time a failure takes, so that an ack never shows FAILED (LIF-11)."""

    def doom(self, operation: Operation, machine: Machine, now: float) -> Operation:
        """The operation as it will really go, which mostly is unchanged."""
        soon = max(operation.due, now + self.notice)
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
                late = timeout + self.timeout
                return replace(operation, due=timeout, error="the bootstrap timed out", late=late)
        return operation
