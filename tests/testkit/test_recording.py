"""Who only looks on shares one passage, and needs a machine of its own only where nobody else has brought one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from conformance.core.errors import Disturbed, Unprepared, Violation
from conformance.core.lifecycle import State, Verb
from conformance.fleet.needs import recording_needs
from conformance.results.result import Status
from conformance.testkit.observer import READERS_PER_RPC
from conformance.testkit.recording import BINDING, LEAVING, LIFE, shared_recording
from fake_provider.core import Core
from tests.runs import judged, nothing, proof, provider, states_of

if TYPE_CHECKING:
    import pytest

    from conformance.fleet.needs import WatchedEdges
    from conformance.results.report import Report
    from conformance.testkit.behaviour import Behaviour
    from conformance.testkit.observations import Recording
    from conformance.testkit.trial import Trial
    from fake_provider.machine import Machine
    from fake_provider.request import Filter

MIDWAY = {State.CREATING, State.CONFIGURING, State.DRAINING, State.DELETING}


async def looks_on(trial: Trial) -> None:
    await shared_recording(trial)


def onlooker(behaviour_id: str, verbs: WatchedEdges, body: Any = looks_on) -> Behaviour:
    needs = recording_needs(verbs)
    return proof(body, behaviour_id, **{name: getattr(needs, name) for name in needs.__slots__ if name != "starts"})


def onlookers(verbs: WatchedEdges, body: Any = looks_on) -> list[Behaviour]:
    return [onlooker(f"TST-{number}a", verbs, body) for number in range(1, 5)]


def run(*plan: Behaviour, core: Core | None = None, **options: Any) -> Report:
    return asyncio.run(judged(plan, core or provider(8, latency=0.03), **options))


def statuses(report: Report) -> list[Status]:
    return [result.status for result in report.results]


def test_one_passage_serves_all_that_watch_the_same() -> None:
    core = provider(8, latency=0.03)
    report = run(*onlookers(LIFE), core=core)
    assert statuses(report) == [Status.PASSED] * 4
    assert (report.bill.create, report.bill.configure, report.bill.drain) == (1, 1, 1)
    assert states_of(core) == {}


def test_who_could_begin_meanwhile_waits_for_the_passage_that_is_under_way() -> None:
    shorts = [proof(nothing, f"TST-9{letter}", machines=1) for letter in "abc"]
    report = run(*onlookers(LIFE), *shorts, jobs=2)
    assert set(statuses(report)) == {Status.PASSED}
    assert report.bill.configure == 1


def test_who_waits_for_a_passage_keeps_nobody_else_from_beginning() -> None:
    diary: list[str] = []

    async def writes(trial: Trial) -> None:
        diary.append(trial.entry.id)

    async def looks_and_writes(trial: Trial) -> None:
        await shared_recording(trial)
        await writes(trial)

    long = [proof(writes, f"TST-9{letter}", machines=1, transitions=8) for letter in "ab"]
    run(*onlookers(LIFE, looks_and_writes), *long, jobs=2, core=provider(8, latency=0.1))
    assert diary[:2] == ["TST-9a", "TST-9b"]


def test_who_is_judged_again_on_another_machine_takes_that_one() -> None:
    machines: list[str] = []

    async def disturbed(trial: Trial) -> None:
        machines.append((await shared_recording(trial)).machine)
        if len(machines) == 1:
            raise Disturbed("somebody else has it")

    report = run(onlooker("TST-1a", BINDING, disturbed))
    assert statuses(report) == [Status.PASSED]
    assert report.bill.configure == 2
    assert machines[-1:] == list(report.results[0].machines)


def test_each_shows_the_machine_and_the_calls_that_it_was_judged_by() -> None:
    first, *others = run(*onlookers(BINDING)).results
    for result in others:
        assert result.machines == first.machines
        assert list(map(str, result.calls)) == list(map(str, first.calls))


def test_what_is_watched_is_shown_from_before_to_after() -> None:
    kept: list[Recording] = []

    async def keeps(trial: Trial) -> None:
        kept.append(await shared_recording(trial))

    run(onlooker("TST-1a", LIFE, keeps))
    [passage] = kept
    shown = [sighting.state for sighting in passage.seen]
    assert shown[0] is State.SPECULATIVE
    assert {State.CREATING, State.IDLE, State.CONFIGURING, State.CONFIGURED, State.DRAINING} <= set(shown)
    assert [(ack.verb, ack.when) for ack in passage.at(Verb.CREATE)] == [
        (Verb.CREATE, ""),
        (Verb.CREATE, "in flight"),
        (Verb.CREATE, "at rest"),
    ]
    assert {verb: call.rpc for verb, call in passage.controls.items()} == {
        Verb.CREATE: "Drain",
        Verb.CONFIGURE: "Create",
        Verb.DRAIN: "Create",
    }
    assert passage.unlisted == ()
    again = ("", ", sent again in flight,", ", sent again at rest,")
    acks = [f"the ack of {verb.value}{when}" for verb in LIFE for when in again]
    assert [sighting.rpc for sighting in passage.seen[-9:]] == acks
    assert {sighting.rpc for sighting in passage.seen[:-9]} == {"Get", "List"}
    assert (passage.seen[0].rpc, passage.seen[-10].rpc) == ("Get", "Get")


def test_who_has_seen_enough_of_a_machine_on_its_way_looks_no_more() -> None:
    kept: list[Recording] = []

    async def keeps(trial: Trial) -> None:
        kept.append(await shared_recording(trial))

    run(onlooker("TST-1a", BINDING, keeps), core=provider(8, latency=0.5))
    lists = [s for s in kept[0].seen if s.rpc == "List" and s.state is State.CONFIGURING]
    assert 3 <= len(lists) <= 3 * READERS_PER_RPC


def test_of_a_large_fleet_it_lists_the_states_that_the_machine_may_be_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("conformance.results.target_info.LARGE", 7)
    monkeypatch.setattr("conformance.results.target_info.CROWD", -1)
    kept: list[Recording] = []

    async def keeps(trial: Trial) -> None:
        kept.append(await shared_recording(trial))

    run(onlooker("TST-1a", LIFE, keeps))
    [passage] = kept
    assert passage.unlisted is None, "what is not listed says nothing"
    assert {frozenset(call.request.states) for call in passage.calls if call.rpc == "List"} == {
        frozenset({State.CREATING, State.IDLE}),
        frozenset({State.IDLE, State.CONFIGURING, State.CONFIGURED}),
        frozenset({State.CONFIGURED, State.DRAINING, State.IDLE}),
    }


class HidesWhatMoves(Core):
    def matches(self, machine: Machine, wanted: Filter) -> bool:
        return super().matches(machine, wanted) and State(machine.state.value) not in MIDWAY


def test_lists_that_lacked_the_machine_are_kept() -> None:
    async def was_missing(trial: Trial) -> None:
        if (await shared_recording(trial)).unlisted:
            raise Violation("the machine in each List", "one without it")

    assert statuses(
        run(onlooker("TST-1a", BINDING, was_missing), core=provider(8, latency=0.1, cls=HidesWhatMoves))
    ) == [Status.FAILED]


def test_where_the_first_finds_something_the_others_judge_the_same_passage() -> None:
    async def finds(trial: Trial) -> None:
        await shared_recording(trial)
        raise Violation("this", "that")

    report = run(*onlookers(BINDING, finds))
    assert statuses(report) == [Status.FAILED] * 4
    assert report.bill.configure == 1


def test_where_the_first_did_not_get_there_the_next_one_tries() -> None:
    tried: list[str] = []

    async def tries(trial: Trial) -> None:
        tried.append(trial.entry.id)
        if len(tried) == 1:
            raise Unprepared("no luck")
        await shared_recording(trial)

    report = run(*onlookers(BINDING, tries))
    assert statuses(report) == [Status.ERROR, *[Status.PASSED] * 3]
    assert report.bill.configure == 1


def test_a_passage_to_the_end_comes_last_and_costs_one_machine() -> None:
    first = proof(nothing, "TST-9a", machines=1)
    report = run(first, *onlookers(LEAVING))
    assert set(statuses(report)) == {Status.PASSED}
    assert (report.bill.create, report.bill.delete) == (1, 1)


def test_one_after_the_other_they_share_it_too() -> None:
    report = run(*onlookers(LIFE), *[onlooker("TST-8a", LEAVING), onlooker("TST-8b", LEAVING)], jobs=1)
    assert set(statuses(report)) == {Status.PASSED}
    assert (report.bill.create, report.bill.delete) == (1, 1)


def test_the_first_to_fail_ends_a_run_that_is_to_end_then() -> None:
    async def finds(trial: Trial) -> None:
        await shared_recording(trial)
        raise Violation("this", "that")

    report = run(*onlookers(BINDING, finds), fail_fast=True)
    assert Status.FAILED in statuses(report)
    assert report.home.clean
