from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from conformance.core.lifecycle import State, Verb
from conformance.core.stop import Stop
from conformance.engine.scheduler import Phase, Scheduler
from conformance.results.result import Status
from tests.runs import judged, nothing, proof, provider, states_of

if TYPE_CHECKING:
    from conformance.results.report import Report
    from conformance.testkit.behaviour import Behaviour
    from conformance.testkit.trial import Trial
    from fake_provider.core import Core


def run(*plan: Behaviour, core: Core, **options: Any) -> Report:
    return asyncio.run(judged(plan, core, **options))


def pending(*plan: Behaviour, phase: Phase = Phase.TOGETHER) -> list[str]:
    scheduler = Scheduler(plan, keep=False)
    scheduler.enter_phase(phase)
    return [behaviour.id for behaviour in scheduler.pending]


class Diary:
    """Creates bodies that record their start and their end."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def proof(self, behaviour_id: str, *verbs: Verb, **needs: Any) -> Behaviour:
        async def body(trial: Trial) -> None:
            self.entries.append(f"{trial.entry.id} begins")
            for verb in verbs:
                await trial.drive(trial.machine, verb)
            self.entries.append(f"{trial.entry.id} ends")

        return proof(body, behaviour_id, **needs)


def creator(behaviour_id: str = "TST-1c", body: Any = nothing) -> Behaviour:
    return proof(body, behaviour_id, machines=1, start=State.SPECULATIVE, transitions=1, creates=True)


def deleter(behaviour_id: str = "TST-1d", body: Any = nothing) -> Behaviour:
    return proof(body, behaviour_id, machines=1, transitions=1, deletes=True)


async def creates(trial: Trial) -> None:
    await trial.drive(trial.machine, Verb.CREATE)


async def deletes(trial: Trial) -> None:
    await trial.drive(trial.machine, Verb.DELETE)


class SurplusPool:
    """A pool that returns the arguments of `surplus`."""

    def surplus(self, *, idle: int, bound: bool) -> list[tuple[int, bool]]:
        return [(idle, bound)]


def surplus_of(*plan: Behaviour, phase: Phase, in_time: bool = True, keep: bool = False) -> list[Any]:
    scheduler = Scheduler(plan, keep=keep)
    scheduler.enter_phase(phase)
    return scheduler.surplus(cast("Any", SurplusPool()), in_time=in_time)


def test_machines_that_no_behaviour_will_use_are_surplus() -> None:
    later = (deleter(), proof(behaviour_id="TST-1e", machines=2, alone=True))
    assert surplus_of(*later, phase=Phase.TOGETHER) == [(1, True)], "except one IDLE machine and all bound ones"
    assert surplus_of(deleter(), phase=Phase.TOGETHER) == [(1, False)]
    assert surplus_of(*later, phase=Phase.TOGETHER, in_time=False) == []
    assert surplus_of(deleter(), proof(machines=1), phase=Phase.TOGETHER) == [], "a behaviour waits"
    assert surplus_of(phase=Phase.LAST_USE, in_time=False) == [(0, False)]
    assert surplus_of(phase=Phase.QUIET) == []
    assert surplus_of(phase=Phase.TOGETHER, keep=True) == []


def test_creators_begin_first_and_short_behaviours_before_long_ones() -> None:
    long, short = proof(behaviour_id="TST-1a", machines=1, transitions=6), proof(behaviour_id="TST-1b", machines=1)
    assert pending(long, short, creator()) == ["TST-1c", "TST-1b", "TST-1a"]


def test_quiet_behaviours_and_last_uses_have_their_own_phases() -> None:
    alone = proof(behaviour_id="TST-1a", alone=True)
    plan = (alone, deleter(), creator())
    assert [pending(*plan, phase=phase) for phase in Phase] == [["TST-1c"], ["TST-1a"], ["TST-1d"], [], []]


def test_a_long_behaviour_with_a_delete_is_not_left_to_the_end() -> None:
    assert pending(proof(machines=1, transitions=3, deletes=True)) == ["TST-1a"]


def test_the_quiet_phase_ends_with_transitions() -> None:
    moves = proof(behaviour_id="TST-1a", machines=1, alone=True, transitions=1)
    assert pending(moves, proof(behaviour_id="TST-1b", alone=True), phase=Phase.QUIET) == ["TST-1b", "TST-1a"]


def test_machines_at_rest_are_looked_at_before_behaviours_without_machines_call_them() -> None:
    looks = proof(behaviour_id="TST-1b", machines=1, alone=True)
    assert pending(proof(behaviour_id="TST-1a", alone=True), looks, phase=Phase.QUIET) == ["TST-1b", "TST-1a"]


def test_a_delete_is_judged_on_a_machine_that_is_cleaned_up_anyway() -> None:
    diary, core = Diary(), provider(8, latency=0.01)
    plan = (
        diary.proof("TST-1a", Verb.DELETE, machines=1, transitions=1, deletes=True),
        diary.proof("TST-1b", Verb.CONFIGURE, Verb.DRAIN, machines=1, transitions=2),
    )
    report = run(*plan, core=core, max_machines=1)
    assert diary.entries == ["TST-1b begins", "TST-1b ends", "TST-1a begins", "TST-1a ends"]
    assert (report.bill.create, report.bill.delete) == (1, 1)
    assert states_of(core) == {}


def test_a_machine_whose_slot_is_needed_is_deleted_by_a_behaviour_that_judges_delete() -> None:
    core = provider(1, latency=0.01)
    plan = (
        creator("TST-1a", creates),
        creator("TST-1b", creates),
        deleter("TST-1c", deletes),
        deleter("TST-1d", deletes),
    )
    report = run(*plan, core=core)
    assert {result.status for result in report.results} == {Status.PASSED}
    assert (report.bill.create, report.bill.delete) == (2, 2), "no extra Delete for a slot"


def test_idle_and_bound_machines_are_leased_together() -> None:
    seen: list[list[State]] = []

    async def looks(trial: Trial) -> None:
        seen.append([State((await machine.read()).state) for machine in trial.machines])

    report = run(proof(looks, machines=3, bound=1), core=provider(8))
    assert report.exit_code == 0
    assert seen == [[State.IDLE, State.IDLE, State.CONFIGURED]]


def test_a_behaviour_with_several_machines_is_not_starved() -> None:
    diary = Diary()
    small = [diary.proof(f"TST-1{x}", Verb.CONFIGURE, Verb.DRAIN, machines=1, transitions=2) for x in "abcdefghij"]
    large = diary.proof("TST-2a", machines=3, transitions=1)
    report = run(large, *small, core=provider(3, latency=0.01), max_machines=3)
    assert {result.status for result in report.results} == {Status.PASSED}
    assert diary.entries.index("TST-2a begins") < diary.entries.index("TST-1j begins")


def test_after_a_stop_the_behaviours_of_all_phases_are_not_judged() -> None:
    async def breaks(trial: Trial) -> None:
        raise AssertionError("a bug in the kit")

    plan = (proof(breaks, machines=1, transitions=1), proof(behaviour_id="TST-1b", alone=True), deleter())
    stop = Stop()
    report = run(*plan, core=provider(4), stop=stop, emit=lambda event: stop("enough"))
    assert {result.status for result in report.results} == {Status.ERROR}
    assert report.stopped == "enough"
