"""Short runs against the bundled fake: behaviours of a test's own, the engine, and a report."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from conformance.core.catalogue import Clause, Entry, Level, clause_of
from conformance.core.timeouts import Patience
from conformance.engine import run as engine_run
from conformance.engine.options import Options
from conformance.fleet.context import FleetContext
from conformance.fleet.ledger import Ledger
from conformance.fleet.machine import Machine
from conformance.fleet.needs import Needs
from conformance.results.bill import Meter
from conformance.rpc.client import Client
from conformance.rpc.target import Target
from conformance.testkit.behaviour import Behaviour
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.server import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from conformance.core.stop import Stop
    from conformance.results import events
    from conformance.results.report import Report
    from conformance.testkit.behaviour import Body
    from conformance.testkit.trial import Trial

T = TypeVar("T")

SHORT = Patience(5.0, 5.0, 5.0, 5.0)


def entry(
    behaviour_id: str = "TST-1a",
    *,
    level: Level = Level.MUST,
    needs: Sequence[str] = (),
    rests_on: Sequence[str] = (),
) -> Entry:
    """An entry that no catalogue has."""
    clause = Clause(id=clause_of(behaviour_id), level=level, text="A clause of a test.")
    return Entry(
        id=behaviour_id,
        clause=clause,
        level=level,
        title=f"The title of {behaviour_id}",
        observed="By a test.",
        since="0.1.0",
        needs=tuple(needs),
        rests_on=tuple(rests_on),
    )


async def nothing(trial: Trial) -> None:
    """Prove nothing, and pass."""


def proof(
    body: Body = nothing,
    behaviour_id: str = "TST-1a",
    *,
    level: Level = Level.MUST,
    capabilities: Sequence[str] = (),
    **needs: Any,
) -> Behaviour:
    """A behaviour with a body of the test's own; `needs` as of `Needs`."""
    return Behaviour(entry=entry(behaviour_id, level=level, needs=capabilities), needs=Needs(**needs), body=body)


def provider(machines: int = 16, *, latency: float = 0.0, cls: type[Core] = Core, **options: Any) -> Core:
    """A fake with so many slots, each transition taking `latency` seconds."""
    return cls(fleet(machines), latency=Latency.every(latency), **options)


def served(core: Core) -> AbstractContextManager[str]:
    """The address of a provider that runs in a thread of its own."""
    return in_a_thread(serving(core, grace=0.0))


@contextmanager
def in_a_thread(server: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """What the server gives when it is up, which runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    over, up = asyncio.Event(), threading.Event()
    where: list[T] = []

    async def serve() -> None:
        async with server as up_and_running:
            where.append(up_and_running)
            up.set()
            await over.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    assert up.wait(30)
    try:
        yield where[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(30)


async def judged(
    plan: Sequence[Behaviour],
    core: Core | None = None,
    *,
    emit: Callable[[events.Event], None] = lambda event: None,
    stop: Stop | None = None,
    ledger: Path | None = None,
    serve: dict[str, Any] | None = None,
    headers: Sequence[tuple[str, str]] = (),
    **options: Any,
) -> Report:
    """The report of a run of `plan` on a fake that lives only for it."""
    wanted: dict[str, Any] = {"patience": SHORT, "rpc_timeout": 5.0, "connect_timeout": 5.0} | options
    with tempfile.TemporaryDirectory() as directory:
        async with serving(core or provider(), **(serve or {})) as address:
            return await engine_run.run(
                tuple(plan),
                Target(address=address, headers=tuple(headers)),
                options=Options(**wanted),
                ledger_at=lambda run: ledger or Path(directory) / f"{run}.ndjson",
                emit=emit,
                stop=stop,
            )


@asynccontextmanager
async def connected(provider: str | Target, *, rpc_timeout: float = 5.0) -> AsyncIterator[Client]:
    """A client of the provider at an address, or at a target."""
    target = Target(address=provider) if isinstance(provider, str) else provider
    client = Client(target, rpc_timeout=rpc_timeout)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def yard_at(
    provider: str | Target, *, run: str = "cpc-test", max_creates: int | None = None, deletes: bool = True
) -> AsyncIterator[FleetContext]:
    """What the machines of one run share, with a ledger of its own."""
    with tempfile.TemporaryDirectory() as directory:
        async with connected(provider) as client:
            ledger = Ledger(Path(directory) / f"{run}.ndjson", run=run, target=client.target.address)
            try:
                yield FleetContext(
                    run=run,
                    client=client,
                    ledger=ledger,
                    meter=Meter(max_creates=max_creates),
                    patience=SHORT,
                    deletes=deletes,
                )
                await client.quiet()
            finally:
                ledger.close()


def machines_of(yard: FleetContext, core: Core) -> list[Machine]:
    """All the fleet's machines, as the engine would have them."""
    return [Machine(machine_id, yard, number=number) for number, machine_id in enumerate(core.machines, 1)]


def states_of(core: Core) -> dict[str, str]:
    """The machines that are not SPECULATIVE, each with its state."""
    return {m.id: m.state.name for m in core.machines.values() if m.state.name != "SPECULATIVE"}
