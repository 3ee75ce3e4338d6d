"""What may be started is on disk before it is asked for, and stays there until it is over."""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
from typing import TYPE_CHECKING, Any

import grpc
import pytest

import conformance.suite
from conformance.core import catalogue
from conformance.core.errors import Disturbed
from conformance.core.lifecycle import State
from conformance.core.timeouts import Patience
from conformance.engine import run
from conformance.engine.options import Options, Timeouts
from conformance.fleet import ledger
from conformance.fleet.machine import Machine
from conformance.fleet.ownership import Owner
from conformance.fleet.pool import Pool
from conformance.frontends import collection
from conformance.results.result import Verdict
from conformance.rpc.target import Target
from conformance.testkit.behaviour import declaration_of
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.server import serving
from fake_provider.servicer import Servicer
from tests.runs import fleet_context, machines_of

if TYPE_CHECKING:
    from pathlib import Path

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.results.report import Report
    from conformance.testkit.behaviour import Plan
    from fake_provider.request import Request

SHORT = Patience(20.0, 20.0, 20.0, 20.0)


def chosen(*patterns: str) -> Plan:
    """The suite's behaviours that match."""
    modules = (f"conformance.suite.{module.name}" for module in pkgutil.iter_modules(conformance.suite.__path__))
    bodies = [value for name in modules for value in vars(importlib.import_module(name)).values()]
    known = catalogue.load()
    wanted = {entry.id for entry in known.select(patterns, ())}
    return tuple(b for b in collection.plan(known, [b for b in bodies if declaration_of(b)]) if b.id in wanted)


class Disk:
    """The ledger as it would be after a power cut: as far as it was synced."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.safe = path, 0
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._syncing(getattr(os, name)))

    def _syncing(self, real: Any) -> Any:
        def sync(fd: int) -> None:
            size = os.fstat(fd).st_size
            real(fd)
            self.safe = max(self.safe, size)

        return sync

    def record(self, upto: int | None = None) -> ledger.Record:
        """What a sweep would read; of the first `upto` bytes where that was then all."""
        survivor = self.path.with_suffix(".survivor")
        survivor.write_bytes(self.path.read_bytes()[: self.safe if upto is None else upto])
        return ledger.read(survivor)


def auditor(disk: Disk, troubles: list[str], started: list[str]) -> type[Servicer]:
    """A servicer that looks into the ledger whenever a call has started something."""

    class Auditor(Servicer):
        def mutate(self, request: Request) -> pb.TransitionAck:
            before = self.core.machines.get(request.machine_id)
            safe = disk.safe
            try:
                return super().mutate(request)
            finally:
                if self.core.machines.get(request.machine_id) != before:
                    started.append(request.machine_id)
                    entry = {entry.machine: entry for entry in disk.record(safe).entries}.get(request.machine_id)
                    what = f"{type(request).__name__} of {request.machine_id} by {request.token.shard}"
                    if entry is None:
                        troubles.append(f"{what}: not in the ledger")
                    elif entry.resting:
                        troubles.append(f"{what}: the ledger says that nothing is intended")

    return Auditor


@pytest.mark.timeout(120)
@pytest.mark.parametrize("latency", ["0", "10ms"])
def test_nothing_is_started_that_is_not_on_disk(latency: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, troubles, started = Disk(tmp_path / "ledger.ndjson", monkeypatch), list[str](), list[str]()

    async def judged() -> Report:
        core = Core(fleet(32), latency=Latency.parse(latency))
        async with serving(core, servicer=auditor(disk, troubles, started)) as address:
            return await run.run(
                chosen("LIF-1*", "FEN-1*", "OPS-4*", "OPS-3*", "LIF-2*"),
                Target(address=address),
                options=Options(timeouts=Timeouts(patience=SHORT), seed=1),
                ledger_at=lambda name: disk.path,
            )

    report = asyncio.run(judged())
    assert troubles == []
    assert len(started) > 50
    assert report.verdict is Verdict.CONFORMANT
    assert report.home.clean
    assert disk.record().entries == ()


def test_a_look_at_the_slot_does_not_make_a_create_that_is_under_way_forgotten() -> None:
    class Slow(Servicer):
        async def Create(self, request: pb.CreateRequest, context: Any) -> pb.TransitionAck:  # noqa: N802
            come.set()
            await go_on.wait()
            return await super().Create(request, context)

    come, go_on = asyncio.Event(), asyncio.Event()

    async def looked_at_meanwhile() -> None:
        core = Core(fleet(1))
        async with serving(core, servicer=Slow) as address, fleet_context(address) as context:
            machine = machines_of(context, core)[0]
            creating = asyncio.create_task(machine.create())
            await come.wait()
            await machine.read()
            assert [(e.machine, e.resting) for e in ledger.read(context.ledger.path).entries] == [(machine.id, False)]
            go_on.set()
            await creating
            await machine.drive_to(State.SPECULATIVE)
            assert [(e.machine, e.resting) for e in ledger.read(context.ledger.path).entries] == [(machine.id, True)]

    asyncio.run(looked_at_meanwhile())


def test_a_create_that_seems_refused_on_a_lost_connection_may_have_started_something() -> None:
    class Cut(Servicer):
        async def Create(self, request: pb.CreateRequest, context: Any) -> pb.TransitionAck:  # noqa: N802
            await super().Create(request, context)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")
            raise AssertionError

    async def brought_home_all_the_same() -> None:
        core = Core(fleet(1))
        async with serving(core, servicer=Cut) as address, fleet_context(address) as context:
            machine = machines_of(context, core)[0]
            assert not (await machine.create()).ok
            assert (await machine.settle()).state is State.IDLE
            await machine.drive_to(State.SPECULATIVE)
            assert core.machines[machine.id].state.name == "SPECULATIVE"

    asyncio.run(brought_home_all_the_same())


def test_a_slot_that_was_somebody_elses_once_is_brought_home_when_it_is_ours() -> None:
    async def ours_at_last() -> None:
        core = Core(fleet(1))
        async with serving(core) as address, fleet_context(address) as context:
            machine, other = (Machine(next(iter(core.machines)), context, number=number) for number in (1, 2))
            await other.drive_to(State.IDLE)
            with pytest.raises(Disturbed):
                await machine.read()
            await other.drive_to(State.SPECULATIVE)
            context.ledger.note_cleaned_up(other.id)
            await machine.drive_to(State.IDLE)
            assert machine.ownership.owner is not Owner.OTHER_CLIENT
            assert (await Pool([machine], context, max_alive=1).clean_up()).clean
            assert core.machines[machine.id].state.name == "SPECULATIVE"

    asyncio.run(ours_at_last())
