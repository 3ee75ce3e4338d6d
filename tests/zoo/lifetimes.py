"""Species that answer only for some time, or only two calls out of three."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import grpc

from fake_provider.servicer import Servicer
from tests.zoo.provider import not_returned, provider, serve, serve_until_over
from tests.zoo.sandbox import forever
from tests.zoo.species import species

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from tests.zoo.sandbox import Sandbox

JUDGED = frozenset({1, 3})
SLEEP_S = 29.0
"""Just below the default deadline of an RPC, which is 30 s."""


def from_call(number: int, action: Any) -> type[Servicer]:
    """Returns a servicer that runs `action` before it answers the call with this number and all later ones."""
    calls = itertools.count(1)

    class FromCall(Servicer):
        async def answer(self, context: Any, work: Any) -> Any:
            if next(calls) >= number:
                await action(context)
            return await super().answer(context, work)

    return FromCall


def from_configure(action: Any) -> type[Servicer]:
    """Returns a servicer that runs `action` before each answer from the first Configure on: a machine runs then."""

    class FromConfigure(Servicer):
        configured = False

        async def Configure(self, request: pb.ConfigureRequest, context: Any) -> pb.TransitionAck:  # noqa: N802
            self.configured = True
            return await super().Configure(request, context)

        async def answer(self, context: Any, work: Any) -> Any:
            if self.configured:
                await action(context)
            return await super().answer(context, work)

    return FromConfigure


def every_third(code: grpc.StatusCode, details: str) -> type[Servicer]:
    """Returns a servicer that rejects every third call."""
    calls = itertools.count(1)

    class EveryThird(Servicer):
        async def answer(self, context: Any, work: Any) -> Any:
            if next(calls) % 3 == 0:
                await context.abort(code, details)
            return await super().answer(context, work)

    return EveryThird


@species(r"UNAVAILABLE", codes=JUDGED)
async def is_unavailable_at_times(sandbox: Sandbox) -> None:
    """Answers every third call with UNAVAILABLE."""
    await serve_until_over(sandbox, every_third(grpc.StatusCode.UNAVAILABLE, "come back later"))


@species(r"RESOURCE_EXHAUSTED", codes=JUDGED, rare=True)
async def is_exhausted_at_times(sandbox: Sandbox) -> None:
    """Answers every third call with RESOURCE_EXHAUSTED."""
    await serve_until_over(sandbox, every_third(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many of you"))


@species(r"the target is gone: .* refuses connections", connect=2, rpc=2)
async def dies(sandbox: Sandbox) -> None:
    """Exits at the 12th call."""

    async def exit_now(context: Any) -> None:
        sandbox.exit_now()

    await serve_until_over(sandbox, from_call(12, exit_now))


@species(r"the target is gone: List was not answered within 1 s", rpc=1)
async def falls_silent(sandbox: Sandbox) -> None:
    """Stops answering at the first Configure."""

    async def hang(context: Any) -> None:
        await forever()

    await serve_until_over(sandbox, from_configure(hang))


@species(r"NOT_FOUND|UNAVAILABLE", codes=JUDGED)
async def is_replaced(sandbox: Sandbox) -> None:
    """Is replaced at the first Configure by a provider without machines on the same port."""
    old, new, replace_now = provider(), provider(0), asyncio.Event()
    sandbox.machines_left = lambda: not_returned(old) | not_returned(new)

    async def end(context: Any) -> None:
        replace_now.set()
        await forever()

    async def serve_both() -> None:
        async with serve(old, from_configure(end)) as port:
            first_port.set_result(port)
            await replace_now.wait()
        async with serve(new, port=port):
            await forever()

    first_port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve_both())
    await sandbox.announce(f"127.0.0.1:{await first_port}")
    task.cancel()


@species(r"UNAUTHENTICATED: the token has expired", codes=JUDGED)
async def forgets_who_we_are(sandbox: Sandbox) -> None:
    """Rejects the client's credentials from the first Configure on."""

    async def refuse(context: Any) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token has expired")

    await serve_until_over(sandbox, from_configure(refuse))


@species(r"--timeout 3 s is over before anything was started$", timeout=3)
async def sleeps(sandbox: Sandbox) -> None:
    """Takes 29 s for every call."""

    async def sleep(context: Any) -> None:
        await asyncio.sleep(SLEEP_S)

    await serve_until_over(sandbox, from_call(1, sleep))


@species(r"stopped: --timeout 3 s is over", codes=JUDGED, timeout=3)
async def grows_tired(sandbox: Sandbox) -> None:
    """Takes 2 s for every call from the first Configure on."""

    async def sleep(context: Any) -> None:
        await asyncio.sleep(2.0)

    await serve_until_over(sandbox, from_configure(sleep))
