"""Providers whose FAILED machines do not rest as they should, or that show a failure wrongly (FLT)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import EDGES, Machine, State, Verb
from fake_provider.request import Configure, Filter, Request
from selftest.faults_mutant import faults_mutant

# FLT-1: a transition that fails ends in FAILED with last_error.


@faults_mutant("FLT-1", "FLT-1a")
class FailsWithoutError(Core):
    """Shows FAILED without a last_error after a Configure that failed."""

    def failed(self, machine: Machine, error: str) -> Machine:
        wordless = machine.operation is not None and machine.operation.verb is Verb.CONFIGURE
        return super().failed(machine, "" if wordless else error)


@faults_mutant("FLT-1", "FLT-1a")
class ErrorOnlyInFirstLife(Core):
    """Keeps errors by machine id, and writes only the first one of each: a later binding has no last_error."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.bindings: dict[str, int] = {}
        super().__init__(*arguments, **options)

    def bound(self, machine: Machine, request: Configure) -> Machine:
        self.bindings[machine.id] = self.bindings.get(machine.id, 0) + 1
        return super().bound(machine, request)

    def failed(self, machine: Machine, error: str) -> Machine:
        return super().failed(machine, "" if self.bindings.get(machine.id, 0) > 1 else error)


@faults_mutant("FLT-1", "FLT-1b")
class TimeoutNeverEnds(Core):
    """Has no limit of its own: a bootstrap that hangs is CONFIGURING forever."""

    def complete(self, machine: Machine, operation_id: str) -> None:
        if machine.cluster != "fault-timeout":
            super().complete(machine, operation_id)


@faults_mutant("FLT-1", "FLT-1d")
class DrainErrorIsUndone(Core):
    """Takes a Drain that failed back: the machine is CONFIGURED again, as if no client had asked."""

    def settle(self, machine: Machine) -> Machine:
        operation = machine.operation
        if operation is not None and operation.verb is Verb.DRAIN and operation.error:
            return replace(machine, state=State.CONFIGURED)
        return super().settle(machine)


@faults_mutant("FLT-1", "FLT-1d")
class DrainErrorHangs(Core):
    """Tries a Drain that failed again and again, and is DRAINING forever."""

    def complete(self, machine: Machine, operation_id: str) -> None:
        operation = machine.operation
        if operation is None or not (operation.verb is Verb.DRAIN and operation.error):
            super().complete(machine, operation_id)


@faults_mutant("FLT-1", "FLT-1e", "FLT-1f", "FLT-1g")
class FailedCreateIsSlotAgain(Core):
    """Gives a slot whose Create failed back as if it had never been asked for."""

    def settle(self, machine: Machine) -> Machine:
        operation = machine.operation
        if operation is not None and operation.verb is Verb.CREATE and operation.error:
            return replace(self.cleared_by_delete(machine), state=State.SPECULATIVE)
        return super().settle(machine)


@faults_mutant("FLT-1", "FLT-1f")
class CreateTimeoutNeverEnds(Core):
    """Waits for a host that never comes: CREATING forever."""

    def complete(self, machine: Machine, operation_id: str) -> None:
        operation = machine.operation
        if operation is None or operation.error != "the host did not start in time":
            super().complete(machine, operation_id)


@faults_mutant("FLT-1", "FLT-1a")
class GivesUpWithTraces(Core):
    """Gives a Configure up, and leaves the metadata of the binding on the IDLE machine."""

    def settle(self, machine: Machine) -> Machine:
        operation = machine.operation
        if operation is not None and operation.verb is Verb.CONFIGURE and operation.error:
            return replace(machine, state=State.IDLE, cluster="", last_error=operation.error)
        return super().settle(machine)


@faults_mutant("FLT-1", "FLT-1c")
class SlowConfigureGoesBackToSlot(Core):
    """Throws the machine away when its Configure takes too long: it is a slot again."""

    def settle(self, machine: Machine) -> Machine:
        operation = machine.operation
        if operation is not None and operation.cluster == "fault-slow-ok":
            return replace(self.cleared_by_delete(machine), state=State.SPECULATIVE)
        return super().settle(machine)


@faults_mutant("FLT-1", "FLT-1h")
class DrainIsIdleTooSoon(Core):
    """Shows IDLE as soon as a Drain begins, and notices only later that it failed."""

    def shown_in_get(self, machine: Machine) -> Machine:
        operation = machine.operation
        if machine.state is State.DRAINING and operation is not None and operation.error:
            return self.cleared_by_drain(replace(machine, state=State.IDLE))
        return machine


@faults_mutant("FLT-1", "FLT-1h")
class CreateIsIdleInList(Core):
    """Lists a machine as IDLE while its Create, which fails, still runs."""

    def shown_in_list(self, machine: Machine) -> Machine:
        operation = machine.operation
        if machine.state is State.CREATING and operation is not None and operation.error:
            return replace(machine, state=State.IDLE, host=self.new_host(machine, operation))
        return machine


