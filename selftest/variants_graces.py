"""Variants that treat the grace period of a Drain in a way of their own; registered by selftest.variants."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import Operation, State, Verb
from fake_provider.request import Drain
from selftest.variant import variant

if TYPE_CHECKING:
    from fake_provider.machine import Machine
    from fake_provider.request import Request


@variant(leaves_failed=True)
class GraceZeroFails(Core):
    """Ends a Drain with a grace period of 0 in FAILED with a last_error: the workload needed longer (LIF-12)."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        started = super().start(verb, machine, request, now)
        hasty = isinstance(request, Drain) and request.grace == 0
        if not hasty or started.operation is None:
            return started
        return self.put(replace(started, operation=replace(started.operation, error="the workload did not stop")))


@variant(latency="30ms")
class TakesItsGrace(Core):
    """Lets a Drain take its whole grace period, but not more than four seconds."""

    def start(self, verb: Verb, machine: Machine, request: Request, now: float) -> Machine:
        if not isinstance(request, Drain):
            return super().start(verb, machine, request, now)
        operation = Operation(verb=verb, id=self.new_operation_id(verb, machine), due=now + min(request.grace, 4))
        self.schedule(self.put(replace(machine, state=State.DRAINING, operation=operation)), now)
        return self.machines[machine.id]


@variant()
class LimitsItsGrace(Core):
    """Refuses a grace period of more than a day."""

    def validate_grace(self, request: Drain) -> None:
        super().validate_grace(request)
        if request.grace > 86_400:
            raise Rejected(Code.INVALID_ARGUMENT, "grace_period_seconds must be at most 86400")
