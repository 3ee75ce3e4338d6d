"""Providers on which one failure changes other machines, or on which a FAILED machine is not fenced (FLT-6)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.machine import Machine, State, Verb
from selftest.faults_mutant import faults_mutant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fake_provider.fence import Token
    from fake_provider.store import MarkKey


class OnFailure(Core):
    """Does something to others when a machine fails."""

    def failed(self, machine: Machine, error: str) -> Machine:
        self.on_failure(machine)
        return super().failed(machine, error)

    def on_failure(self, machine: Machine) -> None:
        """Does it."""

    def living(self, machine: Machine, *states: State) -> Sequence[Machine]:
        return [each for each in self.machines.values() if each.id != machine.id and each.state in states]


@faults_mutant("FLT-6", "FLT-6a")
class FailureUnbindsOthers(OnFailure):
    """Unbinds all machines when one of them fails."""

    def on_failure(self, machine: Machine) -> None:
        for each in self.living(machine, State.CONFIGURED):
            self.put(replace(self.cleared_by_drain(each), state=State.IDLE))


@faults_mutant("FLT-6", "FLT-6a")
class FailureSpreads(OnFailure):
    """Takes the failure of one machine for one of the zone: all machines at rest there are FAILED too."""

    def on_failure(self, machine: Machine) -> None:
        for each in self.living(machine, State.IDLE, State.CONFIGURED):
            self.put(replace(each, state=State.FAILED, last_error="the zone is gone"))


@faults_mutant("FLT-6", "FLT-6a")
class FailureTakesMetadataOfOthers(OnFailure):
    """Clears the metadata of all machines when one fails."""

    def on_failure(self, machine: Machine) -> None:
        for each in self.living(machine, State.CONFIGURED):
            self.put(replace(each, shard_metadata={}))


@faults_mutant("FLT-6", "FLT-6b")
class FailureClearsAllMarks(OnFailure):
    """Forgets all marks when a machine fails: it starts over with a new fence."""

    def on_failure(self, machine: Machine) -> None:
        self.inventory.marks.clear()


@faults_mutant("FLT-6", "FLT-6b")
class FailureForgetsOperations(OnFailure):
    """Forgets the operations of all machines when one fails, so that a retry is a new one, or is refused."""

    def on_failure(self, machine: Machine) -> None:
        for each in self.living(machine, State.CONFIGURED):
            self.put(replace(each, operation=None))


@faults_mutant("FLT-6", "FLT-6c")
class FailureClearsOwnMarks(OnFailure):
    """Forgets the marks of a machine that fails."""

    def on_failure(self, machine: Machine) -> None:
        for key in [key for key in self.inventory.marks if key[1] == machine.id]:
            del self.inventory.marks[key]


@faults_mutant("FLT-6", "FLT-6c")
class FailedIsNotFenced(Core):
    """Looks at the state first: a FAILED machine refuses stale calls like any other call."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        machine = self.machines.get(machine_id)
        if machine is not None and machine.state is State.FAILED:
            raise self.no_edge(verb, machine)
        super().fence(verb, machine_id, token)


@faults_mutant("FLT-6", "FLT-6d")
class FailedMovesNoMark(Core):
    """Moves the mark only when a call is carried out, so not on a FAILED machine."""

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        machine = self.machines.get(key[1])
        if machine is None or machine.state is not State.FAILED:
            super().raise_mark(verb, key, token)