# FLT-2: a success that comes too late is thrown away.


@faults_mutant("FLT-2", "FLT-2a")
class LateSuccessWins(Core):
    """Binds a machine whose Configure has timed out, once the node answers."""

    verb = Verb.CONFIGURE

    def complete(self, machine: Machine, operation_id: str) -> None:
        operation = machine.operation
        late = machine.state is State.FAILED and operation is not None and operation.id == operation_id
        if late and operation is not None and operation.verb is self.verb:
            machine = replace(machine, operation=replace(operation, error=""), last_error="", cluster=operation.cluster)
            self.put(self.settle(machine))
        else:
            super().complete(machine, operation_id)


@faults_mutant("FLT-2", "FLT-2b")
class LateCreateWins(LateSuccessWins):
    """Takes a host that starts after its Create has timed out."""

    verb = Verb.CREATE


@faults_mutant("FLT-2", "FLT-2a")
class LateSuccessWinsInLaterLife(LateSuccessWins):
    """Throws a late success away in the first life of a slot only: it compares with the first Create."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.creates: dict[str, int] = {}
        super().__init__(*arguments, **options)

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        self.creates[machine.id] = self.creates.get(machine.id, 0) + (verb is Verb.CREATE)
        return super().new_operation_id(verb, machine)

    def complete(self, machine: Machine, operation_id: str) -> None:
        if self.creates.get(machine.id, 0) > 1:
            super().complete(machine, operation_id)
        else:
            Core.complete(self, machine, operation_id)


# FLT-3: FAILED is stable, and refuses every mutation.


@faults_mutant("FLT-3", "FLT-3a")
class HealsByItself(Core):
    """Returns a FAILED machine to IDLE after a second, without anybody's doing."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.failed_at: dict[str, float] = {}
        super().__init__(*arguments, **options)

    def advance(self, now: float) -> None:
        super().advance(now)
        for machine in list(self.machines.values()):
            if machine.state is not State.FAILED:
                self.failed_at.pop(machine.id, None)
            elif now - self.failed_at.setdefault(machine.id, now) > 1.0:
                self.put(replace(self.cleared_by_drain(machine), state=State.IDLE))


@faults_mutant("FLT-3", "FLT-3a")
class RetriesByItself(HealsByItself):
    """Tries a transition that failed once more, after a second."""

    def advance(self, now: float) -> None:
        Core.advance(self, now)
        for machine in list(self.machines.values()):
            operation = machine.operation
            if machine.state is not State.FAILED or operation is None:
                self.failed_at.pop(machine.id, None)
            elif now - self.failed_at.setdefault(machine.id, now) > 1.0:
                again = replace(operation, due=now + 0.5)
                self.put(replace(machine, state=EDGES[operation.verb].via, last_error="", operation=again))
                self.schedule(self.machines[machine.id], now)


@faults_mutant("FLT-3", "FLT-3b")
class ForgetsErrorWhenRead(Core):
    """Takes last_error for a message: it is gone once it was read twice."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.reads: dict[str, int] = {}
        super().__init__(*arguments, **options)

    def shown_in_get(self, machine: Machine) -> Machine:
        if machine.state is State.FAILED:
            self.reads[machine.id] = self.reads.get(machine.id, 0) + 1
            return replace(machine, last_error=machine.last_error if self.reads[machine.id] <= 2 else "")
        return machine


@faults_mutant("FLT-3", "FLT-3b")
class LastErrorOfAll(Core):
    """Has one place for the last error, which all machines show."""

    last = ""

    def failed(self, machine: Machine, error: str) -> Machine:
        self.last = error
        return super().failed(machine, error)

    def shown_in_get(self, machine: Machine) -> Machine:
        return replace(machine, last_error=self.last) if machine.state is State.FAILED else machine

    shown_in_list = shown_in_get


@faults_mutant("FLT-3", "FLT-3b")
class RefusalOverwritesError(Core):
    """Writes the reason of each refusal over the reason of the failure."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        rejected = super().no_edge(verb, machine)
        if machine.state is State.FAILED:
            self.put(replace(machine, last_error=f"cannot {verb}"))
        return rejected


class AcceptsOnFailed(Core):
    """Accepts some calls on a FAILED machine."""

    accepted: tuple[Verb, ...] = ()

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        if not (machine.state is State.FAILED and verb in self.accepted):
            super().check_edge(verb, machine, request)


@faults_mutant("FLT-3", "FLT-3c")
class FailedAcceptsDrain(AcceptsOnFailed):
    """Drains a FAILED machine back to IDLE."""

    accepted = (Verb.DRAIN,)


