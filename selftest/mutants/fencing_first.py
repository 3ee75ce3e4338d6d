"""Providers that check the fence too late or act on calls that it refuses (FEN-4 and FEN-5)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import State, Verb
from fake_provider.request import Configure
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.fence import Token
    from fake_provider.machine import Machine
    from fake_provider.request import Ack, Request

# FEN-4: the order of checks, and what a refusal reveals.


@mutant("FEN-4", "FEN-4a", "FEN-6a")
class ExistenceBeforeFence(Core):
    """Looks the machine up before it checks the fence."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        if request.machine_id:
            self.find(request.machine_id)
        return super().serve(verb, request, now)


@mutant("FEN-4", "FEN-4a", "FEN-6a")
class ExistenceBeforeFenceOnDelete(Core):
    """Looks the machine up before it checks the fence on Delete."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        if request.machine_id and verb is Verb.DELETE:
            self.find(request.machine_id)
        return super().serve(verb, request, now)


class _RetryFirst(Core):
    on: tuple[Verb, ...] = tuple(Verb)

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        machine = self.machines.get(request.machine_id)
        known = machine and verb in self.on and self.retry_of(verb, machine, request)
        return self.ack(verb, known, machine) if machine and known else super().serve(verb, request, now)


@mutant("FEN-4", "FEN-4b")
class RetryBeforeFence(_RetryFirst):
    """Answers a retry before it checks the fence."""


@mutant("FEN-4", "FEN-4b")
class ConfigureRetryBeforeFence(_RetryFirst):
    """Answers a retry of Configure before it checks the fence."""

    on = (Verb.CONFIGURE,)


@mutant("FEN-4", "FEN-4b")
class DrainRetryBeforeFence(_RetryFirst):
    """Answers a retry of Drain before it checks the fence."""

    on = (Verb.DRAIN,)


@mutant("FEN-4", "FEN-4b")
class FencedCallAnswersItsRetry(Core):
    """Checks the fence, but answers a fenced retry OK."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        try:
            return super().serve(verb, request, now)
        except Rejected as rejected:
            machine = self.machines.get(request.machine_id)
            known = self.retry_of(verb, machine, request) if machine else None
            if rejected.code is not Code.FAILED_PRECONDITION or not machine or not known:
                raise
            return self.ack(verb, known, machine)


