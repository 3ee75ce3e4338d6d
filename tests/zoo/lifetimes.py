"""Providers that are there for a while, or for two calls out of three."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import grpc

from fake_provider.servicer import Servicer
from tests.zoo.cage import forever
from tests.zoo.provider import away, kept, provider, up
from tests.zoo.species import species

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from tests.zoo.cage import Cage

JUDGED = frozenset({1, 3})
LONG = 29.0
"""Seconds: an RPC's deadline is at 30."""


def from_call(number: int, happens: Any) -> type[Servicer]:
    """A servicer to which `happens` something at each call from the `number`th on, before it is answered."""
    calls = itertools.count(1)

    class Counting(Servicer):
        async def answer(self, context: Any, work: Any) -> Any:
            if next(calls) >= number:
                await happens(context)
            return await super().answer(context, work)

    return Counting


def from_configure(happens: Any) -> type[Servicer]:
    """A servicer to which `happens` something at each call from the first Configure on: a machine lives by then."""

    class Waiting(Servicer):
        over = False

        async def Configure(self, request: pb.ConfigureRequest, context: Any) -> pb.TransitionAck:  # noqa: N802
            self.over = True
            return await super().Configure(request, context)

        async def answer(self, context: Any, work: Any) -> Any:
            if self.over:
                await happens(context)
            return await super().answer(context, work)

    return Waiting


def every_third(code: grpc.StatusCode, details: str) -> type[Servicer]:
    """A servicer that refuses every third call."""
    calls = itertools.count(1)

    class Moody(Servicer):
        async def answer(self, context: Any, work: Any) -> Any:
            if next(calls) % 3 == 0:
                await context.abort(code, details)
            return await super().answer(context, work)

    return Moody


@species(r"UNAVAILABLE", codes=JUDGED)
async def is_unavailable_at_times(cage: Cage) -> None:
    """Answers every third call UNAVAILABLE."""
    await kept(cage, every_third(grpc.StatusCode.UNAVAILABLE, "come back later"))


@species(r"RESOURCE_EXHAUSTED", codes=JUDGED, rare=True)
async def is_exhausted_at_times(cage: Cage) -> None:
    """Answers every third call RESOURCE_EXHAUSTED."""
    await kept(cage, every_third(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many of you"))


@species(r"the target is gone: .* refuses connections", connect=2, rpc=2)
async def dies(cage: Cage) -> None:
    """Dies at the 12th call."""

    async def dying(context: Any) -> None:
        cage.die()

    await kept(cage, from_call(12, dying))


@species(r"the target is gone: List was not answered within 1 s", rpc=1)
async def falls_silent(cage: Cage) -> None:
    """Answers no call any more from the first Configure on."""

    async def silence(context: Any) -> None:
        await forever()

    await kept(cage, from_configure(silence))


@species(r"NOT_FOUND|UNAVAILABLE", codes=JUDGED)
async def is_replaced(cage: Cage) -> None:
    """Is replaced at the first Configure, on the same port, by a provider that has no machines."""
    old, new, over = provider(), provider(0), asyncio.Event()
    cage.account = lambda: away(old) | away(new)

    async def ends(context: Any) -> None:
        over.set()
        await forever()

    async def lives() -> None:
        async with up(old, from_configure(ends)) as port:
            where.set_result(port)
            await over.wait()
        async with up(new, port=port):
            await forever()

    where: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    life = asyncio.create_task(lives())
    await cage.stand(f"127.0.0.1:{await where}")
    life.cancel()


@species(r"UNAUTHENTICATED: the token has expired", codes=JUDGED)
async def forgets_who_we_are(cage: Cage) -> None:
    """Lets us in until the first Configure, and then no more."""

    async def refuse(context: Any) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token has expired")

    await kept(cage, from_configure(refuse))


@species(r"--timeout 3 s is over before any machine was started$", timeout=3)
async def sleeps(cage: Cage) -> None:
    """Sleeps for 29 s over every call."""

    async def sleep(context: Any) -> None:
        await asyncio.sleep(LONG)

    await kept(cage, from_call(1, sleep))


@species(r"stopped: --timeout 3 s is over", codes=JUDGED, timeout=3)
async def grows_tired(cage: Cage) -> None:
    """Takes 2 s for every call from the first Configure on."""

    async def sleep(context: Any) -> None:
        await asyncio.sleep(2.0)

    await kept(cage, from_configure(sleep))
