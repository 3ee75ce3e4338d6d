"""An event loop with a virtual clock, and a provider without a network that runs on it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.timeouts import Patience
from conformance.fleet.context import FleetContext
from conformance.fleet.machine import Machine
from conformance.results.bill import Meter
from conformance.rpc.client import Client
from conformance.rpc.in_process import in_process_target
from fake_provider.server import serving
from fake_provider.servicer import Servicer
from tests.values import a_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from conformance.rpc.target import Target
    from fake_provider.core import Core


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when it is idle: an hour takes no time."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now_s = max(self.now_s, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class SettlingClient(Client):
    """A client without a network: the machine settles at `settles_at`, each Get takes `answers_in` seconds."""

    def __init__(self, *, settles_at: float, answers_in: float = 0.0) -> None:
        self.settles_at, self.answers_in = settles_at, answers_in
        self.looks: list[float] = []
        self.gets = self.max_gets = 0

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def get(self, machine_id: str) -> Any:
        self.gets += 1
        self.max_gets = max(self.max_gets, self.gets)
        self.looks.append(self.now())
        await asyncio.sleep(self.answers_in)
        self.gets -= 1
        done = self.now() >= self.settles_at
        state = pb.MACHINE_STATE_IDLE if done else pb.MACHINE_STATE_CREATING
        return a_call(response=pb.Machine(id=machine_id, state=state))


UNLIMITED = Patience(1e6, 1e6, 1e6, 1e6)


class NoLedger:
    """A ledger that stores nothing."""

    def note_settled(self, *machine: object, **host: object) -> None:
        pass


def with_virtual_clock(
    client: SettlingClient, facts: Callable[[Machine], Awaitable[None]], *, patience: Patience = UNLIMITED
) -> None:
    """Runs `facts` with a machine of this provider, on a virtual clock."""
    context = FleetContext(
        run="cpc-test",
        client=client,
        ledger=NoLedger(),  # type: ignore[arg-type]
        meter=Meter(),
        patience=patience,
        deletes=True,
    )

    async def go() -> None:
        await facts(Machine("m", context, number=1, live=True))

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(go())


@asynccontextmanager
async def serving_in_process(core: Core, **options: Any) -> AsyncIterator[Target]:
    """Yields the target of a provider in this process, whose transitions take their time on the clock of the loop."""
    servicers: list[Servicer] = []

    def keep(core: Core, **options: Any) -> Servicer:
        servicers.append(Servicer(core, **options))
        return servicers[-1]

    async with serving(core, clock=asyncio.get_running_loop().time, servicer=keep, **options) as address:
        yield in_process_target(servicers[0], address)