@mutant("FEN-4", "FEN-4b")
class StateBeforeFence(Core):
    """Checks the state before the fence, so that a stale call without an edge gets another code."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        machine = self.machines.get(request.machine_id)
        if machine and self.retry_of(verb, machine, request) is None:
            self.check_edge(verb, machine, request)
        return super().serve(verb, request, now)


@mutant("FEN-4", "FEN-4a", "FEN-4b", "FEN-1a")
class FencedIsAborted(Core):
    """Answers a fenced call with ABORTED, which the gRPC documentation recommends for such checks."""

    def fenced(self, verb: Verb, token: Token) -> Rejected:
        return Rejected(Code.ABORTED, "stale token")


@mutant("FEN-4", "FEN-4b", "FEN-1c")
class FencedDeleteIsPermissionDenied(Core):
    """Answers a fenced Delete with PERMISSION_DENIED."""

    def fenced(self, verb: Verb, token: Token) -> Rejected:
        code = Code.PERMISSION_DENIED if verb is Verb.DELETE else Code.FAILED_PRECONDITION
        return Rejected(code, "stale token")


class _Tells(Core):
    def tale(self, machine: Machine) -> str:
        raise NotImplementedError

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        try:
            super().fence(verb, machine_id, token)
        except Rejected as rejected:
            machine = self.machines.get(machine_id)
            tale = self.tale(machine) if machine else ""
            raise Rejected(rejected.code, f"{rejected.message}{tale}") from None


@mutant("FEN-4", "FEN-4c")
class FencedAnswerTellsTheOperation(_Tells):
    """Reveals the operation id in the refusal of a fenced call."""

    def tale(self, machine: Machine) -> str:
        return f" (last operation {machine.operation.id})" if machine.operation else ""


@mutant("FEN-4", "FEN-4c")
class FencedAnswerTellsTheCluster(_Tells):
    """Reveals the cluster in the refusal of a fenced call."""

    def tale(self, machine: Machine) -> str:
        return f": bound to {machine.cluster}" if machine.cluster else ""


@mutant("FEN-4", "FEN-4c")
class FencedAnswerTellsTheHost(_Tells):
    """Reveals the host in the refusal of a fenced call."""

    def tale(self, machine: Machine) -> str:
        return f" for host {machine.host.ref}" if machine.host else ""


# FEN-5: what a refused call changes.


class Refusal(Core):
    """Does something when the fence refuses."""

    on: tuple[Verb, ...] = tuple(Verb)

    def and_yet(self, verb: Verb, request: Request, now: float) -> None:
        raise NotImplementedError

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        try:
            return super().serve(verb, request, now)
        except Rejected as rejected:
            if rejected.code is Code.FAILED_PRECONDITION and verb in self.on and request.machine_id in self.machines:
                self.and_yet(verb, request, now)
            raise


class _MarkMoves(Refusal):
    def moved(self, token: Token, mark: Token) -> Token:
        return token

    def and_yet(self, verb: Verb, request: Request, now: float) -> None:
        key = self.mark_key(verb, request.machine_id, request.token)
        if key in self.inventory.marks:
            self.inventory.mark(key, self.moved(request.token, self.inventory.marks[key]))


@mutant("FEN-5", "FEN-5a", "FEN-5b")
class RefusalLowersTheMark(_MarkMoves):
    """Sets the mark to the token of every call, even of a fenced one."""


@mutant("FEN-5", "FEN-5b")
class RefusedDeleteLowersTheMark(_MarkMoves):
    """Sets the mark to the token of every Delete, even of a fenced one."""

    on = (Verb.DELETE,)


@mutant("FEN-5", "FEN-5b")
class RefusedConfigureLowersTheMark(_MarkMoves):
    """Sets the mark to the token of every Configure, even of a fenced one."""

    on = (Verb.CONFIGURE,)


@mutant("FEN-5", "FEN-5a")
class RefusedDrainLowersTheMark(_MarkMoves):
    """Sets the mark to the token of every Drain, even of a fenced one."""

    on = (Verb.DRAIN,)


@mutant("FEN-5", "FEN-5a", "FEN-5b")
class RefusalRaisesTheSequence(_MarkMoves):
    """Raises the mark's sequence number to that of a fenced token, whatever its epoch."""

    def moved(self, token: Token, mark: Token) -> Token:
        return replace(mark, sequence=max(token.sequence, mark.sequence))


@mutant("FEN-5", "FEN-5a", "FEN-5b")
class RefusalCountsAsACall(_MarkMoves):
    """Raises the mark's sequence number by one for each fenced call."""

    def moved(self, token: Token, mark: Token) -> Token:
        return replace(mark, sequence=mark.sequence + 1)


