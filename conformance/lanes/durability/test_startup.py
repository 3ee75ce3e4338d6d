"""DUR-7: what a provider shows while it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.errors import NotObserved, Unsupported, Violation
from conformance.core.lifecycle import State
from conformance.testkit.behaviour import behaviour
from conformance.testkit.restarted import SERVING, back, look
from conformance.testkit.snapshot import Snapshot, differences
from conformance.testkit.startup import LOOK_S, health, serving_means_answers, starting

if TYPE_CHECKING:
    from conformance.testkit.trial import Trial


@behaviour("DUR-7a", machines=2, start=State.IDLE, bound=1, transitions=1, restarts=True)
async def test_list_shows_no_less_than_the_provider_knew(trial: Trial) -> None:
    before = await look(trial)
    await trial.restarts.kill()
    own = trial.own_machines()
    seen = 0
    async for client in starting(trial, "a kill"):
        said = await health(client)
        call = await client.call("List", pb.ListFilter(since_revision=trial.found.since), timeout=LOOK_S)
        if not call.answered_ok or "NOT_SERVING" in (said, await health(client)):
            continue
        seen += 1
        found = next(
            (each for each in differences(before, Snapshot.of(call.response), own=own) if each.machine in own), None
        )
        if found is not None:
            raise Violation(f"{found.wanted}, in each List during a start", found.got, calls=[call])
    await back(trial, before, "a kill at rest")
    if not seen:
        raise NotObserved("List was not answered during the start")


@behaviour("DUR-7b", machines=1, start=State.IDLE, restarts=True)
async def test_serving_means_that_calls_are_answered(trial: Trial) -> None:
    if trial.found.health != SERVING:
        raise Unsupported(f"the health service does not say {SERVING} (WIR-4)")
    before = await look(trial)
    await trial.restarts.kill()
    serving = await serving_means_answers(trial, "a kill")
    await back(trial, before, "a kill at rest")
    if not serving:
        raise NotObserved(f"the health service did not say {SERVING} during the start")
