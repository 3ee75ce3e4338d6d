"""Providers whose failures look odd, and that conform (FLT)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.faults import Faults
from fake_provider.fence import Scope
from fake_provider.latency import Latency
from fake_provider.machine import Host, Machine, Operation, State, Verb
from selftest.faults_mutant import oddity

if TYPE_CHECKING:
    from fake_provider.request import Filter, Request

CREATES: Final = ("FLT-1e", "FLT-1f", "FLT-1g", "FLT-2b")
CONFIGURES: Final = ("FLT-1a", "FLT-1b", "FLT-1c", "FLT-2a", "FLT-4a", "FLT-4b")


@oddity()
class Plain(Core):
    """The bundled fake provider, unchanged."""


@oddity(scope=Scope.SHARD)
class PlainMarkPerShard(Core):
    """Keeps one mark for each shard."""


@oddity(revisions=False)
class FailsWithoutRevisions(Core):
    """Gives no revisions."""


@oddity(deletes=False)
class FailsWithoutDelete(Core):
    """Does not have Delete."""


@oddity(latency=Latency.parse("0"))
class FailsInstantly(Core):
    """Ends every transition before its ack."""


@oddity(skips=("FLT-2a", "FLT-4b"))
class GivesUpEarly(Core):
    """Gives each Configure that would fail up before it touches the host: the machine is IDLE again."""

    def settle(self, machine: Machine) -> Machine:
        operation = machine.operation
        if operation is not None and operation.verb is Verb.CONFIGURE and operation.error:
            return replace(self.cleared_by_drain(machine), state=State.IDLE)
        return super().settle(machine)


@oddity()
class FailedCreateHasHost(Core):
    """Shows the host that it started in vain."""

    def failed(self, machine: Machine, error: str) -> Machine:
        return super().failed(
            replace(machine, host=machine.host or Host(provider="fake", ref=f"i-{machine.id}")), error
        )


class SomeFaults(Faults):
    """Has some of the triggers only."""


@oddity(skips=("FLT-1b", "FLT-1c", "FLT-1d", "FLT-2a", "FLT-2b", "FLT-4a", "FLT-1e", "FLT-1f", "FLT-1g", "FLT-1h"))
class OnlyErrors(Core):
    """Has the trigger for an error in Configure, and no other one."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        faults, cluster = self.faults, getattr(request, "cluster", "")
        try:
            self.faults = faults if cluster == "fault-error" else None
            return super().start(verb, machine, request, now)
        finally:
            self.faults = faults


EVERYTHING: Final = (
    *("FLT-1h", "FLT-1d", "FLT-3a", "FLT-3b", "FLT-3c", "FLT-3d", "FLT-5a", "FLT-5b", "FLT-6a", "FLT-6b", "FLT-6c"),
    *("FLT-6d", "FLT-7a", *CREATES, *CONFIGURES),
)


@oddity(faults=None, skips=EVERYTHING)
class NoTriggers(Core):
    """Cannot be made to fail."""


@oddity(skips=("FLT-1a",))
class RefusesTheTrigger(Core):
    """Refuses a Configure that would fail at once: no transition starts."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        if getattr(request, "cluster", "") == "fault-error":
            raise Rejected(Code.INVALID_ARGUMENT, "there is no such cluster")
        return super().start(verb, machine, request, now)


CODES: Final = {
    Verb.CREATE: Code.ALREADY_EXISTS,
    Verb.CONFIGURE: Code.INTERNAL,
    Verb.DRAIN: Code.NOT_FOUND,
    Verb.DELETE: Code.INVALID_ARGUMENT,
}


@oddity()
class RefusesInManyWays(Core):
    """Refuses calls to a FAILED machine with another code for each verb."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        if machine.state is State.FAILED:
            return Rejected(CODES[verb], f"{machine.last_error}: repair it first")
        return super().no_edge(verb, machine)


@oddity()
class RefusesAsUnavailable(Core):
    """Refuses calls to a FAILED machine with UNAVAILABLE, which is not for that (COD-2), but a refusal."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        if machine.state is State.FAILED:
            return Rejected(Code.UNAVAILABLE, "the machine is out of order")
        return super().no_edge(verb, machine)


@oddity(faults=Faults(timeout=0.02, min_delay=0.02), latency=Latency.parse("10ms"))
class FailsSoon(Core):
    """Fails 20 ms after the ack."""


@oddity(faults=Faults(timeout=60.0), patience=600.0)
class FailsLate(Core):
    """Waits a minute before it gives a transition up."""


@oddity()
class KeepsBindingInFailed(Core):
    """Still shows cluster and metadata of a binding that failed."""

    def failed(self, machine: Machine, error: str) -> Machine:
        return replace(machine, state=State.FAILED, last_error=error)


@oddity()
class LosesHostOfFailed(Core):
    """Ends the host of a machine that failed, a while after it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.failed_at: dict[str, float] = {}
        super().__init__(*arguments, **options)

    def advance(self, now: float) -> None:
        super().advance(now)
        for machine in list(self.machines.values()):
            failed = machine.state is State.FAILED and machine.host is not None
            if failed and now - self.failed_at.setdefault(machine.id, now) > 1.0:
                self.put(replace(machine, host=None))


@oddity()
class ExplainsMoreLater(Core):
    """Adds the console output to last_error once it has it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.reads: dict[str, int] = {}
        super().__init__(*arguments, **options)

    def shown_in_get(self, machine: Machine) -> Machine:
        if machine.state is not State.FAILED:
            return machine
        self.reads[machine.id] = self.reads.get(machine.id, 0) + 1
        if self.reads[machine.id] == 3:
            machine = self.put(replace(machine, last_error=f"{machine.last_error}: the console says: no route"))
        return machine


@oddity()
class ListLagsBehindFailure(Core):
    """Lists a machine as it was before its failure for a second (LST-10)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.old: dict[str, tuple[float, Machine]] = {}
        self.now = 0.0
        super().__init__(*arguments, **options)

    def advance(self, now: float) -> None:
        self.now = now
        before = {machine.id: machine for machine in self.machines.values() if machine.moving}
        super().advance(now)
        for machine_id, old in before.items():
            if self.machines[machine_id].state is State.FAILED:
                self.old[machine_id] = (now, old)

    def shown_in_list(self, machine: Machine) -> Machine:
        since, old = self.old.get(machine.id, (0.0, machine))
        return old if machine.state is State.FAILED and self.now - since < 1.0 else machine

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(self.shown_in_list(machine), wanted)


@oddity()
class SaysOperationInFailure(Core):
    """Names the operation in last_error."""

    def settle(self, machine: Machine) -> Machine:
        operation: Operation | None = machine.operation
        if operation is not None and operation.error:
            machine = replace(machine, operation=replace(operation, error=f"{operation.id}: {operation.error}"))
        return super().settle(machine)
