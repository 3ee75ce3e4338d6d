"""Whose turn it is: Lists that weigh much go one at a time, as each takes up a hundred megabytes while it is read."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from bigfleet.v1alpha1 import provider_pb2 as pb

HEAVY: Final = 2**20
"""Bytes: a List of some four thousand ordinary machines. Lighter ones need not wait for one another."""


class Turns:
    """What Lists have weighed so far, and the one heavy one that may be under way."""

    def __init__(self) -> None:
        self._last: dict[frozenset[int], int] = {}
        """Bytes of the last uncapped List of these states; the empty set is all."""
        self._machine = 0
        """Bytes of a machine in the List whose machines weighed most."""
        self._turn = asyncio.Lock()

    def heavy(self, states: Collection[int], cap: int) -> bool:
        """Whether a List is likely to weigh much, by the last one of these states, or else of all."""
        likely = self._last.get(frozenset(states), self._last.get(frozenset(), 0))
        return (min(likely, cap * self._machine) if cap > 0 else likely) > HEAVY

    @asynccontextmanager
    async def turn(self, states: Collection[int], cap: int) -> AsyncIterator[None]:
        """Wait until a List like this one may be asked for."""
        if not self.heavy(states, cap):
            yield
            return
        async with self._turn:
            yield

    def weighed(self, states: Collection[int], cap: int, listing: pb.MachineList) -> None:
        """Take note of what a List weighed."""
        size = listing.ByteSize()
        self._machine = max(self._machine, size // max(1, len(listing.machines)))
        if cap <= 0:
            self._last[frozenset(states)] = size
