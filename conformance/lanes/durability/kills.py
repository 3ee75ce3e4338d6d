"""Kills the provider at a moment, starts it again, and waits until it has its state back."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

from conformance.core.errors import Unprepared
from conformance.core.lifecycle import EDGES, Verb, state_of
from conformance.lanes.durability.moments import Phase
from conformance.rpc.client import Client
from conformance.testkit.restarted import back, look

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.lanes.durability.moments import Moment
    from conformance.rpc.call import Call
    from conformance.testkit.restarted import Edge
    from conformance.testkit.snapshot import Snapshot
    from conformance.testkit.trial import Trial

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
