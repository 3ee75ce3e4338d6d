"""Short runs against the bundled fake provider: a test's own behaviours, the engine, and a report."""

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
from conformance.engine.options import Limits, Options, RunInfo, Timeouts
from conformance.fleet.context import FleetContext
from conformance.fleet.ledger import Ledger
from conformance.fleet.machine import Machine
from conformance.fleet.model import FleetModel
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
    from conformance.rpc.observer import CallObserver
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
    """Passes without a check."""


def proof(
    body: Body = nothing,
    behaviour_id: str = "TST-1a",
    *,
    level: Level = Level.MUST,
    capabilities: Sequence[str] = (),
    **needs: Any,
) -> Behaviour:
    """Returns a behaviour with a test's own body; `needs` are the fields of `Needs`."""
    return Behaviour(entry=entry(behaviour_id, level=level, needs=capabilities), needs=Needs(**needs), body=body)


def provider(machines: int = 16, *, latency: float = 0.0, cls: type[Core] = Core, **options: Any) -> Core:
    """Returns a fake provider with `machines` slots, in which each transition takes `latency` seconds."""
    return cls(fleet(machines), latency=Latency.every(latency), **options)


def served(core: Core) -> AbstractContextManager[str]:
    """Runs a provider in its own thread, and yields its address."""
    return in_a_thread(serving(core, grace=0.0))


@contextmanager
def in_a_thread(server: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Runs the server in its own thread, and yields the value that it yields."""
    loop = asyncio.new_event_loop()
    over, ready = asyncio.Event(), threading.Event()
    yielded: list[T] = []

    async def serve() -> None:
        async with server as value:
            yielded.append(value)
            ready.set()
            await over.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(30)
    try:
        yield yielded[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(30)


def options_from(**given: Any) -> Options:
    """Returns options from their names on the command line, without groups."""
    names = {"limits": ("jobs", "max_machines", "max_creates", "timeout"), "info": ("version", "whole", "fake")}
    groups = {group: {name: given.pop(name) for name in part if name in given} for group, part in names.items()}
    flat = {"patience": "patience", "rpc_timeout": "rpc", "connect_timeout": "connect"}
    timeouts = {field: given.pop(name) for name, field in flat.items() if name in given}
    return Options(
        limits=Limits(**groups["limits"]), info=RunInfo(**groups["info"]), timeouts=Timeouts(**timeouts), **given
    )


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
    """Runs `plan` on a fake provider of its own, and returns the report."""
    settings: dict[str, Any] = {"patience": SHORT, "rpc_timeout": 5.0, "connect_timeout": 5.0} | options
    with tempfile.TemporaryDirectory() as directory:
        async with serving(core or provider(), **(serve or {})) as address:
            return await engine_run.run(
                tuple(plan),
                Target(address=address, headers=tuple(headers)),
                options=options_from(**settings),
                ledger_at=lambda run: ledger or Path(directory) / f"{run}.ndjson",
                emit=emit,
                stop=stop,
            )


@asynccontextmanager
async def connected(
    provider: str | Target, *, rpc_timeout: float = 5.0, observer: CallObserver | None = None
) -> AsyncIterator[Client]:
    """Yields a client of a provider, given by its address or target."""
    target = Target(address=provider) if isinstance(provider, str) else provider
    client = Client(target, rpc_timeout=rpc_timeout, observer=observer)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def fleet_context(
    provider: str | Target, *, run: str = "cpc-test", max_creates: int | None = None, deletes: bool = True
) -> AsyncIterator[FleetContext]:
    """Yields the context of a run's machines, with its own ledger."""
    with tempfile.TemporaryDirectory() as directory:
        model = FleetModel(run)
        async with connected(provider, observer=model) as client:
            ledger = Ledger(Path(directory) / f"{run}.ndjson", run=run, target=client.target.address)
            try:
                yield FleetContext(
                    run=run,
                    client=client,
                    ledger=ledger,
                    meter=Meter(max_creates=max_creates),
                    patience=SHORT,
                    deletes=deletes,
                    model=model,
                )
                await client.wait_until_idle()
            finally:
                ledger.close()


def machines_of(context: FleetContext, core: Core) -> list[Machine]:
    """Returns all machines of the fleet, as the engine creates them."""
    return [Machine(machine_id, context, number=number) for number, machine_id in enumerate(core.machines, 1)]


def states_of(core: Core) -> dict[str, str]:
    """Returns the machines that are not SPECULATIVE, each with its state."""
    return {m.id: m.state.name for m in core.machines.values() if m.state.name != "SPECULATIVE"}
