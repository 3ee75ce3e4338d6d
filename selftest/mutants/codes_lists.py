"""Providers that stop answering after an unusual List (contract §4, COD-5)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fake_provider.errors import Code
from fake_provider.servicer import Servicer, T
from selftest.mutant import mutant

if TYPE_CHECKING:
    from collections.abc import Callable

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from fake_provider.request import Filter
    from fake_provider.servicer import Context


class _StuckList(Servicer):
    """Stops answering correctly after an unusual List."""

    stuck = False

    def odd(self, wanted: Filter) -> bool:
        raise NotImplementedError

    async def answer(self, context: Context, work: Callable[[], T]) -> T:
        if self.stuck:
            await context.abort(self.status(Code.UNAVAILABLE), "shutting down")
        return await super().answer(context, work)

    def filter(self, request: pb.ListFilter) -> Filter:
        wanted = super().filter(request)
        self.stuck = self.stuck or self.odd(wanted)
        return wanted


@mutant("COD-5", "COD-5b", alone="it stops answering after the first unusual List")
class HugeStatesEndTheWorker(_StuckList):
    """Crashes on large state numbers in a List, because it builds a bit mask of them."""

    def odd(self, wanted: Filter) -> bool:
        return any(state > 1000 for state in wanted.states)


@mutant("COD-5", "COD-5b", alone="it stops answering after the first unusual List")
class HugeCapsEndTheWorker(_StuckList):
    """Crashes on a large cap, because it allocates that many machines."""

    def odd(self, wanted: Filter) -> bool:
        return wanted.max_results > 1_000_000


@mutant("COD-5", "COD-5b", alone="it stops answering after the first unusual List")
class GarbageCursorsEndTheWorker(_StuckList):
    """Crashes on an invalid revision, because it decodes it as text outside any error handler."""

    def odd(self, wanted: Filter) -> bool:
        return b"\xff" in wanted.since


@mutant("COD-5", "COD-5b", alone="it stops answering after the first unusual List")
class GarbageCursorsKeepALock(Servicer):
    """Keeps a lock after a List with an invalid revision, and every mutating call waits for that lock."""

    async def List(self, request: pb.ListFilter, context: Context) -> pb.MachineList:  # noqa: N802
        self.__dict__["held"] = self.__dict__.get("held") or b"\xff" in request.since_revision
        return await super().List(request, context)

    async def Configure(self, request: pb.ConfigureRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        if self.__dict__.get("held"):
            await asyncio.Event().wait()
        return await super().Configure(request, context)
