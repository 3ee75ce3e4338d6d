"""Providers that lose something in an orderly stop, or do not end properly (ROL-1, ROL-2)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fake_provider.errors import Code, Rejected
from fake_provider.machine import State, Verb
from fake_provider.server import Server
from fake_provider.servicer import Servicer
from selftest.durable import Restarted
from selftest.rolled import StoppedCore, StoppingServer, rolled

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_provider.machine import Machine
    from fake_provider.request import Filter, Listing
    from fake_provider.store import Snapshot

SLOW = "900ms"
"""Longer than an orderly stop, so that transitions run until its end."""


class _StopsWith(StoppedCore):
    """Not a mutant: changes its machines when it stops."""

    def last(self, machine: Machine) -> Machine:
        """Returns a machine as the stop leaves it."""
        return machine

    def stop(self) -> None:
        for machine in list(self.machines.values()):
            if (changed := self.last(machine)) is not machine:
                self.put(changed)
        super().stop()


# At rest.


@rolled("ROL-1a")
class AStopUnbindsAllMachines(_StopsWith):
    """Releases the machines of all clusters when it is stopped."""

    def last(self, machine: Machine) -> Machine:
        if machine.state is not State.CONFIGURED:
            return machine
        return replace(self.cleared_by_drain(machine), state=State.IDLE)


@rolled("ROL-1a")
class AStopWritesNoMetadata(_StopsWith):
    """Writes a last snapshot of its machines, in a form without the metadata."""

    def last(self, machine: Machine) -> Machine:
        return replace(machine, shard_metadata={}) if machine.shard_metadata else machine


@rolled("ROL-1a")
class AStopTrimsMetadata(_StopsWith):
    """Writes a last snapshot of its machines, with the metadata as text that is read line by line."""

    def last(self, machine: Machine) -> Machine:
        trimmed = {key.strip(): value.strip() for key, value in machine.shard_metadata.items()}
        return replace(machine, shard_metadata=trimmed) if trimmed != machine.shard_metadata else machine


@rolled("ROL-1a")
class AStopForgetsOperations(_StopsWith):
    """Writes a last snapshot of its machines without the operations that have ended."""

    def last(self, machine: Machine) -> Machine:
        return machine if machine.moving or not machine.operation else replace(machine, operation=None, created_by="")


@rolled("ROL-1a")
class AStopResetsTheCounter(StoppedCore):
    """Counts operations from 1 again after an orderly stop."""

    def stop(self) -> None:
        self.inventory.operations = 0
        super().stop()


@rolled("ROL-1b")
class AStopForgetsMarks(StoppedCore):
    """Takes an orderly stop for the end of all sessions of shards, and forgets their marks."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        return replace(saved, marks={}) if saved.stopped else saved


