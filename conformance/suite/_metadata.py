"""Helpers of the MET behaviours: bind a machine with metadata, and check that Get and List show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from conformance.core.errors import NotObserved, Unprepared, Unsupported, Violation
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
IDLE_OR_BOUND: Final = (State.IDLE, *BOUND)
TOO_LARGE: Final = (StatusCode.INVALID_ARGUMENT, StatusCode.RESOURCE_EXHAUSTED)


async def configure_with(
    machine: Machine, metadata: Mapping[str, str], *, cluster: str | None = None, plain: Mapping[str, str] | None = None
) -> Call:
    """Binds the machine with `metadata`. If only `plain` metadata is accepted, by default of the same size: Violation.

    Raises Unsupported if that is too large for the provider: MET-4 judges its limit.
    """
    call = await machine.configure(metadata=metadata, cluster=cluster)
    if not call.ok:
        plain = plain or plain_metadata(metadata)
        control = await machine.configure(metadata=plain, cluster=cluster)
        if control.status in TOO_LARGE:
            raise Unsupported(f"the provider refuses {len(metadata)} keys of metadata: {control.outcome()}")
        if not control.ok:
            raise Unprepared(f"Configure of {machine.id} answered {control.outcome()}")
        wanted = f"Configure with these {len(metadata)} keys to be accepted, like {len(plain)} plain ones"
        raise Violation(wanted, call.outcome(), calls=[call, control])
    watch = await machine.settle()
    if watch.state is not State.CONFIGURED:
        raise Unprepared(f"{machine.id} is {watch.state.name} after Configure")
    return call


def plain_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Returns as many plain keys, with values of equal length, of about the same size in all."""
    size = sum(len(text.encode(errors="replace")) for pair in metadata.items() for text in pair)
    names = [f"plain-{number}" for number in range(len(metadata))]
    filler = max(0, size - sum(map(len, names))) // max(1, len(names))
    return dict.fromkeys(names, "v" * filler)


async def bind_to(
    trial: Trial, machine: Machine, tail: str, metadata: Mapping[str, str], *, stem: str = ""
) -> tuple[str, Call]:
    """Binds the machine to a cluster whose name ends oddly, or plainly if the provider refuses such names.

    The beginning is `stem`, or a new name. Returns the name and the ack. The model of the fleet checks that every
    answer shows exactly this name (LIF-6).
    """
    cluster = (stem or trial.unique("cluster")) + tail
    call = await machine.configure(cluster=cluster, metadata=metadata)
    if not call.ok:
        cluster = trial.unique("cluster")
        return cluster, await trial.bind(machine, cluster=cluster, metadata=metadata)
    watch = await machine.settle()
    if watch.state is not State.CONFIGURED:
        raise Unprepared(f"{machine.id} is {watch.state.name} after Configure")
    return cluster, call


async def check_shown(trial: Trial, machine: Machine, metadata: Mapping[str, str]) -> None:
    """Checks that Get shows the machine at rest with exactly this metadata, and List too, after a delay (LST-10)."""
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


def readings_of_binding(seen: Observations, cluster: str, *, unbound: bool = False) -> Iterator[Observation]:
    """Yields the readings of this binding: a List that lags may still show an older one.

    With `unbound`, those of the machine without a binding too.
    """
    for reading in seen.all:
        of_this_binding = reading.state in BOUND and (reading.rpc == "Get" or reading.machine.cluster == cluster)
        if of_this_binding or (unbound and not reading.machine.cluster):
            yield reading
