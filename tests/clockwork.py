"""A loop whose clock needs no waiting, and a provider without a network to look at on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.timeouts import Patience
from conformance.fleet.context import FleetContext
from conformance.fleet.machine import Machine
from conformance.results.bill import Meter
from conformance.rpc.client import Client
from tests.values import a_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class LeapingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock leaps to the next timer where there is nothing to do: an hour takes no time."""

    leapt = 0.0

    def time(self) -> float:
        return self.leapt

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.leapt = max(self.leapt, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class Clockwork(Client):
    """A provider that settles at a given time and answers a Get in no time or in some; no network."""

    def __init__(self, *, settles_at: float, answers_in: float = 0.0) -> None:
        self.settles_at, self.answers_in = settles_at, answers_in
        self.looks: list[float] = []
        self.asking = self.most_asking = 0

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def get(self, machine_id: str) -> Any:
        self.asking += 1
        self.most_asking = max(self.most_asking, self.asking)
        self.looks.append(self.now())
        await asyncio.sleep(self.answers_in)
        self.asking -= 1
        done = self.now() >= self.settles_at
        state = pb.MACHINE_STATE_IDLE if done else pb.MACHINE_STATE_CREATING
        return a_call(response=pb.Machine(id=machine_id, state=state))


FOREVER = Patience(1e6, 1e6, 1e6, 1e6)


class NoLedger:
    """Remembers nothing."""

    def note_settled(self, *machine: object, **host: object) -> None:
        pass


def leaping(client: Clockwork, facts: Callable[[Machine], Awaitable[None]], *, patience: Patience = FOREVER) -> None:
    """State facts about a machine of this provider, on a clock that needs no waiting."""
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

    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        runner.run(go())
