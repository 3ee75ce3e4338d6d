"""Tests that no provider makes a run exceed `--max-machines` or `--max-creates`: each machine costs money."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.lifecycle import State, Verb
from conformance.core.timeouts import Patience
from conformance.lanes.scale import churn
from conformance.lanes.scale import run as scale_run
from conformance.lanes.scale.soak import Soak
from conformance.rpc.target import Target
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.machine import Verb as TheirVerb
from fake_provider.server import serving
from fake_provider.servicer import Servicer
from tests.pools import SLOT, named
from tests.runs import SHORT, judged, nothing, options_from, proof, states_of

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.results.report import Report
    from conformance.testkit.trial import Trial
    from fake_provider.machine import Machine

SHORT_PATIENCE = Patience(0.3, 0.3, 0.3, 0.3)


class CountingCore(Core):
    """Counts the machines that it starts, and the machines that live at once."""

    creates = peak = 0

    def start(self, verb: TheirVerb, *more: Any) -> Machine:
        started = super().start(verb, *more)
        self.creates += verb is TheirVerb.CREATE
        self.peak = max(self.peak, len(states_of(self)))
        return started


class ReusesOperationIds(CountingCore):
    """Uses the same operation ids for every life of a machine (OPS-3)."""

    def new_operation_id(self, verb: TheirVerb, machine: Machine) -> str:
        return f"{verb}-{machine.id}"


def counting(machines: int = 16, *, cls: type[CountingCore] = CountingCore, latency: float = 0.0) -> CountingCore:
    return cls(fleet(machines), latency=Latency.every(latency))


def run(
    core: CountingCore, body: Any = nothing, *, count: int, serve: Any = None, more: Any = (), **given: Any
) -> Report:
    """Runs `count` behaviours with this body; `given` are their needs, and options of the run."""
    needs = {name: given.pop(name) for name in ("machines", "start", "transitions", "creates") if name in given}
    plan = [proof(body, f"TST-1{'abcdefghijklmnopqrstuvwxyz'[number]}", **needs) for number in range(count)]
    return asyncio.run(judged([*plan, *more], core, serve=serve, **given))


async def rounds(trial: Trial) -> None:
    for _ in range(5):
        await trial.drive(trial.machine, Verb.CREATE)
        await trial.drive(trial.machine, Verb.DELETE)


async def round_trip(trial: Trial) -> None:
    await trial.drive(trial.machine, Verb.CONFIGURE)
    await trial.drive(trial.machine, Verb.DRAIN)


def test_an_unanswered_create_counts_and_so_does_the_machine_that_it_may_have_started() -> None:
    class Late(Servicer):
        async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
            done = await super().Create(request, context)
            await asyncio.sleep(0.3)
            return done

    for limit in ("max_creates", "max_machines"):
        core = counting()
        given: dict[str, Any] = {limit: 1}
        report = run(core, count=3, machines=1, transitions=1, serve={"servicer": Late}, rpc_timeout=0.1, **given)
        assert (core.creates, core.peak) == (1, 1)
        assert report.exit_code == 3
        assert states_of(core).keys() == named(report.home)


def test_a_retired_machine_that_lives_counts_towards_the_limit() -> None:
    class Sticky(CountingCore):
        def cleared_by_drain(self, machine: Machine) -> Machine:
            return self.failed(machine, "the agent does not stop")

    async def drains(trial: Trial) -> None:
        await trial.machine.drain()
        await trial.machine.settle()

    core = counting(cls=Sticky, latency=0.001)
    report = run(core, drains, count=6, machines=1, start=State.CONFIGURED, transitions=2, max_machines=2)
    assert core.peak == 2
    assert states_of(core).keys() == named(report.home)
    reasons = {result.reason for result in report.results if result.reason}
    assert reasons == {"--max-machines 2 reached: 2 machines could not be cleaned up and may still be running"}
    assert report.time.wall < 4.0, "the run does not wait for machines that are not returned"


def test_a_behaviour_that_is_skipped_does_not_raise_the_limit() -> None:
    core = counting(latency=0.003)
    wide = proof(nothing, "TST-2a", machines=5, capabilities=["tls"])
    report = run(core, round_trip, count=8, machines=1, transitions=2, more=[wide], max_machines=2)
    assert report.exit_code == 0
    assert core.peak == 2


def test_a_create_with_a_reused_operation_id_counts() -> None:
    core = counting(cls=ReusesOperationIds)
    report = run(core, rounds, count=1, machines=1, start=SLOT, creates=True, transitions=2, max_creates=2)
    assert (core.creates, report.bill.create) == (2, 2)
    assert "--max-creates 2 is reached" in report.results[0].reason


def test_machines_that_seem_to_be_claimed_are_reported_and_not_started_without_limit() -> None:
    core = counting(16, cls=ReusesOperationIds)
    first = run(core, rounds, count=12, machines=1, start=SLOT, creates=True, transitions=40)
    assert first.home.clean
    second = run(core, count=16, machines=1, transitions=40, max_machines=2, patience=SHORT_PATIENCE)
    assert states_of(core).keys() == named(second.home)
    assert len(states_of(core)) <= 8
    assert second.exit_code in (0, 3)


# The scale lane.


def churned(
    core: Core, directory: Path, *, servicer: type[Servicer] = Servicer, operations: int, **given: Any
) -> Report:
    async def go() -> Report:
        wanted: dict[str, Any] = {"patience": SHORT, "rpc_timeout": 5.0} | given
        async with serving(core, servicer=servicer) as address:
            return await scale_run.run(
                scale_run.ScaleSettings(soak=Soak(operations=operations)),
                Target(address=address),
                options=options_from(**wanted),
                ledger_at=lambda run: directory / f"{run}.ndjson",
            )

    return asyncio.run(go())


def test_a_machine_that_fails_before_the_churn_is_not_replaced_over_the_limit(tmp_path: Path) -> None:
    class Nameless(Servicer):
        def ack(self, ack: Any) -> pb.TransitionAck:
            return pb.TransitionAck(machine=super().ack(ack).machine)

    core = counting(32, latency=0.001)
    report = churned(core, tmp_path, servicer=Nameless, operations=60, max_machines=2)
    assert core.peak == 2
    assert (report.exit_code, states_of(core)) == (1, {})


def test_a_machine_that_fails_during_the_churn_is_not_replaced_over_the_limit(tmp_path: Path) -> None:
    class Forgetful(CountingCore):
        def shown_in_get(self, machine: Machine) -> Machine:
            return replace(machine, shard_metadata={})

    core = counting(32, cls=Forgetful, latency=0.001)
    report = churned(core, tmp_path, operations=60, max_machines=4)
    assert core.peak == 4
    assert (report.exit_code, states_of(core)) == (1, {})


@pytest.fixture
def churns(monkeypatch: pytest.MonkeyPatch) -> list[churn.Churn]:
    """Collects every churn that is created."""
    made, init = list[churn.Churn](), churn.Churn.__init__

    def remembered(self: churn.Churn, *given: Any, **named: Any) -> None:
        made.append(self)
        init(self, *given, **named)

    monkeypatch.setattr(churn.Churn, "__init__", remembered)
    return made


def test_after_an_unanswered_call_the_history_of_a_machine_is_still_bounded(
    churns: list[churn.Churn], tmp_path: Path
) -> None:
    seen: set[str] = set()

    class Hiccups(Servicer):
        async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
            if request.machine_id not in seen:
                seen.add(request.machine_id)
                await context.abort(grpc.StatusCode.UNAVAILABLE, "in a moment")
            return await super().Create(request, context)

    core = counting(8)
    report = churned(core, tmp_path, servicer=Hiccups, operations=600, max_machines=4)
    assert (report.exit_code, states_of(core)) == (0, {})
    machines = [drive.machine for drive in churns[0].supply.workers]
    assert len(seen) == 4
    assert max(len(machine.record.clusters) + len(machine._claims) for machine in machines) < 10


def test_unanswered_deltas_do_not_stop_the_churn_and_are_reported_once(tmp_path: Path) -> None:
    class RejectsDeltas(Servicer):
        lists = 0

        async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
            RejectsDeltas.lists += 1
            if request.since_revision and RejectsDeltas.lists > 40:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no deltas now")
            return await super().List(request, context)

    report = churned(
        counting(8, latency=0.002), tmp_path, servicer=RejectsDeltas, operations=40, patience=SHORT_PATIENCE
    )
    vain = [note for note in report.notes if "not answered" in note]
    assert vain[0] == "a check was not answered: List answered RESOURCE_EXHAUSTED: no deltas now"
    assert len(vain) == 2
    assert vain[1].endswith(" checks in total were not answered")
