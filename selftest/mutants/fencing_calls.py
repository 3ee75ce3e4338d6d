"""Providers whose fence depends on the RPC, the time, the client or the number of calls (FEN-1 to FEN-12)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bigfleet.v1alpha1 import provider_pb2 as pb

from fake_provider.core import Core
from fake_provider.fence import Token, newer
from fake_provider.machine import Machine, State, Verb
from fake_provider.servicer import Context, Servicer, T
from selftest.mutant import mutant
from selftest.mutants.fencing_first import Refusal
from selftest.mutants.wire_hangup import HELD

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_provider.request import Request
    from fake_provider.store import MarkKey


@mutant("FEN-5", "FEN-5a")
class TwentyRefusalsAreEnough(Core):
    """Accepts a stale token after it has refused the shard twenty times in a row."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        refused: dict[str, int] = self.__dict__.setdefault("refused", {})
        refused[token.shard] = 0 if newer(token, mark) else refused.get(token.shard, 0) + 1
        return newer(token, mark) or refused[token.shard] > 20


@mutant("FEN-5", "FEN-5d")
class FencedCallsRenameTheOperation(Refusal):
    """Replaces the machine's last operation before it refuses a fenced call."""

    def and_yet(self, verb: Verb, request: Request, now: float) -> None:
        machine = self.machines[request.machine_id]
        if machine.operation and not machine.moving:
            self.inventory.put(replace(machine, operation=replace(machine.operation, id=f"{machine.operation.id}-")))


class _RenamesOn(Core):
    verb = Verb.DRAIN

    def rename(self, shard: str) -> str:
        raise NotImplementedError

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        shard, machine = super().mark_key(verb, machine_id, token)
        return self.rename(shard) if verb is self.verb else shard, machine


@mutant("FEN-9", "FEN-9c")
class DrainKnowsShardsInLowerCase(_RenamesOn):
    """Compares shard ids in lower case on Drain."""

    def rename(self, shard: str) -> str:
        return shard.lower()


@mutant("FEN-9", "FEN-9f")
class ConfigureTrimsShards(_RenamesOn):
    """Trims shard ids on Configure."""

    verb = Verb.CONFIGURE

    def rename(self, shard: str) -> str:
        return shard.strip()


@mutant("FEN-9", "FEN-9d")
class DrainCutsShards(_RenamesOn):
    """Cuts shard ids at 255 characters on Drain."""

    def rename(self, shard: str) -> str:
        return shard[:255]


@mutant("FEN-12", "FEN-12b", latency="300ms")
class NotFencedWhileItGoes(Core):
    """Does not fence calls for a DELETING machine."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        machine = self.machines.get(machine_id)
        if not (machine and machine.state is State.DELETING):
            super().fence(verb, machine_id, token)


class _MarksAtTheEnd(Core):
    """Not a mutant: sets the mark of one verb's call when its transition has settled."""

    verb: Verb
    before: Token | None = None

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        self.before = self.inventory.marks.get(key)
        super().raise_mark(verb, key, token)

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        super().check_edge(verb, machine, request)
        if verb is self.verb:
            key = self.mark_key(verb, machine.id, request.token)
            self.__dict__.setdefault("late", {})[machine.id] = key, request.token
            self.inventory.mark(key, self.before or Token(shard=request.token.shard, epoch=-1))

    def settle(self, machine: Machine) -> Machine:
        key, token = self.__dict__.setdefault("late", {}).pop(machine.id, (None, None))
        if key and newer(token, self.inventory.marks[key]):
            self.inventory.mark(key, token)
        return super().settle(machine)


@mutant("FEN-12", "FEN-12e", latency="200ms")
class TheMarkComesWithTheHost(_MarksAtTheEnd):
    """Sets Create's mark only when the host is attached."""

    verb = Verb.CREATE


@mutant("FEN-12", "FEN-12b", latency="200ms")
class TheMarkComesWhenTheHostIsGone(_MarksAtTheEnd):
    """Sets Delete's mark only when the host is removed."""

    verb = Verb.DELETE


@mutant("FEN-6", "FEN-6e", latency="2s", tcp=True)
class TheMarkGoesWithTheClient(Servicer):
    """Restores the old mark if the client disconnects."""

    async def answer(self, context: Context, work: Callable[[], T]) -> T:
        marks = self.core.inventory.marks
        before = dict(marks)
        done: Any = await super().answer(context, work)
        raised = {key: before.get(key) for key, mark in marks.items() if before.get(key) != mark}
        if isinstance(done, pb.TransitionAck):
            try:
                await asyncio.sleep(HELD)
            except asyncio.CancelledError:
                for key, mark in raised.items():
                    self.core.inventory.mark(key, mark or Token(shard=key[0], epoch=-1))
                raise
        return done  # type: ignore[no-any-return]


@mutant(
    "FEN-6", "FEN-6e", latency="2s", tcp=True, alone="a behaviour that disconnects cannot drive its machine afterwards"
)
class WhoHangsUpIsTakenForDead(Servicer):
    """Fences a shard for good if its client disconnects."""

    async def answer(self, context: Context, work: Callable[[], T]) -> T:
        before = dict(self.core.inventory.marks)
        done: Any = await super().answer(context, work)
        if isinstance(done, pb.TransitionAck):
            try:
                await asyncio.sleep(HELD)
            except asyncio.CancelledError:
                for key, mark in list(self.core.inventory.marks.items()):
                    if before.get(key) != mark:
                        self.core.inventory.mark(key, replace(mark, epoch=2**63 - 1, sequence=2**63 - 1))
                raise
        return done  # type: ignore[no-any-return]
