"""Providers that mishandle negative numbers or unknown states (contract §4, COD-3 and COD-4)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import State, Verb
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.fence import Token
    from fake_provider.request import Drain, Filter


@mutant("COD-3", "COD-3c")
class OddStatesAreFailedPrecondition(Core):
    """Answers FAILED_PRECONDITION to a List with an unknown state."""

    def validate_filter(self, wanted: Filter) -> None:
        super().validate_filter(wanted)
        if any(state not in State.__members__.values() for state in wanted.states):
            raise Rejected(Code.FAILED_PRECONDITION, "states: unknown")


@mutant("COD-4", "COD-4g")
class NegativeNumbersOfConfigurePass(Core):
    """Accepts negative token numbers on Configure, which it does not validate."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if verb is not Verb.CONFIGURE:
            super().validate_first_token(verb, token)


@mutant("COD-4", "COD-4h")
class NegativeNumbersOfConfigureAreFenced(Core):
    """Answers FAILED_PRECONDITION to a Configure with negative numbers, because its mark starts at zero."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if verb is Verb.CONFIGURE and token.negative:
            raise self.fenced(verb, token)
        super().validate_first_token(verb, token)


@mutant("COD-4", "COD-4h", also=("MET-3a",), because="its machine may have had such a call before")
class RefusedNegativeNumbersLeaveANote(Core):
    """Writes the caller to the machine before it checks that a token number is negative."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        machine = self.machines.get(machine_id)
        if machine and token.negative:
            self.put(replace(machine, shard_metadata={"caller": token.shard}))
        super().fence(verb, machine_id, token)


@mutant("COD-4", "COD-4f")
class RefusedNegativeGraceUnbinds(Core):
    """Clears the machine's cluster before it checks that the grace period is negative."""

    def validate_grace(self, request: Drain) -> None:
        if request.grace < 0:
            self.put(replace(self.machines[request.machine_id], cluster=""))
        super().validate_grace(request)


@mutant("COD-4", "COD-4f")
class RefusedNegativeGraceForgetsTheOperation(Core):
    """Replaces the Configure's operation before it checks that the grace period is negative."""

    def validate_grace(self, request: Drain) -> None:
        machine = self.machines[request.machine_id]
        if request.grace < 0 and machine.operation:
            self.put(replace(machine, operation=replace(machine.operation, id=f"{machine.operation.id}-")))
        super().validate_grace(request)