@faults_mutant("FLT-3", "FLT-3c")
class FailedAcceptsDelete(AcceptsOnFailed):
    """Deletes a FAILED machine."""

    accepted = (Verb.DELETE,)


@faults_mutant("FLT-3", "FLT-3c")
class FailedAcceptsCreate(AcceptsOnFailed):
    """Creates a FAILED machine again."""

    accepted = (Verb.CREATE,)


@faults_mutant("FLT-3", "FLT-3c")
class FailedRefusesAsFence(Core):
    """Refuses calls to a FAILED machine with FAILED_PRECONDITION, which pages an operator."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        if machine.state is State.FAILED:
            return Rejected(Code.FAILED_PRECONDITION, "the machine is FAILED")
        return super().no_edge(verb, machine)


@faults_mutant("FLT-3", "FLT-3d")
class FilterForgetsFailed(Core):
    """Does not know FAILED as a filter."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(machine, wanted) and not (wanted.states and machine.state is State.FAILED)


@faults_mutant("FLT-3", "FLT-3d")
class FailedIsUnlisted(Core):
    """Leaves FAILED machines out of a List of all machines."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(machine, wanted) and (bool(wanted.states) or machine.state is not State.FAILED)


@faults_mutant("FLT-3", "FLT-3d")
class ListLosesError(Core):
    """Has no last_error in List."""

    def shown_in_list(self, machine: Machine) -> Machine:
        return replace(machine, last_error="")


@faults_mutant("FLT-3", "FLT-3d")
class DeltaForgetsFailure(Core):
    """Does not count a failure as a change: a delta shows nothing of it."""

    def changed(self, machine: Machine, since: int) -> bool:
        return super().changed(machine, since) and not (since and machine.state is State.FAILED)


# FLT-4: CONFIGURED only once the node is ready.


@faults_mutant("FLT-4", "FLT-4b")
class ConfiguredBeforeReady(Core):
    """Is CONFIGURED as soon as the bootstrap runs, and FAILED when the node is still not ready later."""

    def shown_in_get(self, machine: Machine) -> Machine:
        waits = machine.state is State.CONFIGURING and machine.cluster == "fault-readiness-block"
        return replace(machine, state=State.CONFIGURED) if waits else machine

    shown_in_list = shown_in_get


@faults_mutant("FLT-4", "FLT-4b")
class AckSaysConfigured(Core):
    """Shows the machine at its target in the ack, and lets it fail afterwards."""

    def shown_in_ack(self, verb: Verb, machine: Machine) -> Machine:
        return replace(machine, state=State.CONFIGURED) if machine.state is State.CONFIGURING else machine


@faults_mutant("FLT-4", "FLT-4a")
class WaitsForReadinessForEver(Core):
    """Waits for a node that never becomes ready."""

    def complete(self, machine: Machine, operation_id: str) -> None:
        if machine.cluster != "fault-readiness-block":
            super().complete(machine, operation_id)


# FLT-5: a retry of a call that failed starts nothing, and is not answered as if it had succeeded.


@faults_mutant("FLT-5", "FLT-5a")
class RetryOfFailedIsOk(Core):
    """Answers a retry of a call that failed with its old operation."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        operation = machine.operation
        if machine.state is State.FAILED and operation is not None and operation.verb is verb:
            return operation.id
        return super().retry_of(verb, machine, request)


@faults_mutant("FLT-5", "FLT-5a")
class RetryOfFailedCreateIsOk(Core):
    """Answers a retry of a Create that failed like one of a Create that succeeded."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        if machine.state is State.FAILED and verb is Verb.CREATE and machine.host is None:
            return machine.created_by
        return super().retry_of(verb, machine, request)


@faults_mutant("FLT-5", "FLT-5a", "FLT-5b")
class RetryStartsAnew(Core):
    """Starts a transition that failed again when its call is retried."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        operation = machine.operation
        if not (machine.state is State.FAILED and operation is not None and operation.verb is verb):
            super().check_edge(verb, machine, request)


@faults_mutant("FLT-5", "FLT-5b")
class OtherClusterStartsAnew(Core):
    """Binds a FAILED machine to another cluster."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        operation = machine.operation
        other = isinstance(request, Configure) and operation is not None and operation.cluster != request.cluster
        if not (machine.state is State.FAILED and other and operation is not None and operation.verb is verb):
            super().check_edge(verb, machine, request)


@faults_mutant("FLT-5", "FLT-5b")
class RefusedRetryStartsAnyway(Core):
    """Refuses a retry of a Configure that failed, and starts it anyway."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        operation = machine.operation
        if machine.state is State.FAILED and verb is Verb.CONFIGURE and operation is not None:
            again = replace(operation, due=operation.due + 1000.0)
            self.put(replace(machine, state=State.CONFIGURING, last_error="", operation=again))
        return super().no_edge(verb, machine)
