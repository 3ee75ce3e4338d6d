"""DUR-7: what a provider shows while it starts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from bigfleet.v1alpha1 import provider_pb2 as pb
from grpc_health.v1 import health_pb2

from conformance.core.errors import NotObserved, TargetError, Unsupported, Violation
from conformance.core.lifecycle import State
from conformance.lanes.durability.kills import SERVING, back, look
from conformance.lanes.durability.snapshot import Snapshot, differences
from conformance.rpc.reflection import serving_status
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.testkit.trial import Trial

PAUSE_S: Final = 0.005
LOOK_S: Final = 1.0
"""The time that one look may take."""
AFTER_S: Final = 0.5
"""The time for which the provider is watched after its first answer."""
LONGEST_S: Final = 30.0


@behaviour("DUR-7a", machines=2, start=State.IDLE, bound=1, transitions=1, restarts=True)
async def test_list_shows_no_less_than_the_provider_knew(trial: Trial) -> None:
    before = await look(trial)
    await trial.restarts.kill()
    own = trial.own_machines()
    seen = 0
    async for client in starting(trial):
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
    serving = False
    async for client in starting(trial):
        if await health(client) != SERVING:
            continue
        serving = True
        for call in (await get(client, trial.machine.id), await client.call("List", pb.ListFilter(), timeout=LOOK_S)):
            if call.answered:
                expect.fact(
                    call.ok,
                    wanted=f"{call.rpc} to be answered OK while the health service says {SERVING} during a start",
                    got=call.outcome(),
                    calls=[call],
                )
    await back(trial, before, "a kill at rest")
    if not serving:
        raise NotObserved(f"the health service did not say {SERVING} during the start")


async def get(client: Client, machine_id: str) -> Call:
    """Reads a machine once."""
    return await client.call("Get", pb.MachineRef(id=machine_id), timeout=LOOK_S)


async def health(client: Client) -> str:
    """Returns what the health service says; empty without an answer."""
    call = await client.call_path(
        "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
    )
    return serving_status(call.response) if call.answered_ok else ""


async def starting(trial: Trial) -> AsyncIterator[Client]:
    """Starts the provider, and yields a client with a new connection again and again until some time after it serves.

    gRPC would wait longer and longer on an old connection.
    """
    try:
        await trial.restarts.begin_start()
    except TargetError as error:
        raise Violation("the provider to start again after a kill", error.message) from error
    now = trial.client.now
    end, answered = now() + min(LONGEST_S, trial.patience.longest), False
    while now() < end:
        async with trial.client.another() as client:
            probe = await client.call("List", pb.ListFilter(max_results=1), timeout=LOOK_S)
            if probe.answered:
                yield client
                if not answered:
                    answered, end = True, min(end, now() + AFTER_S)
        await asyncio.sleep(PAUSE_S)
