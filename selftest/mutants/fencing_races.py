"""Providers in which the fence is not one step (FEN-11)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fake_provider.core import Core
from fake_provider.errors import Code
from fake_provider.fence import newer
from fake_provider.machine import Verb
from fake_provider.servicer import Servicer
from selftest.mutant import mutant

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from fake_provider.fence import Token
    from fake_provider.servicer import Context, Fenced
    from fake_provider.store import MarkKey


class _ReadsEarly(Servicer):
    """Reads the mark, waits, and then compares the token with the old value."""

    async def stale(self, request: Fenced, verb: Verb = Verb.CREATE) -> None:
        marks, token = self.core.inventory.marks, self.token(request)
        key = self.core.mark_key(verb, request.machine_id, token)
        before = marks.get(key)
        await self.something(request)
        if before is None:
            marks.pop(key, None)
        elif newer(token, before):
            marks[key] = before

    async def something(self, request: Fenced) -> None:
        await asyncio.sleep(0.01)


@mutant("FEN-11", "FEN-11a", "FEN-11b", "FEN-11c", "FEN-11d")
class CreateChecksAndThenSets(_ReadsEarly):
    """Does not check and raise Create's mark in one step."""

    async def Create(self, request: pb.CreateRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        await self.stale(request)
        return await super().Create(request, context)


@mutant("FEN-11", "FEN-11b", "FEN-11f")
class ConfigureChecksAndThenSets(_ReadsEarly):
    """Does not check and raise Configure's mark in one step."""

    async def Configure(self, request: pb.ConfigureRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        await self.stale(request)
        return await super().Configure(request, context)


@mutant("FEN-11", "FEN-11a", "FEN-11f")
class DrainChecksAndThenSets(_ReadsEarly):
    """Does not check and raise Drain's mark in one step."""

    async def Drain(self, request: pb.DrainRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        await self.stale(request)
        return await super().Drain(request, context)


@mutant("FEN-11", "FEN-11b")
class DeleteChecksAndThenSets(_ReadsEarly):
    """Does not check and raise Delete's mark in one step."""

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        await self.stale(request)
        return await super().Delete(request, context)


class _AllReadEarly(_ReadsEarly):
    async def Create(self, request: Any, context: Context) -> pb.TransitionAck:  # noqa: N802
        await self.stale(request, Verb.CREATE)
        return await super().Create(request, context)

    async def Configure(self, request: Any, context: Context) -> pb.TransitionAck:  # noqa: N802
        await self.stale(request, Verb.CONFIGURE)
        return await super().Configure(request, context)

    async def Drain(self, request: Any, context: Context) -> pb.TransitionAck:  # noqa: N802
        await self.stale(request, Verb.DRAIN)
        return await super().Drain(request, context)


@mutant("FEN-11", "FEN-11d")
class FirstContactIsARace(_AllReadEarly):
    """Does not check and set a new shard's mark in one step; known shards are locked."""

    async def stale(self, request: Fenced, verb: Verb = Verb.CREATE) -> None:
        if self.core.mark_key(verb, request.machine_id, self.token(request)) not in self.core.inventory.marks:
            await super().stale(request, verb)


@mutant("FEN-11", "FEN-11e")
class EachRpcHasALockOfItsOwn(_AllReadEarly):
    """Checks and raises the mark under a separate lock for each RPC."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.checked: set[tuple[Verb, MarkKey, Token]] = set()

    async def stale(self, request: Fenced, verb: Verb = Verb.CREATE) -> None:
        token = self.token(request)
        entry = (verb, self.core.mark_key(verb, request.machine_id, token), token)
        if entry not in self.checked:
            self.checked.add(entry)
            await super().stale(request, verb)


@mutant("FEN-11", "FEN-11c")
class EachConnectionHasALockOfItsOwn(_AllReadEarly):
    """Checks and raises the mark under a separate lock for each connection."""

    async def Create(self, request: Any, context: Context) -> pb.TransitionAck:  # noqa: N802
        seen: set[tuple[str, Token]] = self.__dict__.setdefault("seen", set())
        first = (context.peer(), self.token(request)) not in seen
        seen.add((context.peer(), self.token(request)))
        if first:
            await self.stale(request)
        return await Servicer.Create(self, request, context)


@mutant("FEN-11", "FEN-11g")
class MarkIsSetLate(Servicer):
    """Sets the mark to a Create's token again a moment after the answer."""

    async def Create(self, request: pb.CreateRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        answer = await super().Create(request, context)
        token = self.token(request)
        await asyncio.sleep(0.005 if token.sequence % 2 else 0.02)
        self.core.inventory.marks[self.core.mark_key(Verb.CREATE, request.machine_id, token)] = token
        return answer


@mutant("FEN-11", "FEN-11h", alone="only a behaviour that calls again at once finds it, which is random")
class MarkIsRememberedForAMoment(Core):
    """Compares with a copy of the mark that is up to a hundredth of a second old."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        copies: dict[str, tuple[float, Token]] = self.__dict__.setdefault("copies", {})
        at, copy = copies.get(token.shard, (-1.0, mark))
        if self.time - at > 0.01:
            at, copy = copies[token.shard] = (self.time, mark)
        return newer(token, copy)

    def advance(self, now: float) -> None:
        self.time = now
        super().advance(now)


@mutant("FEN-11", "FEN-11a", "FEN-11b", "FEN-11d")
class WhoeverMeetsAnotherIsFenced(Servicer):
    """Fences all concurrent Creates of a shard, because one of them may come from a zombie."""

    async def Create(self, request: pb.CreateRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        here: dict[str, int] = self.__dict__.setdefault("here", {})
        here[request.shard_id] = mine = here.get(request.shard_id, 0) + 1
        await asyncio.sleep(0.01)
        if here[request.shard_id] != mine or mine > 1:
            await context.abort(self.status(Code.FAILED_PRECONDITION), "too many of you")
        del here[request.shard_id]
        return await super().Create(request, context)
