"""Kills, stops and starts the provider of a run, and tells the client and the model of the fleet."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from conformance.core import background
from conformance.core.errors import TargetError
from conformance.fleet.model.restarts import Ending
from conformance.fleet.replicas import Replicas

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from conformance.fleet.model import FleetModel
    from conformance.fleet.provider import Provider
    from conformance.rpc.client import Client


T = TypeVar("T")


class Restarts:
    """The restarts of a run's provider. Calls that meet one are unanswered, which is not a finding."""

    def __init__(self, provider: Provider, client: Client, model: FleetModel) -> None:
        self._provider, self._client, self._model = provider, client, model
        self._turn = asyncio.Lock()
        self.count = 0
        """The number of times that the provider was ended."""
        self.inventory: frozenset[str] | None = None
        """The ids of all machines, as they were listed last."""
        self.elastic = False
        """True if the inventory was seen to change by itself: then no restart is blamed for another change."""

    @property
    def death(self) -> str:
        """The way in which the provider has ended by itself, with its last output; empty otherwise."""
        return self._provider.death

    async def kill(self) -> None:
        """Ends the provider at once, and returns when it is gone."""
        self._client.outages.begin(self._client.now())
        await self._one_at_a_time(self._end(self._provider.kill(), Ending.KILL))

    async def stop(self) -> float:
        """Stops the provider in an orderly way; returns the seconds that it took. Raises StillRunning, TargetError."""
        self._client.outages.begin(self._client.now())
        return await self._one_at_a_time(self._end(self._provider.stop(), Ending.STOP))

    @property
    def can_upgrade(self) -> bool:
        """True if there is a newer version, and the older one still runs."""
        return self._provider.can_upgrade

    async def stop_for_upgrade(self) -> float:
        """Stops the provider like `stop`. Every later start is one of the newer version."""
        self._client.outages.begin(self._client.now())
        seconds = await self._one_at_a_time(self._end(self._provider.stop(), Ending.UPGRADE))
        self._provider.upgrade()
        return seconds

    @property
    def replicas(self) -> Replicas:
        """The replicas that the provider consists of. Raises RuntimeError if it is one process."""
        if not isinstance(self._provider, Replicas):
            raise RuntimeError("the provider has no replicas that the kit has started")
        return self._provider

    async def stop_replica(self, number: int) -> float:
        """Stops one replica in an orderly way; returns the seconds that it took. The others go on."""
        seconds = await self._one_at_a_time(self._end(self.replicas.members[number].stop(), Ending.ROLLING))
        self._model.recovered()
        return seconds

    async def kill_replica(self, number: int) -> None:
        """Ends one replica at once. Until `recovered`, nothing is judged: a stand-by may have to take over."""
        self._client.outages.begin(self._client.now())
        await self._one_at_a_time(self._end(self.replicas.members[number].kill(), Ending.FAILOVER))

    async def start_replica(self, number: int) -> None:
        """Starts one replica, and returns when it serves or waits as a stand-by. Raises TargetError."""
        await self._one_at_a_time(self.replicas.start_member(number))

    async def _one_at_a_time(self, work: Coroutine[Any, Any, T]) -> T:
        """Does one thing to the provider after another, and to its end even if the caller is cancelled.

        Otherwise a process that was just started would be unknown, and in the way of the next one.
        """

        async def alone() -> T:
            async with self._turn:
                return await work

        return await background.wait(background.start(alone()))

    async def _end(self, work: Coroutine[Any, Any, T], ending: Ending) -> T:
        try:
            return await work
        finally:
            self.count += 1
            self._model.restarted(self._client.now(), ending)

    async def start(self, *, recovered: bool = True) -> None:
        """Starts the provider, and returns when it serves. Raises TargetError if it does not.

        Unless `recovered`, it may not have its state back yet, and what it shows is not judged before `recovered`.
        """
        await self._one_at_a_time(self._provider.start())
        await self.serves()
        if recovered:
            self.recovered()

    async def begin_start(self) -> None:
        """Starts the provider without waiting until it serves: `start` waits for that later."""
        await self._one_at_a_time(self._provider.start(wait=False))

    async def serves(self) -> None:
        """Connects the client again, at once instead of after gRPC's growing pauses."""
        await self._client.reconnect()

    def recovered(self) -> None:
        """Ends the outage: the provider has had the time to get its state back."""
        self._client.outages.end(self._client.now())
        self._model.recovered()

    def note_inventory(self, ids: frozenset[str], *, restarted: bool) -> None:
        """Notes the ids of all machines; `restarted`: the provider was restarted since the last ones."""
        if not restarted and self.inventory is not None and ids != self.inventory:
            self.elastic = True
        self.inventory = ids

    async def ensure_serving(self) -> bool:
        """Starts the provider if it does not run; returns whether it serves."""
        with suppress(TargetError):
            if not self._provider.running or self._client.outages.under_way:
                await self.start()
            self.recovered()
            return True
        return False
