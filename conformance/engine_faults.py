"""Sends a client's calls through the fault proxy for a while."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from conformance.storm import CARRIED, storm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from conformance.client import Client
    from conformance.weather import Fault


@asynccontextmanager
async def weather(client: Client, faults: Sequence[Fault], *, seed: int, least: int = CARRIED) -> AsyncIterator[None]:
    """Injects these faults into the client's calls while the body runs; does nothing if there are none."""
    if not faults:
        yield
        return
    async with storm(client.target, faults, seed=seed, least=least) as made:
        await client.go_through(made)
        made.breaks()
        yield
