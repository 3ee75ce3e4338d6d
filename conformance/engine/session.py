"""Begins a run of any lane: connects to the target and probes it. No machine is started yet."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from conformance.core.errors import TargetError
from conformance.core.stop import Stop
from conformance.fleet.ledger import Ledger
from conformance.fleet.model import FleetModel
from conformance.fleet.probe import connect, probe
from conformance.results.breach import TargetBroken
from conformance.results.redaction import Redactor
from conformance.rpc.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from conformance.core.lifecycle import State
    from conformance.engine.options import Options
    from conformance.results.target_info import TargetInfo
    from conformance.rpc.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A run that has begun: its name, the client of its target, and the result of the probe."""

    run: str
    client: Client
    found: TargetInfo
    slots: list[tuple[str, State]]
    """The machines that may be driven, each with its original state."""
    model: FleetModel
    """The model of the fleet. It has the breaches that were seen up to now, whoever asked."""
    options: Options
    stop: Stop
    redactor: Redactor
    started_at: str
    """ISO 8601, with an offset."""

    @contextmanager
    def blaming_breaches(self) -> Iterator[None]:
        """Replaces a TargetError of the body by a TargetBroken if the target has broken the contract already."""
        try:
            yield
        except TargetError as error:
            breaches = self.model.breaches
            raise (TargetBroken(error, breaches) if breaches else error) from None

    @asynccontextmanager
    async def ledger(self, at: Callable[[str], Path], *, durable: bool = True) -> AsyncIterator[Ledger]:
        """Yields the ledger of this run; `durable`: machines outlive this process.

        Raises UsageError if it cannot be written. If the body is cancelled, the run waits for no more answers: the
        ledger names the machines that may have been started.
        """
        path, address = at(self.run), self.client.target.address
        ledger = Ledger(path, run=self.run, target=address, hide=self.redactor.redact, durable=durable)
        try:
            yield ledger
        except asyncio.CancelledError:
            await self.client.abandon()
            raise
        finally:
            ledger.close()


@asynccontextmanager
async def open_session(target: Target, *, options: Options, stop: Stop | None = None) -> AsyncIterator[Session]:
    """Yields a run of `target` that has begun; closes the connection when the body ends.

    Raises TargetError if the target cannot be reached, or is not a capacity provider. Errors, including those of the
    body, contain no header values.
    """
    run, stop = f"cpc-{options.rng.getrandbits(32):08x}", stop or Stop()
    model = FleetModel(run)
    redactor, client = Redactor(target.headers), Client(target, rpc_timeout=options.timeouts.rpc, observer=model)
    try:
        with redactor.errors(), stop.after(options.limits.timeout, "--timeout"):
            await stop.run_unless_stopped(connect(client, timeout=options.timeouts.connect))
            found = await stop.run_unless_stopped(probe(client, run=run, note=model.note))
            yield Session(
                run=run,
                client=client,
                model=model,
                found=found,
                slots=found.slots(use_idle=options.use_idle, rng=options.rng),
                options=options,
                stop=stop,
                redactor=redactor,
                started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
    finally:
        await client.close()
