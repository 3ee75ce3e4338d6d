"""Begins a run, whatever it judges: connects to the target and probes it. Nothing is started yet."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from conformance.core.stop import Stop
from conformance.fleet.ledger import Ledger
from conformance.fleet.probe import connect, probe
from conformance.results.redaction import Redactor
from conformance.rpc.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from conformance.core.lifecycle import State
    from conformance.engine.options import Options
    from conformance.results.target_info import TargetInfo
    from conformance.rpc.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A run that has begun: its name, the client of its target, and what the probe found there."""

    run: str
    client: Client
    found: TargetInfo
    slots: list[tuple[str, State]]
    """The machines that may be driven, each with its original state."""
    options: Options
    stop: Stop
    discretion: Redactor
    at: str
    """ISO 8601, with an offset."""

    @asynccontextmanager
    async def ledger(self, at: Callable[[str], Path], *, durable: bool = True) -> AsyncIterator[Ledger]:
        """Yields the ledger of this run; `durable`: what is started outlives this process.

        Raises UsageError if it cannot be written. If the body is cancelled, no answer is waited for any more: the
        ledger says what may have been started.
        """
        path, address = at(self.run), self.client.target.address
        ledger = Ledger(path, run=self.run, target=address, hide=self.discretion.redact, durable=durable)
        try:
            yield ledger
        except asyncio.CancelledError:
            await self.client.give_up()
            raise
        finally:
            ledger.close()


@asynccontextmanager
async def open_session(target: Target, *, options: Options, stop: Stop | None = None) -> AsyncIterator[Session]:
    """Yields a run of `target` that has begun; closes the connection when the body is over.

    Raises TargetError if the target cannot be reached, or is not a capacity provider. No header's value is in anything
    that is raised, by the body either.
    """
    run, stop = f"cpc-{options.luck.getrandbits(32):08x}", stop or Stop()
    discretion, client = Redactor(target.headers), Client(target, rpc_timeout=options.rpc_timeout)
    try:
        with discretion.errors(), stop.after(options.timeout, "--timeout"):
            await stop.unless(connect(client, timeout=options.connect_timeout))
            found = await stop.unless(probe(client, run=run))
            yield Session(
                run=run,
                client=client,
                found=found,
                slots=found.slots(use_idle=options.use_idle, rng=options.luck),
                options=options,
                stop=stop,
                discretion=discretion,
                at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
    finally:
        await client.close()