@mutant(
    "FEN-5",
    "FEN-5a",
    "FEN-5b",
    "FEN-4c",
    "FEN-7a",
    "FEN-8b",
    "FEN-9a",
    "FEN-9b",
    "FEN-9c",
    "FEN-9d",
    "FEN-9e",
    "FEN-9f",
    "FEN-12a",
    "FEN-12b",
    "FEN-12d",
    "FEN-12e",
)
class StaleShardsAreLockedOut(Core):
    """Fences a shard for good after one stale token."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        try:
            super().fence(verb, machine_id, token)
        except Rejected as rejected:
            if rejected.code is Code.FAILED_PRECONDITION:
                last = replace(token, epoch=2**63 - 1, sequence=2**63 - 1)
                self.inventory.mark(self.mark_key(verb, machine_id, token), last)
            raise


class _StartsAllTheSame(Refusal):
    def and_yet(self, verb: Verb, request: Request, now: float) -> None:
        machine = self.machines[request.machine_id]
        with suppress(Rejected):  # without an edge there is nothing to queue
            if self.retry_of(verb, machine, request) is None:
                self.check_edge(verb, machine, request)
                self.start(verb, machine, request, now)


@mutant("FEN-5", "FEN-5e")
class FencedCreateStarts(_StartsAllTheSame):
    """Starts a Create that it fences."""

    on = (Verb.CREATE,)


@mutant("FEN-5", "FEN-5e")
class FencedCreateStartsLater(Refusal):
    """Starts a Create that it fences, a moment later."""

    on = (Verb.CREATE,)

    def and_yet(self, verb: Verb, request: Request, now: float) -> None:
        if self.machines[request.machine_id].state is State.SPECULATIVE:
            self.__dict__.setdefault("queue", []).append((now + 0.05, request))

    def advance(self, now: float) -> None:
        queue: list[tuple[float, Request]] = self.__dict__.get("queue", [])
        while queue and queue[0][0] <= now:
            _, request = queue.pop(0)
            machine = self.machines[request.machine_id]
            if machine.state is State.SPECULATIVE:
                self.start(Verb.CREATE, machine, request, now)
        super().advance(now)


@mutant("FEN-5", "FEN-5c", "FEN-5e")
class FencedConfigureStarts(_StartsAllTheSame):
    """Starts a Configure that it fences."""

    on = (Verb.CONFIGURE,)


@mutant("FEN-5", "FEN-5d")
class FencedDrainStarts(_StartsAllTheSame):
    """Starts a Drain that it fences."""

    on = (Verb.DRAIN,)


@mutant("FEN-5", "FEN-5c", "FEN-5e")
class FencedDeleteStarts(_StartsAllTheSame):
    """Starts a Delete that it fences."""

    on = (Verb.DELETE,)


@mutant("FEN-5", "FEN-5d")
class FencedConfigureRewritesMetadata(Refusal):
    """Stores the metadata of a Configure that it fences."""

    def and_yet(self, verb: Verb, request: Request, now: float) -> None:
        machine = self.machines[request.machine_id]
        if isinstance(request, Configure) and machine.state is State.CONFIGURED:
            self.put(replace(machine, shard_metadata=dict(request.metadata)))


@mutant("FEN-5", "FEN-5f", latency="300ms")
class FencedConfigureRebindsInFlight(Refusal):
    """Stores the binding of a Configure that it fences while another Configure runs."""

    def and_yet(self, verb: Verb, request: Request, now: float) -> None:
        machine = self.machines[request.machine_id]
        if isinstance(request, Configure) and machine.state is State.CONFIGURING:
            self.put(self.bound(machine, request))


@mutant("FEN-5", "FEN-5f", latency="300ms")
class FencedDrainCancelsTheTransition(Refusal):
    """Cancels the running transition on a Drain that it fences."""

    def and_yet(self, verb: Verb, request: Request, now: float) -> None:
        machine = self.machines[request.machine_id]
        if verb is Verb.DRAIN and machine.state is State.CONFIGURING:
            self.put(replace(self.cleared_by_drain(machine), state=State.IDLE))


@mutant(
    "FEN-5",
    "FEN-5f",
    "FEN-1d",
    also=("FEN-7c",),
    because="it sends a stale call to a machine in transition",
    latency="300ms",
)
class WhoeverDisturbsIsBanned(Refusal):
    """Fences a shard for good after a stale call for a machine in transition."""

    def and_yet(self, verb: Verb, request: Request, now: float) -> None:
        if self.machines[request.machine_id].moving:
            last = replace(request.token, epoch=2**63 - 1, sequence=2**63 - 1)
            self.raise_mark(verb, self.mark_key(verb, request.machine_id, last), last)
