"""Providers that look unusual in an orderly stop or an upgrade, and conform."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.fence import Scope
from fake_provider.servicer import Servicer
from selftest.durability_cuts import Cuts
from selftest.rolled import ODDITIES, Rolled, StoppingServer, rolled
from selftest.rollout_mutants import SLOW, AnswersLate

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from fake_provider.machine import Machine, Verb
    from fake_provider.store import Snapshot


for _odd in (
    Rolled(name="GoesOn", story="Goes on with every transition after a stop.", latency=SLOW),
    Rolled(name="HasFaults", story="Has triggers for failures.", faults=True),
    Rolled(name="StartsSlowly", story="Needs half a second to start.", startup=0.5),
    Rolled(name="ServesNoHealth", story="Has no health service.", serving={"health": False}),
    Rolled(name="IsInstant", story="Ends each transition before its ack.", latency="0s"),
    Rolled(name="MarksPerShard", story="Keeps one mark per shard.", options={"scope": Scope.SHARD}),
    Rolled(name="IsBareMetal", story="Has no Delete and no revisions.", options={"deletes": False, "revisions": False}),
):
    ODDITIES[_odd.name] = _odd


@rolled(latency=SLOW)
class RefusesAllCallsAtOnce(StoppingServer):
    """Refuses every call with UNAVAILABLE as soon as it is asked to stop."""

    async def stop(self, grace: float, notice: float = 0.0) -> None:
        self._servicer.refusing = True
        await super().stop(grace, notice)


@rolled(latency=SLOW)
class StopsSlowly(StoppingServer):
    """Serves for a second and a half after the request to stop."""

    async def stop(self, grace: float, notice: float = 0.0) -> None:
        await super().stop(grace, 1.5)


@rolled(latency=SLOW)
class SaysGoawayAtOnce(StoppingServer):
    """Takes no new calls from the request to stop on (GOAWAY), and answers those that it has."""

    async def stop(self, grace: float, notice: float = 0.0) -> None:
        await super().stop(grace, 0.0)


@rolled()
class AnswersALittleLate(AnswersLate):
    """Has done its work some time before it answers."""

    seconds = 0.04


@rolled(latency=SLOW, machines=60)
class FailsRunningTransitions(Cuts):
    """Makes every transition fail that a stop has interrupted; the machines stay FAILED."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        return replace(super().restored_part(saved), stopped=False)

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return self.failed(machine, "the provider was stopped")


@rolled(latency=SLOW, machines=60)
class FailsAndCleansUp(Cuts):
    """Makes every transition fail that a stop has interrupted, and cleans the machines up in the next start."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return self.failed(machine, "the provider was stopped")


@rolled(latency=SLOW)
class UndoesRunningTransitions(Cuts):
    """Undoes every transition that a stop has interrupted."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return self.undone(machine)


@rolled(newer=True, latency=SLOW, machines=40)
class TheNewerVersionFailsRunningTransitions(Cuts):
    """Makes the transitions fail that the older version had begun."""

    def cut(self, machine: Machine, verb: Verb) -> Machine:
        return self.failed(machine, "interrupted by the upgrade")


@rolled(newer=True)
class TheNewerVersionShowsMore(Servicer):
    """Shows a field that the older contract does not have."""

    def build(self, machine: Machine) -> pb.Machine:
        message = super().build(machine)
        message.MergeFromString(b"\x82\x01\x05rack1")  # field 16
        return message
