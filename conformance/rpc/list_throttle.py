"""Lets one large List at a time be under way: each needs about 100 MB while it is decoded."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from bigfleet.v1alpha1 import provider_pb2 as pb

HEAVY_LIST_BYTES: Final = 2**20
"""Bytes of a List of some four thousand ordinary machines. Smaller ones need not wait for each other."""


class ListThrottle:
    """Knows the sizes of earlier Lists, and makes those that are likely to be large wait for each other."""

    def __init__(self) -> None:
        self._last_size: dict[frozenset[int], int] = {}
        """Bytes of the last List of these states that had no cap. The empty set stands for all states."""
        self._machine_size = 0
        """Bytes per machine, of the List in which that was the most."""
        self._lock = asyncio.Lock()

    def heavy(self, states: Collection[int], cap: int) -> bool:
        """Returns whether a List is likely to be large, as the last one of the same states was, or else of all."""
        likely = self._last_size.get(frozenset(states), self._last_size.get(frozenset(), 0))
        return (min(likely, cap * self._machine_size) if cap > 0 else likely) > HEAVY_LIST_BYTES

    @asynccontextmanager
    async def turn(self, states: Collection[int], cap: int) -> AsyncIterator[None]:
        """Waits until a List of these states may be sent."""
        if not self.heavy(states, cap):
            yield
            return
        async with self._lock:
            yield

    def record_size(self, states: Collection[int], cap: int, listing: pb.MachineList) -> None:
        """Remembers the size of an answered List."""
        size = listing.ByteSize()
        self._machine_size = max(self._machine_size, size // max(1, len(listing.machines)))
        if cap <= 0:
            self._last_size[frozenset(states)] = size
