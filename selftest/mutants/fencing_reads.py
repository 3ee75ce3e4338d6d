"""Providers that fence reads (FEN-8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fake_provider.errors import Code, Rejected
from selftest.mutant import mutant
from selftest.mutants.fencing_first import Refusal

if TYPE_CHECKING:
    from fake_provider.fence import Token
    from fake_provider.machine import Machine, Verb
    from fake_provider.request import Filter, Listing, Request


class _BlindsTheFenced(Refusal):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.blind: set[str] = set()

    def and_yet(self, verb: Verb, request: Request, now: float) -> None:
        self.blind.add(request.machine_id)

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        super().fence(verb, machine_id, token)
        self.blind.discard(machine_id)


@mutant("FEN-8", "FEN-8a")
class GetIsFencedWithTheMachine(_BlindsTheFenced):
    """Refuses a Get of a machine after a fenced call, until a call for it is accepted."""

    def get(self, machine_id: str, now: float) -> Machine:
        if machine_id in self.blind:
            raise Rejected(Code.FAILED_PRECONDITION, "this machine is fenced")
        return super().get(machine_id, now)


@mutant("FEN-8", "FEN-8a", "FEN-8b")
class ListIsFencedToo(_BlindsTheFenced):
    """Refuses a List after a fenced call, until a call for the same machine is accepted."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        if self.blind:
            raise Rejected(Code.FAILED_PRECONDITION, "fenced")
        return super().list_machines(wanted, now)
