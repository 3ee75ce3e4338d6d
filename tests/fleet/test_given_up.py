"""A Configure that the provider gives up leaves the machine IDLE (FLT-1): no violation, and no machine is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conformance.core.errors import Unprepared, Violation
from conformance.core.lifecycle import State, Verb
from conformance.engine.retries import MAX_ATTEMPTS, RetryReason
from conformance.fleet.drive import MAX_GIVEN_UP
from conformance.results.result import Status, Verdict
from conformance.testkit import expect
from fake_provider.core import Core
from fake_provider.machine import State as FakeState
from tests.pools import leased, pooled
from tests.runs import judged, proof, provider

if TYPE_CHECKING:
    from conformance.fleet.context import FleetContext
    from conformance.fleet.pool import Pool
    from conformance.testkit.trial import Trial
    from fake_provider.machine import Machine as Record
    from fake_provider.machine import Verb as FakeVerb
    from fake_provider.request import Ack


class GivesUp(Core):
    """Gives up the first Configures, or all of them."""

    first = 1
    configures = 0
    keeps_metadata = False

    def settle(self, machine: Record) -> Record:
        if machine.state is not FakeState.CONFIGURING:
            return super().settle(machine)
        self.configures += 1
        if self.configures > self.first:
            return super().settle(machine)
        metadata = machine.shard_metadata if self.keeps_metadata else {}
        return replace(machine, state=FakeState.IDLE, cluster="", shard_metadata=metadata)


class GivesUpAlways(GivesUp):
    """Gives up every Configure."""

    first = 10**6


class KeepsMetadata(GivesUpAlways):
    """Gives up every Configure, and keeps its metadata."""

    keeps_metadata = True


async def binds(trial: Trial) -> None:
    await expect.acked(trial.machine.configure())
    await expect.settles(trial.machine, Verb.CONFIGURE)


async def binds_and_drains_unread(trial: Trial) -> None:
    await expect.acked(trial.machine.configure())
    await expect.acked(trial.machine.drain())


async def configures_again(trial: Trial) -> None:
    first = await expect.acked(trial.machine.configure())
    await expect.same_operation(first, trial.machine.configure())


async def deletes_bound(trial: Trial) -> None:
    await expect.acked(trial.machine.configure())
    await expect.refused(trial.machine.delete())


@pytest.mark.parametrize("body", [binds, binds_and_drains_unread, configures_again, deletes_bound])
def test_a_behaviour_is_judged_again_after_a_configure_was_given_up(body: object) -> None:
    plan = [proof(body, machines=1, transitions=1)]  # type: ignore[arg-type]
    report = asyncio.run(judged(plan, provider(4, cls=GivesUp)))
    assert [f"{r.status}: {r.reason}" for r in report.results] == ["passed: "]
    assert report.exit_code == 0


def test_a_provider_that_gives_up_every_configure_is_not_conformant() -> None:
    core = provider(4, cls=GivesUpAlways)
    report = asyncio.run(judged([proof(binds, machines=1, transitions=1)], core))
    assert [r.status for r in report.results] == [Status.FAILED]
    assert report.verdict is Verdict.NON_CONFORMANT
    assert isinstance(core, GivesUp)
    assert core.configures == MAX_ATTEMPTS[RetryReason.GIVEN_UP]


def test_a_configure_that_leaves_a_trace_was_not_given_up() -> None:
    core = provider(4, cls=KeepsMetadata)

    async def binds_with_metadata(trial: Trial) -> None:
        await expect.acked(trial.machine.configure(metadata={"key": "value"}))
        await expect.settles(trial.machine, Verb.CONFIGURE)

    report = asyncio.run(judged([proof(binds_with_metadata, machines=1, transitions=1)], core))
    assert [r.status for r in report.results] == [Status.FAILED]
    assert isinstance(core, GivesUp)
    assert core.configures == 1


def test_without_operation_ids_a_retry_does_not_look_like_a_configure_that_was_given_up() -> None:
    class NoIds(Core):
        """Answers without an operation id."""

        def ack(self, verb: FakeVerb, operation_id: str, machine: Record) -> Ack:
            return super().ack(verb, "", machine)

    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        (machine,) = leased(pool, machines=1).machines
        await machine.drive_to(State.IDLE)
        await machine.configure()
        await machine.configure()
        assert machine.record.calls.given_up == 0

    pooled(facts, core=provider(4, cls=NoIds, latency=0.2))


def test_a_machine_whose_configure_was_given_up_is_configured_again() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1, start=State.CONFIGURED)
        await pool.prepare(lease)
        assert lease.machines[0].state is State.CONFIGURED
        assert lease.machines[0].record.calls.given_up == 1
        assert not pool.quarantined
        assert not context.model.breaches

    pooled(facts, core=provider(4, cls=GivesUp))


def test_a_machine_is_not_configured_for_ever() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1, start=State.CONFIGURED)
        with pytest.raises(Unprepared, match="is IDLE after Configure"):
            await pool.prepare(lease)
        assert isinstance(core, GivesUp)
        assert core.configures == MAX_GIVEN_UP + 1
        assert (await pool.clean_up()).clean

    pooled(facts, core=provider(4, cls=GivesUpAlways))


def test_a_drain_is_not_a_configure_that_was_given_up() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1, start=State.CONFIGURED)
        await pool.prepare(lease)
        machine = lease.machines[0]
        await machine.drive_to(State.IDLE)
        assert (await machine.configure()).ok
        assert (await machine.drain()).ok
        await machine.settle()
        assert machine.record.calls.given_up == 0

    pooled(facts, core=provider(4))


def test_settles_names_the_end_that_it_found() -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        lease = leased(pool, machines=1)
        await pool.prepare(lease)
        machine = lease.machines[0]
        assert (await machine.configure()).ok
        with pytest.raises(Violation, match="to settle at CONFIGURED"):
            await expect.settles(machine, Verb.CONFIGURE)
        assert machine.record.calls.given_up == 1

    pooled(facts, core=provider(4, cls=GivesUp))
