"""Providers that compare tokens wrongly, or keep marks wrongly, only where a call starts a transition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.fence import Token, newer
from fake_provider.machine import EDGES, Verb
from fake_provider.request import Configure
from selftest.mutant import mutant
from selftest.mutants.fencing_numbers import _as, _float, _int32, _saturated, _uint32

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_provider.machine import Machine
    from fake_provider.request import Ack, Request
    from fake_provider.store import MarkKey


class _OnEdges(Core):
    """Compares the tokens of calls that start a transition in a statement of its own."""

    on: tuple[Verb, ...] = tuple(Verb)
    starts = False

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        machine = self.machines.get(machine_id)
        self.starts = machine is not None and machine.state is EDGES[verb].source and verb in self.on
        super().fence(verb, machine_id, token)

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return self.compare(token, mark) if self.starts else newer(token, mark)

    def compare(self, token: Token, mark: Token) -> bool:
        raise NotImplementedError


class _Cast(_OnEdges):
    cast: Callable[[int], int]

    def compare(self, token: Token, mark: Token) -> bool:
        return newer(_as(token, self.cast, self.cast), _as(mark, self.cast, self.cast))


@mutant("FEN-10", "FEN-10b")
class EdgesHaveInt32(_Cast):
    """Casts both numbers to int32 in the update that starts a transition."""

    cast = staticmethod(_int32)


@mutant("FEN-10", "FEN-10b", whole=True)
class EdgesHaveFloats(_Cast):
    """Converts both numbers to doubles in the update that starts a transition."""

    cast = staticmethod(_float)


@mutant("FEN-10", "FEN-10b")
class EdgesSaturate(_Cast):
    """Limits both numbers to int32 in the update that starts a transition."""

    cast = staticmethod(_saturated)


@mutant("FEN-10", "FEN-10b", whole=True)
class ConfigureEdgesHaveUint32(_Cast):
    """Casts both numbers to uint32 when it binds a machine."""

    cast = staticmethod(_uint32)
    on = (Verb.CONFIGURE,)


@mutant("FEN-10", "FEN-10b", whole=True)
class DrainEdgesHaveFloats(_Cast):
    """Converts both numbers to doubles when it drains a bound machine."""

    cast = staticmethod(_float)
    on = (Verb.DRAIN,)


@mutant("FEN-10", "FEN-10b")
class DeleteEdgesHaveInt32(_Cast):
    """Casts both numbers to int32 when it deletes an IDLE machine."""

    cast = staticmethod(_int32)
    on = (Verb.DELETE,)


@mutant("FEN-10", "FEN-10a", whole=True)
class EdgesCompareText(_OnEdges):
    """Compares the numbers as text in the update that starts a transition."""

    def compare(self, token: Token, mark: Token) -> bool:
        return (str(token.epoch), str(token.sequence)) > (str(mark.epoch), str(mark.sequence))


@mutant("FEN-3", "FEN-3b", whole=True)
class EdgesNeedANewerSequence(_OnEdges):
    """Starts a transition only with a newer sequence number, even in a newer epoch."""

    def compare(self, token: Token, mark: Token) -> bool:
        return newer(token, mark) and token.sequence > mark.sequence


@mutant("FEN-10", "FEN-10e", also=("FEN-3b",), because="an epoch is newer than any sequence number", whole=True)
class EdgesPackNumbers(_OnEdges):
    """Packs both numbers into one, with 32 bits for the sequence, in the update that starts a transition."""

    def compare(self, token: Token, mark: Token) -> bool:
        return (token.epoch << 32) + token.sequence > (mark.epoch << 32) + mark.sequence


@mutant("FEN-3", "FEN-3b", whole=True)
class EdgesIgnoreTheEpoch(_OnEdges):
    """Drains a bound machine only with a newer sequence number, whatever the epoch."""

    on = (Verb.DRAIN,)

    def compare(self, token: Token, mark: Token) -> bool:
        return token.sequence > mark.sequence


@mutant("FEN-7", "FEN-7c")
class TheMarkMovesWhenTheTransitionEnds(_OnEdges):
    """Writes the mark of a call that starts a transition only once that has ended."""

    def compare(self, token: Token, mark: Token) -> bool:
        return newer(token, mark)

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        if self.starts and verb in (Verb.CONFIGURE, Verb.DRAIN):
            waiting: dict[MarkKey, Token] = self.__dict__.setdefault("waiting", {})
            waiting[key] = token
        else:
            super().raise_mark(verb, key, token)

    def complete(self, machine: Machine, operation_id: str) -> None:
        waiting: dict[MarkKey, Token] = self.__dict__.setdefault("waiting", {})
        for key in [key for key in waiting if key[1] == machine.id]:
            mark = self.inventory.marks.get(key)
            token = waiting.pop(key)
            if mark is None or newer(token, mark):
                self.inventory.mark(key, token)
        super().complete(machine, operation_id)


@mutant("FEN-7", "FEN-7c")
class TheMarkEndsWithTheTransition(_OnEdges):
    """Keeps the mark of a call that starts a transition with the task, which is deleted at the end."""

    def compare(self, token: Token, mark: Token) -> bool:
        return newer(token, mark)

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        if self.starts and verb in (Verb.CONFIGURE, Verb.DRAIN):
            earlier: dict[MarkKey, tuple[Token, Token | None]] = self.__dict__.setdefault("earlier", {})
            earlier[key] = token, self.inventory.marks.get(key)
        super().raise_mark(verb, key, token)

    def complete(self, machine: Machine, operation_id: str) -> None:
        earlier: dict[MarkKey, tuple[Token, Token | None]] = self.__dict__.setdefault("earlier", {})
        for key in [key for key in earlier if key[1] == machine.id]:
            token, before = earlier.pop(key)
            if self.inventory.marks.get(key) == token:
                self.inventory.mark(key, before or Token(shard=key[0], epoch=-1, sequence=-1))
        super().complete(machine, operation_id)


@mutant("FEN-4", "FEN-4c", whole=True)
class AFencedCallInFlightIsToldTheOperation(Core):
    """Names the running operation to a fenced caller, so that people find it in the log."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        try:
            super().fence(verb, machine_id, token)
        except Rejected as rejected:
            machine = self.machines.get(machine_id)
            if machine is None or machine.operation is None or not machine.moving:
                raise
            raise Rejected(rejected.code, f"{machine.operation.id} is running") from None


