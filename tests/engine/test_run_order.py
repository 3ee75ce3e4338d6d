"""Runs that wait for other clients, whose target stops answering, or whose machines are in transition."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.lifecycle import State, Verb
from conformance.core.stop import Stop
from conformance.core.timeouts import Patience
from conformance.engine.scheduler import Scheduler
from conformance.results import events
from conformance.results.result import Status, Verdict
from conformance.rpc.client import Client
from fake_provider.latency import Latency
from fake_provider.machine import Host
from fake_provider.machine import State as Theirs
from tests.runs import judged, nothing, proof, provider, states_of
from tests.values import a_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.fleet.pool import Lease
    from conformance.results.report import Report
    from conformance.rpc.call import Call
    from conformance.testkit.behaviour import Behaviour
    from conformance.testkit.trial import Trial
    from fake_provider.core import Core


MILLISECOND = 0.001
"""The precision of the times in a report, in seconds."""


def shared(core: Core, *plan: Behaviour, noted: Callable[[str], None] = lambda text: None, **options: Any) -> Report:
    """Runs a plan while another client takes all machines after the probe."""

    def emit(event: events.Event) -> None:
        if isinstance(event, events.RunStarted):
            for machine in list(core.machines.values()):
                core.put(replace(machine, state=Theirs.IDLE, host=Host(provider="cloud", ref="theirs")))
        if isinstance(event, events.Noted):
            noted(event.text)

    return asyncio.run(judged(plan, core, emit=emit, **options))


def test_a_run_waits_for_machines_of_other_clients() -> None:
    core = provider(2)
    slots, notes = list(core.machines.values()), list[str]()

    def given_back(text: str) -> None:
        notes.append(text)
        for slot in slots:
            core.put(slot)

    plan = [proof(nothing, f"TST-1{letter}", machines=1, transitions=1) for letter in "abc"]
    report = shared(core, *plan, noted=given_back)
    assert {result.status for result in report.results} == {Status.PASSED}
    assert report.notes == tuple(notes) == ("waiting for machines that other clients may return: 3 behaviours",)
    assert states_of(core) == {}


def test_behaviours_that_get_no_machine_are_not_judged() -> None:
    core = provider(2)
    plan = [
        proof(nothing, "TST-1a", machines=2, bound=1, transitions=1),
        proof(nothing, "TST-1b"),
    ]
    report = shared(core, *plan, patience=Patience(0.5, 0.5, 0.5, 0.5))
    assert report.time.wall >= 0.5
    assert [result.status for result in report.results] == [Status.ERROR, Status.PASSED]
    assert report.results[0].reason == "too few machines are left: it needs 2 (IDLE and CONFIGURED)"
    assert report.notes == ("waiting for machines that other clients may return: 1 behaviour",)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert set(states_of(core).values()) == {"IDLE"}, "theirs"


def test_without_delete_a_run_does_not_wait_for_machines() -> None:
    report = shared(provider(2, deletes=False), proof(nothing, machines=1, transitions=1))
    assert report.results[0].reason == "too few machines are left: it needs 1 (IDLE)"
    assert report.notes == ()


def test_a_stop_ends_the_wait_for_machines() -> None:
    stop = Stop()
    report = shared(provider(2), proof(nothing, machines=1, transitions=1), noted=lambda _: stop("enough"), stop=stop)
    assert (report.stopped, report.results[0].reason) == ("enough", "not judged: enough")


# After a behaviour that could not be judged, the run checks the target.


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    """Runs a behaviour that raises a bug of the kit, after which `times` Lists are unanswered."""

    def run(times: int, *others: Behaviour) -> Report:
        left, answered = 0, Client.list

        async def list_(client: Client, *asked: Any, cap: int = 0, **more: Any) -> Call:
            nonlocal left
            if cap != 1 or not left:
                return await answered(client, *asked, cap=cap, **more)
            left -= 1
            return a_call("List", pb.ListFilter(), code=grpc.StatusCode.DEADLINE_EXCEEDED, answered=False)

        async def stumbles(trial: Trial) -> None:
            nonlocal left
            left = times
            raise KeyError("oops")

        monkeypatch.setattr(Client, "list", list_)
        return asyncio.run(judged([proof(stumbles, "TST-1a"), *others], jobs=1))

    return run


@pytest.mark.parametrize("times", [0, 1])
def test_a_target_that_answers_the_second_list_is_not_gone(silent: Callable[..., Report], times: int) -> None:
    report = silent(times, proof(nothing, "TST-1b"))
    assert report.stopped is None
    assert [result.status for result in report.results] == [Status.ERROR, Status.PASSED]


def test_a_target_with_two_unanswered_lists_is_gone_also_after_the_last_behaviour(
    silent: Callable[..., Report],
) -> None:
    assert silent(2).stopped == "the target is gone: List was not answered within 5 s, twice"


# Machines in transition.


def test_the_quiet_phase_waits_for_machines_in_transition() -> None:
    seen: list[str] = []

    async def leaves(trial: Trial) -> None:
        await trial.machine.configure(cluster="left-behind")

    async def alone(trial: Trial) -> None:
        seen.extend(State(machine.state).name for machine in (await trial.list()).machines)

    plan = [
        *(proof(leaves, f"TST-1{letter}", machines=1, transitions=1) for letter in "abc"),
        proof(alone, "TST-2a", alone=True),
    ]
    report = asyncio.run(judged(plan, provider(8, latency=0.02)))
    assert report.exit_code == 0
    assert len(seen) == 8
    assert set(seen) <= {"SPECULATIVE", "IDLE"}


def test_the_quiet_phase_runs_one_behaviour_at_a_time() -> None:
    here: list[str] = []

    async def alone(trial: Trial) -> None:
        here.append(trial.entry.id)
        assert len(here) == 1
        await trial.list()
        here.pop()

    report = asyncio.run(judged([proof(alone, f"TST-1{letter}", alone=True) for letter in "abc"]))
    assert {result.status for result in report.results} == {Status.PASSED}


def test_a_bug_in_the_kit_ends_the_run_and_leaves_no_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(scheduler: Scheduler, lease: Lease) -> set[State]:
        raise KeyError("oops")

    monkeypatch.setattr(Scheduler, "wanted_states", broken)
    core = provider(4)
    report = asyncio.run(judged([proof(nothing, machines=1, transitions=1)], core))
    assert [result.status for result in report.results] == [Status.PASSED]
    assert report.stopped == "the kit itself failed: KeyError: 'oops'"
    assert states_of(core) == {}


# The report.


def test_a_report_has_the_target_info_and_the_options() -> None:
    emitted: list[events.Event] = []
    options: dict[str, Any] = {
        "strict": True,
        "require": ("delete", "tls"),
        "whole": False,
        "version": "1.2.3",
        "seed": 5,
    }
    report = asyncio.run(judged([proof()], emit=emitted.append, **options))
    assert (report.strict, report.lacking, report.whole) == (True, ("tls",), False)
    assert report.version == "1.2.3"
    started = emitted[0]
    assert isinstance(started, events.RunStarted)
    assert (started.run, started.target, started.at, started.found, started.ledger) == (
        report.run,
        report.target,
        report.started,
        report.found,
        report.ledger,
    )


def timed(latency: str, *plan: Behaviour) -> tuple[Report, float]:
    """Returns the report of a run with one job, and its duration by another clock, in seconds."""
    core, begun = provider(8), time.monotonic()
    core.latency = Latency.parse(latency)
    report = asyncio.run(judged(plan, core, jobs=1))
    return report, time.monotonic() - begun


def test_the_times_of_a_report_are_within_the_measured_time() -> None:
    report, elapsed = timed("create=200ms,delete=200ms", proof(nothing, machines=1, transitions=1))
    (result,) = report.results
    assert 0.4 <= report.time.sum <= report.time.wall <= elapsed + MILLISECOND
    assert result.started + result.seconds <= report.time.wall
    for figure in (report.time.wall, report.time.critical_path, report.time.sum):
        assert round(figure, 3) == figure


def test_the_quiet_phase_is_part_of_the_critical_path() -> None:
    async def configures(trial: Trial) -> None:
        await trial.drive(trial.machine, Verb.CONFIGURE)

    report, _ = timed(
        "create=300ms,configure=100ms",
        proof(nothing, "TST-1a", machines=1, transitions=1),
        proof(configures, "TST-1b", machines=1, transitions=1, alone=True),
    )
    assert 0.4 <= report.time.sum <= report.time.critical_path + MILLISECOND <= report.time.wall + 2 * MILLISECOND


def test_the_chain_on_a_reused_machine_includes_its_create() -> None:
    core = provider(8)
    core.latency = Latency.parse("create=200ms")
    plan = [proof(nothing, f"TST-1{letter}", machines=1, transitions=1) for letter in "abc"]
    report = asyncio.run(judged(plan, core, jobs=1))
    assert report.bill.create == 1
    assert report.time.sum >= 3 * 0.2
    assert report.time.critical_path <= report.time.wall