@rolled("ROL-1b")
class MarksAreKeptOfTheLastEpochOnly(StoppedCore):
    """Keeps the epochs of all marks over a stop, and begins with sequence 0."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        if not saved.stopped:
            return saved
        return replace(saved, marks={key: replace(mark, sequence=0) for key, mark in saved.marks.items()})


# Under load.


@rolled("ROL-1c", latency=SLOW)
class RunningTransitionsAreAbandoned(_StopsWith):
    """Cancels the work on running transitions, and does not begin it again."""

    def last(self, machine: Machine) -> Machine:
        return replace(machine, operation=None) if machine.moving else machine


@rolled("ROL-1c", latency=SLOW)
class CancelledConfiguresLeaveTheirBinding(_StopsWith):
    """Cancels running Configures, and leaves cluster and metadata behind."""

    def last(self, machine: Machine) -> Machine:
        if machine.state is not State.CONFIGURING:
            return machine
        return replace(machine, state=State.IDLE, operation=None)


@rolled("ROL-1c", latency=SLOW)
class CancelledTransitionsFailWithoutAnError(StoppedCore):
    """Makes running transitions fail, and does not say why."""

    def restored_part(self, saved: Snapshot) -> Snapshot:
        failed = {each.id: self.failed(each, "") for each in saved.machines.values() if each.moving}
        return replace(saved, stopped=False, machines={**saved.machines, **failed})


@rolled("ROL-1c", latency=SLOW)
class RunningTransitionsBeginAgain(_StopsWith):
    """Begins running transitions again after the start, each as a new operation."""

    def last(self, machine: Machine) -> Machine:
        operation = machine.operation
        if not (machine.moving and operation):
            return machine
        again = replace(operation, id=f"{operation.id}-again")
        created = again.id if operation.verb is Verb.CREATE else machine.created_by
        return replace(machine, operation=again, created_by=created)


@rolled("ROL-1d")
class NothingIsSavedDuringTheStop(StoppedCore):
    """Has closed its database when it answers the last calls."""

    def commit(self) -> None:
        if self.stopping:
            self.inventory.mark_saved()
        super().commit()


@rolled("ROL-1d")
class MarksAreNotSavedDuringTheStop(StoppedCore):
    """Has stopped the writer of its marks when it answers the last calls."""

    def saved_part(self, change: Snapshot) -> Snapshot:
        return replace(change, marks={}) if self.stopping else change


@rolled("ROL-1d")
class BindingsAreNotSavedDuringTheStop(StoppedCore):
    """Has stopped the writer of metadata when it answers the last calls."""

    def saved_part(self, change: Snapshot) -> Snapshot:
        if not self.stopping:
            return change
        return replace(change, machines={each.id: self._stripped(each) for each in change.machines.values()})

    def _stripped(self, machine: Machine) -> Machine:
        begun = machine.operation is not None and machine.operation.verb is Verb.CONFIGURE
        return replace(machine, shard_metadata={}) if begun else machine


class AnswersLate(Servicer):
    """Not a mutant: has done its work some time before it answers."""

    seconds = 0.4

    async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
        if self.refusing:
            return await super().answer(context, work)
        result, problem = None, None
        try:
            result = work()
        except Exception as error:
            problem = error
        await asyncio.sleep(self.seconds)

        def done() -> Any:
            if problem is not None:
                raise problem
            return result

        return await super().answer(context, done)


@rolled("ROL-1e", servicer=AnswersLate)
class ExitsAtOnce(Server):
    """Ends at SIGTERM, whatever it is doing."""

    async def stop(self, grace: float, notice: float = 0.0) -> None:
        self.core.stop()
        await self.drop()


@rolled("ROL-1e", servicer=AnswersLate)
class HasNoGracePeriod(Server):
    """Says NOT_SERVING for a while, and then cancels the running calls."""

    async def stop(self, grace: float, notice: float = 0.0) -> None:
        if self._health:
            await self._health.not_serving()
        await asyncio.sleep(notice)
        self.core.stop()
        await self.drop()


@rolled("ROL-1f")
class WaitsForOpenStreams(Server):
    """Waits until all clients have closed their streams."""

    async def stop(self, grace: float, notice: float = 0.0) -> None:
        await super().stop(3600.0, notice)


@rolled("ROL-1f")
class NeverEnds(Server):
    """Waits for a thread that does not end."""

    async def stop(self, grace: float, notice: float = 0.0) -> None:
        await asyncio.Event().wait()


# Health.


@rolled("ROL-2a")
class SaysServingUntilItsEnd(StoppingServer):
    """Does not tell the health service that it stops."""

    async def stop(self, grace: float, notice: float = 0.0) -> None:
        self._health = None
        await super().stop(grace, notice)


class _StartsSlowly(Restarted):
    """Not a mutant: has not read its state for a moment after a start."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.ready_at = time.monotonic() + (0.3 if self.kills else 0.0)

    @property
    def ready(self) -> bool:
        """True when the state was read."""
        return time.monotonic() >= self.ready_at


@rolled("ROL-2b")
class SaysServingTooEarly(_StartsSlowly):
    """Says SERVING as soon as the port is open, and refuses calls until it has read its state."""

    def get(self, machine_id: str, now: float) -> Machine:
        if not self.ready:
            raise Rejected(Code.UNAVAILABLE, "the state is being read")
        return super().get(machine_id, now)

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        if not self.ready:
            raise Rejected(Code.UNAVAILABLE, "the state is being read")
        return super().list_machines(wanted, now)


@rolled("ROL-2b")
class ListsLessAtFirst(_StartsSlowly):
    """Says SERVING as soon as the port is open, and lists the machines that it has read until then."""

    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(machine, wanted) and (self.ready or machine.state is not State.CONFIGURED)