@mutant("LIF-4", "LIF-4b")
class ReadsOfADeletingMachineAreFenced(Core):
    """Refuses a Get of a machine that is DELETING with FAILED_PRECONDITION."""

    def shown_in_get(self, machine: Machine) -> Machine:
        if machine.state is EDGES[Verb.DELETE].via:
            raise Rejected(Code.FAILED_PRECONDITION, "the machine is being deleted")
        return super().shown_in_get(machine)


@mutant("FEN-12", "FEN-12b")
class AFirstDeleteLeavesNoMark(Core):
    """Forgets the mark of a shard whose first call was the Delete, as soon as the machine is deleted."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        first: dict[str, MarkKey] = self.__dict__.setdefault("first", {})
        key = self.mark_key(verb, machine_id, token)
        if verb is Verb.DELETE and key not in self.inventory.marks and token.shard:
            first[machine_id] = key
        super().fence(verb, machine_id, token)

    def cleared_by_delete(self, machine: Machine) -> Machine:
        first: dict[str, MarkKey] = self.__dict__.setdefault("first", {})
        if machine.id in first:
            key = first.pop(machine.id)
            self.inventory.mark(key, Token(shard=key[0], epoch=-1))
        return super().cleared_by_delete(machine)


class _NoMark(Core):
    """Does not move the mark for some calls that start nothing."""

    def serve_as(self, verb: Verb, machine: Machine, request: Request) -> bool:
        raise NotImplementedError

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        key = self.mark_key(verb, request.machine_id, request.token)
        before, machine = self.inventory.marks.get(key), self.machines.get(request.machine_id)
        forgets = machine is not None and self.serve_as(verb, machine, request)
        try:
            return super().serve(verb, request, now)
        finally:
            if forgets and self.inventory.marks.get(key) is not before:
                self.inventory.mark(key, before or Token(shard=key[0], epoch=-1))


@mutant("FEN-6", "FEN-6f")
class RetriesInFlightMoveNoMark(_NoMark):
    """Answers a repeated call from the running operation, before the mark is written."""

    def serve_as(self, verb: Verb, machine: Machine, request: Request) -> bool:
        return machine.state is EDGES[verb].via and verb is not Verb.DELETE


@mutant("FEN-6", "FEN-6f")
class RefusalsInFlightMoveNoMark(_NoMark):
    """Refuses a call that has no edge while a transition runs, and rolls back its transaction."""

    def serve_as(self, verb: Verb, machine: Machine, request: Request) -> bool:
        return machine.moving and machine.state is not EDGES[verb].via


@mutant("FEN-6", "FEN-6f", latency="200ms")
class CallsWhileCreatingMoveNoMark(_NoMark):
    """Keeps marks in the record of the host, which a CREATING machine does not have yet."""

    def serve_as(self, verb: Verb, machine: Machine, request: Request) -> bool:
        return machine.state is EDGES[Verb.CREATE].via


@mutant("FEN-6", "FEN-6g")
class CallsWhileDeletingMoveNoMark(_NoMark):
    """Writes no mark to the record of a machine that is DELETING."""

    def serve_as(self, verb: Verb, machine: Machine, request: Request) -> bool:
        return machine.state is EDGES[Verb.DELETE].via


@mutant("FEN-6", "FEN-6c")
class RefusalsForAnotherClusterMoveNoMark(_NoMark):
    """Rolls back the mark of a Configure for another cluster than the machine is bound to."""

    def serve_as(self, verb: Verb, machine: Machine, request: Request) -> bool:
        return isinstance(request, Configure) and machine.cluster not in ("", request.cluster)


@mutant("FEN-10", "FEN-10b", "FEN-10c", "FEN-10d")
class TheLargestSequenceStartsAgain(Core):
    """Takes a token for newer than the largest sequence number of its epoch, as if a counter had wrapped."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        wrapped = token.epoch == mark.epoch and mark.sequence == 2**63 - 1 and token.sequence < 2**31
        return newer(token, mark) or wrapped
