"""The faults lane: its triggers, what it says where there is nothing to judge, its records, and its clean-up."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from conformance import lanes
from conformance.core.errors import NotObserved, TargetError, Unsupported, UsageError, Violation
from conformance.core.lifecycle import State
from conformance.lanes.faults import test_others, triggers
from conformance.lanes.faults.recording import SHARED, machines_needed
from conformance.lanes.faults.settings import FaultSettings
from conformance.lanes.faults.specimens import Creates, Effect, Failures, Specimen
from conformance.results.profiles import claims
from conformance.results.result import Status
from fake_provider.core import Core
from fake_provider.request import Drain
from selftest import faults_oddities as faults_oddities
from selftest.faults_mutant import ODDITIES, FaultyProvider
from tests.pools import leased, pooled
from tests.runs import provider

if TYPE_CHECKING:
    from conformance.core.catalogue import Entry
    from conformance.fleet.context import FleetContext
    from conformance.fleet.pool import Pool
    from conformance.results.report import Report
    from fake_provider.machine import Machine as Record
    from fake_provider.machine import Verb
    from fake_provider.request import Request

ROOT = Path(__file__).parents[2]


def result_of(report: Report, behaviour: str) -> tuple[Status, str]:
    return next((result.status, result.reason) for result in report.results if result.id == behaviour)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("crash=x", "unknown trigger 'crash'"),
        ("error", "--fault-trigger error has no value"),
        ("create-error=yes", "'yes' is not a label of a slot"),
    ],
)
def test_a_trigger_that_cannot_be_read_is_a_usage_error(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        triggers.parse(text)


def test_triggers_are_those_of_the_contract_unless_the_user_names_others() -> None:
    found = triggers.parse_all(["error=boom=1", "timeout=", "create-error=fail=now"])
    assert (found["error"].value, found["error"].given) == ("boom=1", True)
    assert found["create-error"].text == "the label fail=now"
    assert (found["slow-ok"].value, found["slow-ok"].given) == ("fault-slow-ok", False)
    assert machines_needed(triggers.DEFAULTS) - machines_needed(found) == 1, "a trigger without a value needs none"


class BoomFails(Core):
    """Has another trigger than that of the contract."""

    def start(self, verb: Verb, machine: Record, request: Request, now: float) -> Record:
        started = super().start(verb, machine, request, now)
        if getattr(request, "cluster", "") == "boom" and started.operation is not None:
            return self.put(self.failed(started, "boom"))
        return started


@pytest.mark.timeout(240)
def test_a_trigger_that_the_user_names_must_have_an_effect() -> None:
    boom = FaultyProvider(name="Boom", story="", core=BoomFails, options={"faults": None})
    named = FaultSettings(triggers=triggers.parse_all(["error=boom", "timeout=bang"]))
    report = boom.judge(settings=named, select=["FLT-1a", "FLT-1b", "FLT-1c"])
    assert result_of(report, "FLT-1a")[0] is Status.PASSED
    status, reason = result_of(report, "FLT-1b")
    assert status is Status.ERROR
    assert "cluster_id 'bang' has no effect" in reason
    status, reason = result_of(report, "FLT-1c")
    assert (status, reason.partition(":")[0]) == (Status.SKIPPED, "cluster_id 'fault-slow-ok' has no effect")


@pytest.mark.timeout(240)
def test_a_provider_that_cannot_be_made_to_fail_is_skipped_and_claims_nothing() -> None:
    report = ODDITIES["NoTriggers"].judge()
    assert {result.status for result in report.results} == {Status.SKIPPED}
    assert "failure was not judged" in result_of(report, "FLT-3a")[1]
    claim = next(claim for claim in claims(report) if claim.profile.name == "faults")
    assert not claim.claimed
    assert "has no effect" in claim.reason
    assert report.home.failed == ()


@pytest.fixture
def a_failure() -> Failures:
    trigger = triggers.DEFAULTS["create-error"]
    specimen = Specimen(trigger=trigger, life="in the first life", machine="m", effect=Effect.FAILED)
    return Failures(specimens=(specimen,))


def judge_hosts(found: Failures, *, backend: object = None) -> None:
    trial: Any = SimpleNamespace(machines=(), recordings={(SHARED,): found}, backend=backend)
    asyncio.run(test_others.test_a_create_that_failed_leaves_no_host_that_is_not_shown(trial))  # type: ignore[arg-type]


@pytest.mark.parametrize("hidden", [False, True])
def test_a_host_that_no_machine_shows_is_found(a_failure: Failures, hidden: bool) -> None:
    hosts = Creates(
        before=frozenset({"old"}),
        after=frozenset({"old", "new", *(["orphan"] if hidden else [])}),
        shown=frozenset({"new"}),
    )
    found = Failures(specimens=a_failure.specimens, hosts=hosts)
    if hidden:
        with pytest.raises(Violation, match="orphan run, and no machine shows them"):
            judge_hosts(found, backend=object())
    else:
        judge_hosts(found, backend=object())


def test_hosts_are_not_judged_without_a_backend(a_failure: Failures) -> None:
    with pytest.raises(Unsupported, match="no --hosts-cmd"):
        judge_hosts(a_failure)


def test_a_specimen_that_was_not_observed_is_no_finding(a_failure: Failures) -> None:
    lost = Specimen(
        trigger=triggers.DEFAULTS["error"], life="in the first life", machine="m", problem="Get was not answered"
    )
    trial: Any = SimpleNamespace(machines=(), recordings={(SHARED,): Failures(specimens=(lost,))})
    from conformance.lanes.faults import test_failing

    with pytest.raises(NotObserved, match="Get was not answered"):
        asyncio.run(test_failing.test_a_configure_that_fails_ends_in_failed(trial))  # type: ignore[arg-type]


def test_every_entry_has_a_behaviour() -> None:
    lane = lanes.named("faults")
    entries: tuple[Entry, ...] = lane.entries()
    assert [behaviour.id for behaviour in lane.plan(FaultSettings())] == [entry.id for entry in entries]
    assert all(behaviour.needs.shares == SHARED for behaviour in lane.plan(FaultSettings()))


# The records of a run, and its repetition.


@pytest.mark.timeout(300)
def test_a_run_is_recorded_with_its_options_and_can_be_replayed(tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "conformance", *arguments]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)

    options = ("--select", "FLT-1a,FLT-6c", "--fault-trigger", "slow-ok=", "--fault-watch", "500ms")
    first = command("run", "--fake", "--no-config", "--lane", "faults", *options, "--report-dir", str(tmp_path))
    assert first.returncode == 0, first.stdout + first.stderr
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [(each["id"], each["status"]) for each in written["behaviours"]] == [
        ("FLT-1a", "passed"),
        ("FLT-6c", "passed"),
    ]
    assert written["asked"]["lane_options"] == ["--fault-trigger", "slow-ok=", "--fault-watch", "500ms"]
    assert len(written["home"]["failed"]) == 8, "one for each trigger, and one more for a later life"
    again = command("replay", str(tmp_path / "events.ndjson"), "FLT-1a", "--no-config")
    assert "replay     FLT-1a: passed" in again.stdout, again.stdout + again.stderr


# Machines that are FAILED at the end.


class GraceZeroFails(Core):
    """Ends a Drain with grace 0 in FAILED."""

    def start(self, verb: Verb, machine: Record, request: Request, now: float) -> Record:
        started = super().start(verb, machine, request, now)
        if not isinstance(request, Drain) or request.grace or started.operation is None:
            return started
        return self.put(self.failed(started, "the workload did not stop"))


@pytest.mark.parametrize("works", [True, False])
def test_failed_machines_are_repaired_and_returned(works: bool) -> None:
    async def facts(pool: Pool, core: Core, context: FleetContext) -> None:
        class Repair:
            async def repair(self, machine_id: str) -> None:
                if not works:
                    raise TargetError("--repair-cmd ended with exit code 1")
                idle = type(core.machines[machine_id].state)(State.IDLE)
                core.put(replace(core.cleared_by_drain(core.machines[machine_id]), state=idle))

        lease = leased(pool, machines=1, start=State.CONFIGURED)
        await pool.prepare(lease)
        machine = lease.machines[0]
        assert (await machine.drain(grace=0)).ok
        await machine.settle()
        await pool.release(lease, wanted=())
        problems = await pool.repair(Repair())
        home = await pool.clean_up()
        if works:
            assert (problems, home.failed, home.left) == ([], (), ())
            assert core.machines[machine.id].state.name == "SPECULATIVE"
        else:
            assert problems == [f"{machine.id} was not cleaned up: --repair-cmd ended with exit code 1"]
            assert [name for name, _ in home.failed] == [machine.id]
        assert context.model.breaches == []

    pooled(facts, core=provider(4, cls=GraceZeroFails))
