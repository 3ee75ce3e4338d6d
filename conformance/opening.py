"""How every run begins, whatever it judges: the target is reached and looked at, and nothing is started yet."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from conformance.client import Client
from conformance.discretion import Discretion
from conformance.ledger import Ledger
from conformance.probe import connect, look
from conformance.stop import Stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from conformance.found import Found
    from conformance.lifecycle import State
    from conformance.run_options import Options
    from conformance.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A run that has begun: its name, the way to its target, and what was found there."""

    run: str
    client: Client
    found: Found
    slots: list[tuple[str, State]]
    """The machines that may be driven, each with its home."""
    options: Options
    stop: Stop
    discretion: Discretion
    at: str
    """ISO 8601, with an offset."""

    @asynccontextmanager
    async def ledger(self, at: Callable[[str], Path], *, durable: bool = True) -> AsyncIterator[Ledger]:
        """The ledger of this run; `durable` is whether what is started outlives this process.

        Raises UsageError where it cannot be written. Whoever is cancelled inside waits for no answer any more: what
        may have been started stands in it.
        """
        path, address = at(self.run), self.client.target.address
        ledger = Ledger(path, run=self.run, target=address, hide=self.discretion.hide, durable=durable)
        try:
            yield ledger
        except asyncio.CancelledError:
            await self.client.give_up()
            raise
        finally:
            ledger.close()


@asynccontextmanager
async def opened(target: Target, *, options: Options, stop: Stop | None = None) -> AsyncIterator[Opening]:
    """A run of `target`, begun; it is over, and the connection closed, when the block is.

    Raises TargetError where the target cannot be reached, or is no capacity provider. No header's value is in anything
    that is raised, also inside.
    """
    run, stop = f"cpc-{options.luck.getrandbits(32):08x}", stop or Stop()
    discretion, client = Discretion(target.headers), Client(target, rpc_timeout=options.rpc_timeout)
    try:
        with discretion.errors(), stop.after(options.timeout, "--timeout"):
            await stop.unless(connect(client, timeout=options.connect_timeout))
            found = await stop.unless(look(client, run=run))
            yield Opening(
                run=run,
                client=client,
                found=found,
                slots=found.slots(use_idle=options.use_idle, luck=options.luck),
                options=options,
                stop=stop,
                discretion=discretion,
                at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
    finally:
        await client.close()
