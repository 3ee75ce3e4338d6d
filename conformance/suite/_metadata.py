"""Helpers of the MET behaviours: a machine bound with metadata, and where that metadata shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from conformance.core.errors import NotObserved, Unprepared, Violation
from conformance.core.lifecycle import State, state_of
from conformance.testkit import expect
from conformance.testkit.observer import poll_until_deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.observations import Observation
    from conformance.testkit.observer import Observations
    from conformance.testkit.trial import Trial


BOUND: Final = (State.CONFIGURING, State.CONFIGURED, State.DRAINING)
RESTING: Final = (State.IDLE, *BOUND)
TOO_LARGE: Final = (StatusCode.INVALID_ARGUMENT, StatusCode.RESOURCE_EXHAUSTED)


async def configured(machine: Machine, metadata: Mapping[str, str], *, cluster: str | None = None) -> Call:
    """Binds the machine with `metadata`. Raises Violation if the same Configure with plain metadata is accepted."""
    call = await machine.configure(metadata=metadata, cluster=cluster)
    if not call.ok:
        control = await machine.configure(metadata={"plain": "value"}, cluster=cluster)
        if not control.ok:
            raise Unprepared(f"Configure of {machine.id} answered {control.outcome()}")
        wanted = f"Configure with these {len(metadata)} keys to be accepted as one with a plain key is"
        raise Violation(wanted, call.outcome(), calls=[call, control])
    watch = await machine.settle()
    if watch.state is not State.CONFIGURED:
        raise Unprepared(f"{machine.id} is {watch.state.name} after Configure")
    return call


async def shown(trial: Trial, machine: Machine, metadata: Mapping[str, str]) -> None:
    """Get shows a machine at rest with exactly this metadata, and so does List, which may lag for a while (LST-10)."""
    seen = await machine.read()
    state = state_of(seen.state)
    expect.echoes(seen, metadata, where=f"Get of {machine.id}, {state.name},")
    async for last in poll_until_deadline(trial):
        call = await expect.acked(trial.client.list([state]))
        entry = next((m for m in call.response.machines if m.id == machine.id), None)
        if entry is not None and dict(entry.shard_metadata) == dict(metadata):
            return
        if last and entry is None:
            raise NotObserved(f"List does not show {machine.id} as {state.name}")
        if last and entry is not None:
            expect.echoes(entry, metadata, where=f"List of {machine.id}, {state.name},")


def of_binding(seen: Observations, cluster: str, *, unbound: bool = False) -> Iterator[Observation]:
    """Yields the readings of this binding: a List that lags may still show an older one."""
    for sighting in seen.all:
        bound = sighting.state in BOUND and (sighting.rpc == "Get" or sighting.machine.cluster == cluster)
        if bound or (unbound and not sighting.machine.cluster):
            yield sighting
