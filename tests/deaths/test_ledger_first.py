"""Each call that may start a machine is in the ledger on disk before it is sent, until the machine is returned."""

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


def behaviours_matching(*patterns: str) -> Plan:
    """Returns the behaviours of the suite that match a pattern."""
    modules = (f"conformance.suite.{module.name}" for module in pkgutil.iter_modules(conformance.suite.__path__))
    bodies = [value for name in modules for value in vars(importlib.import_module(name)).values()]
    known = catalogue.load()
    wanted = {entry.id for entry in known.select(patterns, ())}
    return tuple(b for b in collection.plan(known, [b for b in bodies if declaration_of(b)]) if b.id in wanted)


class Disk:
    """The ledger as it would be after a power failure: only its synced bytes."""

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
        """Returns the record that a sweep would read from the synced bytes, or from the first `upto` bytes."""
        survivor = self.path.with_suffix(".survivor")
        survivor.write_bytes(self.path.read_bytes()[: self.safe if upto is None else upto])
        return ledger.read(survivor)


def auditor(disk: Disk, problems: list[str], started: list[str]) -> type[Servicer]:
    """Returns a servicer that checks the ledger after each call that changed a machine."""

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
                    call = f"{type(request).__name__} of {request.machine_id} by {request.token.shard}"
                    if entry is None:
                        problems.append(f"{call}: not in the ledger")
                    elif entry.resting:
                        problems.append(f"{call}: the ledger has no intent for it")

    return Auditor


@pytest.mark.timeout(120)
@pytest.mark.parametrize("latency", ["0", "10ms"])
def test_every_started_machine_is_in_the_ledger_on_disk(
    latency: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, problems, started = Disk(tmp_path / "ledger.ndjson", monkeypatch), list[str](), list[str]()

    async def judged() -> Report:
        core = Core(fleet(32), latency=Latency.parse(latency))
        async with serving(core, servicer=auditor(disk, problems, started)) as address:
            return await run.run(
                behaviours_matching("LIF-1*", "FEN-1*", "OPS-4*", "OPS-3*", "LIF-2*"),
                Target(address=address),
                options=Options(timeouts=Timeouts(patience=SHORT), seed=1),
                ledger_at=lambda name: disk.path,
            )

    report = asyncio.run(judged())
    assert problems == []
    assert len(started) > 50
    assert report.verdict is Verdict.CONFORMANT
    assert report.home.clean
    assert disk.record().entries == ()


def test_a_read_during_a_create_does_not_close_its_ledger_entry() -> None:
    class Slow(Servicer):
        async def Create(self, request: pb.CreateRequest, context: Any) -> pb.TransitionAck:  # noqa: N802
            started_create.set()
            await continue_create.wait()
            return await super().Create(request, context)

    started_create, continue_create = asyncio.Event(), asyncio.Event()

    async def read_during_create() -> None:
        core = Core(fleet(1))
        async with serving(core, servicer=Slow) as address, fleet_context(address) as context:
            machine = machines_of(context, core)[0]
            creating = asyncio.create_task(machine.create())
            await started_create.wait()
            await machine.read()
            assert [(e.machine, e.resting) for e in ledger.read(context.ledger.path).entries] == [(machine.id, False)]
            continue_create.set()
            await creating
            await machine.drive_to(State.SPECULATIVE)
            assert [(e.machine, e.resting) for e in ledger.read(context.ledger.path).entries] == [(machine.id, True)]

    asyncio.run(read_during_create())


def test_a_create_that_failed_with_unavailable_may_have_been_applied() -> None:
    class Cut(Servicer):
        async def Create(self, request: pb.CreateRequest, context: Any) -> pb.TransitionAck:  # noqa: N802
            await super().Create(request, context)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")
            raise AssertionError

    async def return_the_machine() -> None:
        core = Core(fleet(1))
        async with serving(core, servicer=Cut) as address, fleet_context(address) as context:
            machine = machines_of(context, core)[0]
            assert not (await machine.create()).ok
            assert (await machine.settle()).state is State.IDLE
            await machine.drive_to(State.SPECULATIVE)
            assert core.machines[machine.id].state.name == "SPECULATIVE"

    asyncio.run(return_the_machine())


def test_a_machine_that_another_client_had_before_is_returned_if_the_run_created_it() -> None:
    async def create_it_after_the_other() -> None:
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

    asyncio.run(create_it_after_the_other())
