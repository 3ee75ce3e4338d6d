"""Looks at a provider while it starts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from bigfleet.v1alpha1 import provider_pb2 as pb
from grpc_health.v1 import health_pb2

from conformance.core.errors import TargetError, Violation
from conformance.rpc.reflection import serving_status
from conformance.testkit import expect
from conformance.testkit.restarted import SERVING
from conformance.testkit.snapshot import Snapshot, differences

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


async def get(client: Client, machine_id: str) -> Call:
    """Reads a machine once."""
    return await client.call("Get", pb.MachineRef(id=machine_id), timeout=LOOK_S)


async def health(client: Client) -> str:
    """Returns what the health service says; empty without an answer."""
    call = await client.call_path(
        "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
    )
    return serving_status(call.response) if call.answered_ok else ""


async def starting(trial: Trial, when: str) -> AsyncIterator[Client]:
    """Starts the provider, and yields a client with a new connection again and again until some time after it serves.

    gRPC would wait longer and longer on an old connection.
    """
    try:
        await trial.restarts.begin_start()
    except TargetError as error:
        raise Violation(f"the provider to start again after {when}", error.message) from error
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


async def serving_means_answers(trial: Trial, when: str, *, before: Snapshot | None = None) -> bool:
    """Starts the provider, and expects Get and List to be answered OK while its health service says SERVING.

    The machines of the run must be listed as `before`, if that is known. Returns whether it reported SERVING. Raises
    Violation.
    """
    own, machine, serving = trial.own_machines(), trial.machine.id, False
    async for client in starting(trial, when):
        if await health(client) != SERVING:
            continue
        serving = True
        listing = await client.call("List", pb.ListFilter(since_revision=trial.found.since), timeout=LOOK_S)
        for call in (await get(client, machine), listing):
            if call.answered:
                expect.fact(
                    call.ok,
                    wanted=f"{call.rpc} to be answered OK while the health service says {SERVING} during a start",
                    got=call.outcome(),
                    calls=[call],
                )
        if before is None or not listing.answered_ok:
            continue
        for each in differences(before, Snapshot.of(listing.response), own=own):
            if each.machine in own:
                wanted = f"{each.wanted}, while the health service says {SERVING} during a start"
                raise Violation(wanted, each.got, calls=[listing])
    return serving
