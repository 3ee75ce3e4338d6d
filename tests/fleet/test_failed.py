"""A machine that ends in FAILED is named, and is not called left: no call leads out of that state (FLT-3)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from conformance.core.lifecycle import State
from conformance.fleet import ledger as ledgers
from conformance.fleet.failed import failures
from conformance.reporters import json_report, terminal
from conformance.reporters.html_report.render import render
from conformance.results import reader
from conformance.results.result import Verdict
from fake_provider.core import Core
from fake_provider.request import Drain
from tests.pools import leased, pooled
from tests.runs import judged, proof, provider

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.fleet.context import FleetContext
    from conformance.fleet.pool import Pool
    from conformance.testkit.trial import Trial
    from fake_provider.machine import Machine as Record
    from fake_provider.machine import Verb
    from fake_provider.request import Request


class GraceZeroFails(Core):
    """Ends a Drain with grace 0 in FAILED."""

    error = "the workload did not stop"

    def start(self, verb: Verb, machine: Record, request: Request, now: float) -> Record:
        started = super().start(verb, machine, request, now)
        if not isinstance(request, Drain) or request.grace or started.operation is None:
            return started
        return self.put(self.failed(started, self.error))


class FailsWithoutError(GraceZeroFails):
    """Does not say why."""

    error = ""


async def drains_hard(trial: Trial) -> None:
    assert (await trial.machine.drain(grace=0)).ok
    assert (await trial.machine.settle()).state is State.FAILED


def test_a_failed_machine_is_named_and_the_run_is_conformant(tmp_path: Path) -> None:
    report = asyncio.run(
        judged(
            [proof(drains_hard, machines=1, start=State.CONFIGURED, transitions=1)],
            provider(4, cls=GraceZeroFails),
            ledger=tmp_path / "ledger.ndjson",
        )
    )
    assert report.verdict is Verdict.CONFORMANT
    assert report.exit_code == 0
    assert report.home.clean
    assert [why.partition(" (its host costs ")[0] for _, why in report.home.failed] == ["the workload did not stop"]
    assert not ledgers.read(tmp_path / "ledger.ndjson").entries, "the next run into this directory is not blocked"
    closing = "\n".join(terminal.closing(report))
    assert "1 machine of this run ended in FAILED" in closing
    assert "the workload did not stop" in closing
    assert "all other started machines were returned" in closing
    assert "conformance sweep" not in closing
    assert "ended in FAILED" in render(report)
    home = json.loads(json_report.render(report))["home"]
    assert home["failed"] == dict(report.home.failed)
    assert (home["left"], home["clean"]) == ([], True)
    assert reader.read_text(json_report.render(report).encode()).home == report.home


def test_a_machine_that_failed_without_an_error_is_left() -> None:
    report = asyncio.run(
        judged(
            [proof(drains_hard, machines=1, start=State.CONFIGURED, transitions=1)],
            provider(4, cls=FailsWithoutError),
        )
    )
    assert report.home.failed == ()
    assert len(report.home.left) == 1


@pytest.mark.parametrize("keep", [False, True])
def test_a_kept_machine_is_not_called_failed(keep: bool) -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1, start=State.CONFIGURED)
        await pool.prepare(lease)
        machine = lease.machines[0]
        assert (await machine.drain(grace=0)).ok
        assert await failures([machine]) == {}, "no Get has shown it yet"
        await machine.settle()
        found = await failures([machine])
        price = core.machines[machine.id].price_per_hour
        cost = f" (its host costs {price:g} per hour)" if price else ""
        assert found == {machine.id: f"the workload did not stop{cost}"}
        home = await pool.clean_up(keep=keep)
        assert (len(home.left), len(home.failed)) == ((1, 0) if keep else (0, 1))
        assert (machine.id in context.ledger.open) is keep

    pooled(facts, core=provider(4, cls=GraceZeroFails))
