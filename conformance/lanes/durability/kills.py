"""Kills the provider at a moment, starts it again, and waits until it has its state back."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from conformance.core.errors import NotObserved, TargetError, Unprepared, Violation
from conformance.core.lifecycle import EDGES, Verb, state_of
from conformance.fleet.probe import health_status
from conformance.lanes.durability.moments import Phase
from conformance.lanes.durability.snapshot import Snapshot, differences
from conformance.rpc.client import Client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.core.fencing import Token
    from conformance.fleet.machine import Machine
    from conformance.lanes.durability.moments import Moment
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

SERVING: Final = "SERVING"
PAUSE_S: Final = 0.02
"""The pause between two looks at a provider that starts."""
LONGEST_START_S: Final = 30.0
"""The time that a provider may take to get its state back once it serves."""
MIDDLE_S: Final = 1.0
"""The longest wait for the middle of a transition."""
AT_REST: Final = "a kill at rest"


class LastClient(Client):
    """A client with a connection of its own, whose call is the last thing that the provider hears of before a kill."""

    def __init__(self, shared: Client, kill: Callable[[], Awaitable[None]], *, delay: float | None = None) -> None:
        """Kills the provider `delay` seconds after a call was sent; without one, as soon as it was answered."""
        super().__init__(shared.target, rpc_timeout=shared.rpc_timeout, first=shared)
        self._kill, self._delay = kill, delay

    async def call(self, rpc: str, request: Any, *, timeout: float | None = None) -> Call:
        """Makes the call, and kills the provider."""
        if self._delay is None:
            call = await super().call(rpc, request, timeout=timeout)
            await self._kill()
            return call
        sent = asyncio.ensure_future(super().call(rpc, request, timeout=timeout))
        await asyncio.wait({sent}, timeout=self._delay)
        await self._kill()
        return await sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A call that takes an edge, with the values that a retry repeats."""

    machine: Machine
    verb: Verb
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, trial: Trial, machine: Machine, verb: Verb) -> Edge:
        """Returns the call of a verb; a Configure binds to a new cluster, with metadata."""
        values = {}
        if verb is Verb.CONFIGURE:
            cluster = trial.unique("c")
            values = {"cluster": cluster, "metadata": {"owner": cluster, "empty": "", "note": "kept over a kill"}}
        return cls(machine=machine, verb=verb, values=values)

    async def send(self, token: Token | None = None, *, client: Client | None = None) -> Call:
        """Sends the call, with a fresh token unless one is given."""
        if self.verb is Verb.CONFIGURE:
            return await self.machine.configure(token, client=client, **self.values)
        return await self.machine.call(self.verb, token, client=client)


async def look(trial: Trial) -> Snapshot:
    """Returns the fleet as List shows it; of a large fleet, only what this run may have changed."""
    seen = Snapshot.of(await trial.list(since=trial.found.since))
    if not trial.found.large:
        trial.restarts.note_inventory(frozenset(seen.machines), restarted=False)
    return seen


async def strike(trial: Trial, edge: Edge, moment: Moment) -> Call | None:
    """Sends the call and kills the provider at the moment. Returns the call, answered or not.

    Returns None, without a kill, if the transition has ended before its middle was reached.
    """
    kill = trial.restarts.kill
    match moment.phase:
        case Phase.BEFORE_ACK | Phase.AFTER_ACK:
            delay = moment.delay if moment.phase is Phase.BEFORE_ACK else None
            client = LastClient(trial.client, kill, delay=delay)
            try:
                await client.wait_until_connected()
                return await edge.send(client=client)
            finally:
                await client.close()
        case Phase.MIDDLE:
            call = await _begun(edge)
            shortest = min(trial.pace.shortest_transition(verb) for verb in Verb)
            await asyncio.sleep(min(shortest / 4, MIDDLE_S) if math.isfinite(shortest) else 0)
            if state_of((await edge.machine.read()).state) is not EDGES[edge.verb].via:
                return None
        case Phase.SETTLED:
            call = await _begun(edge)
            result = await edge.machine.settle()
            if result.state is not EDGES[edge.verb].target:
                raise Unprepared(f"{edge.machine.id} is {result.state.name} after {edge.verb.value}")
    await kill()
    return call


async def _begun(edge: Edge) -> Call:
    call = await edge.send()
    if not call.answered_ok:
        raise Unprepared(f"{edge.verb.value} of {edge.machine.id} answered {call.outcome()}")
    return call


async def kill(trial: Trial, when: object = AT_REST, *, whole: bool = False) -> Snapshot:
    """Kills a provider at rest and starts it again; returns the fleet after that. See `back`."""
    before = await look(trial)
    await trial.restarts.kill()
    return await back(trial, before, when, whole=whole)


async def back(
    trial: Trial, before: Snapshot, when: object, *, moving: Collection[str] = (), whole: bool = False
) -> Snapshot:
    """Starts the provider after a kill, and returns the fleet when it has its state back, and takes mutating calls.

    Machines that only the kit drives must be as they were `before`, except those that are `moving`; with `whole`, so
    must the inventory. Raises Violation.
    """
    await _started(trial, when)
    after = await _recovered(trial, before)
    trial.restarts.recovered()
    own = trial.own_machines()
    for found in differences(before, after, own=own, moving=moving):
        judged = whole and not (trial.found.large or trial.restarts.elastic)
        if judged or found.machine in own:
            raise Violation(f"{found.wanted}, after {when}", found.got)
    if not trial.found.large:
        trial.restarts.note_inventory(frozenset(after.machines), restarted=True)
    return after


async def _started(trial: Trial, when: object) -> None:
    """Starts the provider, a second time if it ends by itself, as a supervisor would. Raises Violation after that.

    One that only takes too long may have too little of its computer: NotObserved.
    """
    for last in (False, True):
        try:
            await trial.restarts.start(recovered=False)
        except TargetError as error:
            death = trial.restarts.death
            if not death:
                raise NotObserved(f"after {when}, {error.message}") from error
            if last:
                raise Violation(f"the provider to serve again after {when}", death) from error
        else:
            return


async def _recovered(trial: Trial, before: Snapshot) -> Snapshot:
    """Returns the fleet once the provider says that it serves and shows all machines, or when it had time enough."""
    end = trial.client.now() + min(LONGEST_START_S, trial.patience.longest)
    while True:
        serves = trial.found.health != SERVING or await health_status(trial.client) == SERVING
        serves = serves and not await _refuses_mutations(trial)
        call = await trial.client.list(since=trial.found.since)
        listing: pb.MachineList = call.response
        whole = serves and call.answered_ok and before.machines.keys() <= {each.id for each in listing.machines}
        if call.answered_ok and (whole or trial.client.now() >= end):
            return Snapshot.of(listing)
        if trial.client.now() >= end:
            raise NotObserved(f"List answered {call.outcome()} after the restart")
        await asyncio.sleep(PAUSE_S)


async def _refuses_mutations(trial: Trial) -> bool:
    """Returns whether a mutating call is still told to try again. It names an unknown machine, and changes nothing."""
    call = await trial.client.drain(trial.unique("no-such-machine-"), trial.new_shard().next())
    return not call.answered or call.busy
