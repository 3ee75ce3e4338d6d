"""Whatever attempts end with: each behaviour ends, within its limits, and a violation counts only with its evidence."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.core.lifecycle import State
from conformance.engine import judge as judging
from conformance.engine.judge import Judge
from conformance.engine.retries import (
    CHANGES,
    MAX_ATTEMPTS,
    NEEDS_EVIDENCE,
    Attempt,
    History,
    RetryReason,
    without_evidence,
)
from conformance.fleet.machine import Machine
from conformance.fleet.needs import Needs
from conformance.fleet.pool import MAX_FAILURES_IN_A_ROW, Pool
from conformance.results.result import Result, Status
from conformance.testkit.behaviour import Behaviour
from conformance.testkit.hold import Hold
from tests.runs import entry, nothing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.fleet.pool import Lease

FEW_MACHINES = 3
ENOUGH_MACHINES = 100
"""More than four behaviours can lose."""
LOST_MACHINE = (RetryReason.BAD_MACHINE, RetryReason.FAILED_MACHINE)


@dataclass(frozen=True)
class End:
    """The end of one attempt: its status, and the reason for which another one may end differently."""

    status: Status
    reason: RetryReason | None = None
    began: bool = True


VIOLATION_REASONS = (None, *NEEDS_EVIDENCE, RetryReason.OVERLOAD)
ERROR_REASONS = tuple(
    reason for reason in RetryReason if reason not in (RetryReason.SEEN_ONCE, RetryReason.BAD_MACHINE)
)
ENDS = st.one_of(
    st.just(End(Status.PASSED)),
    st.sampled_from([End(Status.FAILED, reason) for reason in VIOLATION_REASONS]),
    st.builds(End, st.just(Status.ERROR), st.sampled_from(ERROR_REASONS), st.booleans()),
    st.just(End(Status.SKIPPED, RetryReason.SEEN_ONCE)),
    st.just(End(Status.ERROR, RetryReason.BAD_MACHINE, began=False)),
)


class Scripted(Judge):
    """Judges by a script: the ends of the attempts at each behaviour. The last one is repeated."""

    def __init__(self, pool: Pool, context: Any, scripts: dict[str, Sequence[End]], *, other_client: bool) -> None:
        found: Any = SimpleNamespace()
        hold = Hold(0.0, clock=lambda: 0.0)
        super().__init__(pool, context, found, seed=0, examples=0, fence_scope=None, hold=hold, emit=lambda _: None)
        self.scripts = scripts
        self.done: dict[str, list[End]] = {name: [] for name in scripts}
        self.in_a_row: list[int] = []
        self._other_client = other_client

    async def _perform(self, behaviour: Behaviour, lease: Lease, history: History) -> Attempt:
        check_machines(self._pool, lease)
        script, done = self.scripts[behaviour.id], self.done[behaviour.id]
        end = script[min(len(done), len(script) - 1)]
        done.append(end)
        await asyncio.sleep(0)
        if end.reason in LOST_MACHINE:
            self._pool.quarantine(lease.machines[0], "it failed")
        self._failed_in_a_row = self._failed_in_a_row + 1 if end.reason is RetryReason.FAILED_MACHINE else 0
        return Attempt(
            number=history.attempt,
            result=Result(entry=behaviour.entry, status=end.status, reason=f"attempt {len(done)}"),
            began=end.began,
            suspected=(end.reason,) if end.reason else (),
        )


def check_machines(pool: Pool, lease: Lease) -> None:
    """Checks that the leased machines belong to this lease only, and that no machine is free twice."""
    free = [machine.id for machine in pool._free]
    assert len(free) == len(set(free))
    assert not {machine.id for machine in lease.machines} & set(free)
    assert lease.number in pool._leases
    assert all(machine in pool._leased for machine in lease.machines)


@dataclass
class Clock:
    """A client that answers every read at once, and whose time goes on by a second with each look at it."""

    seconds: float = 0.0
    faults: None = None
    calls: list[Any] = field(default_factory=list)

    def now(self) -> float:
        self.seconds += 1.0
        return self.seconds

    async def list(self, *_: object, **__: object) -> Any:
        return SimpleNamespace(answered=True, answered_ok=False)


async def judge_all(judge: Scripted, pool: Pool, behaviours: list[Behaviour]) -> dict[str, Result]:
    """Judges the behaviours like the engine: concurrently where machines are free, and the late ones at the end."""
    results: dict[str, Result] = {}
    pending, running = [*behaviours], set[asyncio.Task[None]]()

    async def one(behaviour: Behaviour, lease: Lease) -> None:
        result, held = await judge.judge(behaviour, lease)
        await pool.release(held, wanted={State.SPECULATIVE})
        await pool.release(held, wanted={State.SPECULATIVE})  # a second return has no effect
        if result is None:
            pending.append(behaviour)
        else:
            assert behaviour.id not in results, "one result for each behaviour"
            results[behaviour.id] = result

    while pending or running:
        for behaviour in [*pending]:
            if (lease := pool.lease(behaviour.needs)) is not None:
                pending.remove(behaviour)
                running.add(asyncio.create_task(one(behaviour, lease)))
        if not running:
            break  # no machine is left: the engine reports these as errors
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    assert not pool.in_use
    return results


def behaviour_named(name: str) -> Behaviour:
    return Behaviour(entry=entry(name), needs=Needs(machines=1, start=State.SPECULATIVE), body=nothing)


def judged(
    scripts: Sequence[Sequence[End]],
    *,
    other_client: bool = False,
    longest: float = 1e6,
    machines: int = ENOUGH_MACHINES,
) -> tuple[Scripted, dict[str, Result]]:
    """Returns the judge and the results of one behaviour for each script."""
    clock = Clock()
    context: Any = SimpleNamespace(
        client=clock, patience=SimpleNamespace(longest=longest), run="cpc-0", deletes=True, breaches=[], ledger=None
    )
    named = {f"TST-{number}a": script for number, script in enumerate(scripts, 1)}
    known = [Machine(f"m{number}", context, number=number) for number in range(machines)]

    async def go() -> tuple[Scripted, dict[str, Result]]:
        pool = Pool(known, context, max_alive=machines)
        judge = Scripted(pool, context, named, other_client=other_client)
        return judge, await judge_all(judge, pool, [behaviour_named(name) for name in named])

    with patch.object(judging, "PAUSE_SECONDS", 0.0):
        return asyncio.run(go())


def limit(reason: RetryReason, *, other_client: bool) -> int:
    return max(MAX_ATTEMPTS[reason], MAX_ATTEMPTS[RetryReason.OTHER_CLIENT] if other_client else 0)


def check_evidence(judge: Scripted, name: str, result: Result, *, other_client: bool) -> None:
    """Checks that a violation was seen without an explanation, or as often as its explanation demands."""
    if result.status is not Status.FAILED:
        return
    done = judge.done[name]
    shown = done[int(result.reason.removeprefix("attempt ")) - 1]
    seen = Counter(end.reason for end in done)
    match shown.reason:
        case RetryReason.FAILED_MACHINE:
            in_a_row = sum(seen[RetryReason.FAILED_MACHINE] for seen in map(reasons_of, judge.done.values()))
            enough = seen[shown.reason] >= limit(shown.reason, other_client=other_client)
            assert enough or in_a_row >= MAX_FAILURES_IN_A_ROW
        case RetryReason.GIVEN_UP:
            assert seen[shown.reason] >= limit(shown.reason, other_client=other_client)
        case RetryReason.OTHER_CLIENT:
            changes = sum(end.began for end in done if end.reason in CHANGES)
            assert not other_client or changes >= limit(shown.reason, other_client=other_client)
        case reason:
            assert reason in (None, RetryReason.OVERLOAD)


def reasons_of(ends: Sequence[End]) -> Counter[RetryReason | None]:
    return Counter(end.reason for end in ends)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    scripts=st.lists(st.lists(ENDS, min_size=1, max_size=12), min_size=1, max_size=4),
    other_client=st.booleans(),
    longest=st.sampled_from([3.0, 40.0, 1e6]),
    machines=st.sampled_from([1, FEW_MACHINES, ENOUGH_MACHINES]),
)
def test_every_behaviour_ends_within_its_limits_and_violations_have_their_evidence(
    scripts: list[list[End]], other_client: bool, longest: float, machines: int
) -> None:
    # An attempt that never began is not counted for some reasons, so that only time limits those.
    scripts = [[*script, End(Status.PASSED)] if not script[-1].began else script for script in scripts]
    judge, results = judged(scripts, other_client=other_client, longest=longest, machines=machines)
    for name, done in judge.done.items():
        for reason in RetryReason:
            counted = [end for end in done if end.reason is reason and end.began]
            assert len(counted) <= limit(reason, other_client=other_client)
        if name in results:
            check_evidence(judge, name, results[name], other_client=other_client)
    assert all(result.status is not Status.PASSED or judge.done[name] for name, result in results.items())
    if machines == ENOUGH_MACHINES:
        assert results.keys() == judge.done.keys(), "every behaviour ends"


@pytest.mark.parametrize("reason", [RetryReason.FAILED_MACHINE, RetryReason.GIVEN_UP])
def test_earlier_attempts_for_other_reasons_are_not_evidence(reason: RetryReason) -> None:
    overloaded = [End(Status.ERROR, RetryReason.OVERLOAD)] * (MAX_ATTEMPTS[RetryReason.OVERLOAD] - 1)
    _, results = judged([[*overloaded, End(Status.FAILED, reason), End(Status.PASSED)]])
    assert [result.status for result in results.values()] == [Status.PASSED]


@pytest.mark.parametrize("reason", [RetryReason.FAILED_MACHINE, RetryReason.GIVEN_UP])
def test_a_violation_that_a_failed_machine_explains_counts_if_it_is_seen_each_time(reason: RetryReason) -> None:
    judge, results = judged([[End(Status.FAILED, reason)]])
    assert [result.status for result in results.values()] == [Status.FAILED]
    most = MAX_FAILURES_IN_A_ROW if reason is RetryReason.FAILED_MACHINE else MAX_ATTEMPTS[reason]
    assert [len(done) for done in judge.done.values()] == [most]


def test_a_violation_on_the_only_machine_which_failed_is_not_judged() -> None:
    _, results = judged([[End(Status.FAILED, RetryReason.FAILED_MACHINE)]], machines=1)
    assert [result.status for result in results.values()] == [Status.ERROR]
    assert "its machine ended in FAILED" in results["TST-1a"].reason


def test_a_violation_without_time_for_another_attempt_is_not_judged() -> None:
    _, results = judged([[End(Status.FAILED, RetryReason.OTHER_CLIENT)]], longest=1.0, other_client=True)
    assert [result.status for result in results.values()] == [Status.ERROR]


@pytest.mark.parametrize("reason", [RetryReason.FAILED_MACHINE, RetryReason.GIVEN_UP])
def test_transitions_that_fail_each_time_are_found_however_long_they_take(reason: RetryReason) -> None:
    _, results = judged([[End(Status.FAILED, reason)]], longest=1.0)
    assert [result.status for result in results.values()] == [Status.FAILED]


def test_a_result_that_needs_no_evidence_stays() -> None:
    result = Result(entry=entry(), status=Status.FAILED, reason="wanted this; got that")
    assert without_evidence(result, RetryReason.OVERLOAD) is result
    assert without_evidence(result, RetryReason.GIVEN_UP).status is Status.ERROR
