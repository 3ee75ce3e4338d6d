"""Serialises large List calls: each needs about 100 MB while it is decoded."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from bigfleet.v1alpha1 import provider_pb2 as pb

HEAVY_LIST_BYTES: Final = 2**20
"""Bytes of a List of about four thousand ordinary machines. Smaller Lists do not wait for each other."""


class ListThrottle:
    """Remembers the sizes of earlier Lists, and serialises those that are likely to be large."""

    def __init__(self) -> None:
        self._last_size: dict[frozenset[int], int] = {}
        """Bytes of the last List without a cap, by states. The empty set stands for all states."""
        self._machine_size = 0
        """Bytes per machine: the largest average of any List."""
        self._lock = asyncio.Lock()

    def heavy(self, states: Collection[int], cap: int) -> bool:
        """Returns whether a List is likely to be large: the last one of the same states was, or else of all states."""
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
