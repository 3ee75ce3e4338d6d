"""Tests that behaviours that only observe share one recording, and that only the first one needs a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.core.errors import Disturbed, Unprepared, Violation
from conformance.core.lifecycle import State, Verb
from conformance.engine.dry_run import run_on_virtual_clock
from conformance.fleet.needs import recording_needs
from conformance.results.result import Status
from conformance.testkit.observer import READERS_PER_RPC
from conformance.testkit.recording import BINDING, LEAVING, LIFE, shared_recording
from fake_provider.core import Core
from tests.runs import SHORT, nothing, options_from, proof, provider, states_of

if TYPE_CHECKING:
    import pytest

    from conformance.fleet.needs import WatchedEdges
    from conformance.results.report import Report
    from conformance.testkit.behaviour import Behaviour
    from conformance.testkit.observations import Recording
    from conformance.testkit.trial import Trial
    from fake_provider.machine import Machine
    from fake_provider.request import Filter

TRANSIENT_STATES = {State.CREATING, State.CONFIGURING, State.DRAINING, State.DELETING}


async def observe_only(trial: Trial) -> None:
    await shared_recording(trial)


def observer(behaviour_id: str, verbs: WatchedEdges, body: Any = observe_only) -> Behaviour:
    needs = recording_needs(verbs)
    return proof(body, behaviour_id, **{name: getattr(needs, name) for name in needs.__slots__ if name != "starts"})


def observers(verbs: WatchedEdges, body: Any = observe_only) -> list[Behaviour]:
    return [observer(f"TST-{number}a", verbs, body) for number in range(1, 5)]


def run(*plan: Behaviour, core: Core | None = None, **options: Any) -> Report:
    """Judges `plan` on a virtual clock: however busy this computer is, each transition is seen while it runs."""
    settings: dict[str, Any] = {"patience": SHORT, "rpc_timeout": 5.0, "connect_timeout": 5.0} | options
    return run_on_virtual_clock(plan, core or provider(8, latency=0.03), options=options_from(**settings))


def statuses(report: Report) -> list[Status]:
    return [result.status for result in report.results]


def test_one_recording_serves_all_behaviours_that_watch_the_same_edges() -> None:
    core = provider(8, latency=0.03)
    report = run(*observers(LIFE), core=core)
    assert statuses(report) == [Status.PASSED] * 4
    assert (report.bill.create, report.bill.configure, report.bill.drain) == (1, 1, 1)
    assert states_of(core) == {}


def test_an_observer_that_could_start_waits_for_the_running_recording() -> None:
    shorts = [proof(nothing, f"TST-9{letter}", machines=1) for letter in "abc"]
    report = run(*observers(LIFE), *shorts, jobs=2)
    assert set(statuses(report)) == {Status.PASSED}
    assert report.bill.configure == 1


def test_waiting_observers_do_not_delay_other_behaviours() -> None:
    order: list[str] = []

    async def write(trial: Trial) -> None:
        order.append(trial.entry.id)

    async def observe_and_write(trial: Trial) -> None:
        await shared_recording(trial)
        await write(trial)

    long = [proof(write, f"TST-9{letter}", machines=1, transitions=8) for letter in "ab"]
    run(*observers(LIFE, observe_and_write), *long, jobs=2, core=provider(8, latency=0.1))
    assert order[:2] == ["TST-9a", "TST-9b"]


def test_a_second_attempt_records_its_own_machine() -> None:
    machines: list[str] = []

    async def disturbed(trial: Trial) -> None:
        machines.append((await shared_recording(trial)).machine)
        if len(machines) == 1:
            raise Disturbed("another client has it")

    report = run(observer("TST-1a", BINDING, disturbed))
    assert statuses(report) == [Status.PASSED]
    assert report.bill.configure == 2
    assert machines[-1:] == list(report.results[0].machines)


def test_each_result_has_the_machine_and_the_calls_of_the_recording() -> None:
    first, *others = run(*observers(BINDING)).results
    for result in others:
        assert result.machines == first.machines
        assert list(map(str, result.calls)) == list(map(str, first.calls))


def test_a_recording_covers_the_states_before_during_and_after_each_edge() -> None:
    recordings: list[Recording] = []

    async def keep(trial: Trial) -> None:
        recordings.append(await shared_recording(trial))

    run(observer("TST-1a", LIFE, keep))
    [recording] = recordings
    shown = [observation.state for observation in recording.seen]
    assert shown[0] is State.SPECULATIVE
    assert {State.CREATING, State.IDLE, State.CONFIGURING, State.CONFIGURED, State.DRAINING} <= set(shown)
    assert [(ack.verb, ack.when) for ack in recording.at(Verb.CREATE)] == [
        (Verb.CREATE, ""),
        (Verb.CREATE, "in flight"),
        (Verb.CREATE, "at rest"),
    ]
    assert {verb: call.rpc for verb, call in recording.controls.items()} == {
        Verb.CREATE: "Drain",
        Verb.CONFIGURE: "Create",
        Verb.DRAIN: "Create",
    }
    assert recording.unlisted == ()
    again = ("", ", sent again in flight,", ", sent again at rest,")
    acks = [f"the ack of {verb.value}{when}" for verb in LIFE for when in again]
    assert [observation.rpc for observation in recording.seen[-9:]] == acks
    assert {observation.rpc for observation in recording.seen[:-9]} == {"Get", "List"}
    assert (recording.seen[0].rpc, recording.seen[-10].rpc) == ("Get", "Get")


def test_a_reader_stops_after_enough_readings_of_a_transition() -> None:
    recordings: list[Recording] = []

    async def keep(trial: Trial) -> None:
        recordings.append(await shared_recording(trial))

    run(observer("TST-1a", BINDING, keep), core=provider(8, latency=0.5))
    lists = [s for s in recordings[0].seen if s.rpc == "List" and s.state is State.CONFIGURING]
    assert 3 <= len(lists) <= 3 * READERS_PER_RPC


def test_in_a_large_fleet_only_the_states_of_the_edges_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("conformance.results.target_info.LARGE_FLEET_MACHINES", 7)
    monkeypatch.setattr("conformance.results.target_info.CROWDED_STATE_MACHINES", -1)
    recordings: list[Recording] = []

    async def keep(trial: Trial) -> None:
        recordings.append(await shared_recording(trial))

    run(observer("TST-1a", LIFE, keep))
    [recording] = recordings
    assert recording.unlisted is None, "a large fleet is never listed completely"
    assert {frozenset(call.request.states) for call in recording.calls if call.rpc == "List"} == {
        frozenset({State.CREATING, State.IDLE}),
        frozenset({State.IDLE, State.CONFIGURING, State.CONFIGURED}),
        frozenset({State.CONFIGURED, State.DRAINING, State.IDLE}),
    }


class ListsOnlyRestingMachines(Core):
    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(machine, wanted) and State(machine.state.value) not in TRANSIENT_STATES


def test_lists_without_the_machine_are_recorded() -> None:
    async def find_missing(trial: Trial) -> None:
        if (await shared_recording(trial)).unlisted:
            raise Violation("the machine in each List", "one without it")

    assert statuses(
        run(observer("TST-1a", BINDING, find_missing), core=provider(8, latency=0.1, cls=ListsOnlyRestingMachines))
    ) == [Status.FAILED]


def test_after_a_violation_the_other_observers_judge_the_same_recording() -> None:
    async def find_violation(trial: Trial) -> None:
        await shared_recording(trial)
        raise Violation("this", "that")

    report = run(*observers(BINDING, find_violation))
    assert statuses(report) == [Status.FAILED] * 4
    assert report.bill.configure == 1


def test_if_the_first_observer_is_unprepared_the_next_one_records() -> None:
    tried: list[str] = []

    async def fail_first(trial: Trial) -> None:
        tried.append(trial.entry.id)
        if len(tried) == 1:
            raise Unprepared("not ready")
        await shared_recording(trial)

    report = run(*observers(BINDING, fail_first))
    assert statuses(report) == [Status.ERROR, *[Status.PASSED] * 3]
    assert report.bill.configure == 1


def test_a_recording_of_a_delete_runs_last_and_needs_one_machine() -> None:
    first = proof(nothing, "TST-9a", machines=1)
    report = run(first, *observers(LEAVING))
    assert set(statuses(report)) == {Status.PASSED}
    assert (report.bill.create, report.bill.delete) == (1, 1)


def test_sequential_observers_share_recordings_too() -> None:
    report = run(*observers(LIFE), *[observer("TST-8a", LEAVING), observer("TST-8b", LEAVING)], jobs=1)
    assert set(statuses(report)) == {Status.PASSED}
    assert (report.bill.create, report.bill.delete) == (1, 1)


def test_fail_fast_ends_the_run_at_the_first_violation() -> None:
    async def find_violation(trial: Trial) -> None:
        await shared_recording(trial)
        raise Violation("this", "that")

    report = run(*observers(BINDING, find_violation), fail_fast=True)
    assert Status.FAILED in statuses(report)
    assert report.home.clean
