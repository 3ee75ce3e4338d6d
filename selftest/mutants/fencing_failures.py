"""Providers whose mark depends on the result of the call (FEN-6)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.fence import Token
    from fake_provider.machine import Verb
    from fake_provider.request import Ack, Request
    from fake_provider.store import MarkKey


class _TakesItBack(Core):
    """Restores the old mark if the call did not reach what a subclass requires."""

    codes: tuple[Code, ...] = ()

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        key = self.mark_key(verb, request.machine_id, request.token)
        before = self.inventory.marks.get(key, replace(request.token, epoch=-1, sequence=-1))
        try:
            return super().serve(verb, request, now)
        except Rejected as rejected:
            if rejected.code in self.codes:
                self.inventory.mark(key, before)
            raise


@mutant(
    "FEN-6",
    "FEN-6a",
    "FEN-6c",
    "FEN-6d",
    also=("FEN-7d",),
    because="its mark for Configure is set by a refused Create",
)
class FailureTakesTheMarkBack(_TakesItBack):
    """Restores the old mark if the call is refused."""

    codes = (Code.NOT_FOUND, Code.ABORTED, Code.ALREADY_EXISTS, Code.INVALID_ARGUMENT)


@mutant(
    "FEN-6",
    "FEN-6c",
    "FEN-6d",
    also=("FEN-2a",),
    because="a shard's first call sets no mark either if it has no edge",
)
class NoEdgeMovesNoMark(_TakesItBack):
    """Does not raise the mark for a call that has no edge."""

    codes = (Code.ABORTED, Code.ALREADY_EXISTS)


@mutant("FEN-6", "FEN-6b", "FEN-6c")
class RetryMovesNoMark(Core):
    """Does not raise the mark for a retry."""

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        if verb is not self.retrying:
            super().raise_mark(verb, key, token)

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        machine = self.machines.get(request.machine_id)
        self.retrying = verb if machine and self.retry_of(verb, machine, request) else None
        return super().serve(verb, request, now)
