"""Providers that misuse FAILED_PRECONDITION or mishandle unusual requests (contract §4, COD-3 to COD-5)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import Machine, State, Verb
from fake_provider.servicer import Servicer, T
from selftest.mutant import mutant

if TYPE_CHECKING:
    from collections.abc import Callable

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from fake_provider.fence import Token
    from fake_provider.request import Ack, Configure, Drain, Filter, Request
    from fake_provider.servicer import Context

# COD-3: FAILED_PRECONDITION is for the fence only.


class _Precondition(Core):
    """Answers FAILED_PRECONDITION for one verb's missing edge."""

    verb: Verb
    rests: State

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        if (verb, machine.state) == (self.verb, self.rests):
            return Rejected(Code.FAILED_PRECONDITION, f"cannot {verb} while {machine.state.name}")
        return super().no_edge(verb, machine)


@mutant("COD-3", "COD-3a", "COD-3b", "COD-2b", "FEN-4b")
class CreateOfBoundIsFailedPrecondition(_Precondition):
    """Answers FAILED_PRECONDITION to a Create of a CONFIGURED machine."""

    verb, rests = Verb.CREATE, State.CONFIGURED


@mutant("COD-3", "COD-3a", "COD-3b", "COD-2b")
class DeleteOfBoundIsFailedPrecondition(_Precondition):
    """Answers FAILED_PRECONDITION to a Delete of a CONFIGURED machine."""

    verb, rests = Verb.DELETE, State.CONFIGURED


@mutant("COD-3", "COD-3d", "COD-2e")
class DrainOfIdleIsFailedPrecondition(_Precondition):
    """Answers FAILED_PRECONDITION to a Drain of an IDLE machine."""

    verb, rests = Verb.DRAIN, State.IDLE


@mutant("COD-3", "COD-3a", "COD-3b")
class OtherClusterIsFailedPrecondition(_Precondition):
    """Answers FAILED_PRECONDITION to a Configure for another cluster."""

    verb, rests = Verb.CONFIGURE, State.CONFIGURED


@mutant("COD-3", "COD-3a", "COD-3d", "COD-2d")
class BusyIsFailedPrecondition(Core):
    """Answers FAILED_PRECONDITION to a call that has no edge while a transition runs."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        rejected = super().no_edge(verb, machine)
        return Rejected(Code.FAILED_PRECONDITION, rejected.message) if machine.moving else rejected


@mutant("COD-3", "COD-3d", "COD-2a")
class SlotIsFailedPrecondition(Core):
    """Answers FAILED_PRECONDITION to a call that has no edge from a state without a host."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        rejected = super().no_edge(verb, machine)
        return rejected if machine.host else Rejected(Code.FAILED_PRECONDITION, rejected.message)


@mutant("COD-3", "COD-3d", "COD-2a")
class SlotOnOfferIsFailedPrecondition(Core):
    """Answers FAILED_PRECONDITION to a call that has no edge from SPECULATIVE."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        rejected = super().no_edge(verb, machine)
        slot = machine.state is State.SPECULATIVE
        return Rejected(Code.FAILED_PRECONDITION, rejected.message) if slot else rejected


@mutant("COD-3", "COD-3a", "COD-4d")
class EmptyClusterIsFailedPrecondition(Core):
    """Answers FAILED_PRECONDITION to a Configure without a cluster_id."""

    def validate_cluster(self, request: Configure) -> None:
        if not request.cluster:
            raise Rejected(Code.FAILED_PRECONDITION, "no cluster")


@mutant("COD-1", "COD-1a", "COD-3b")
class UnknownIsFailedPrecondition(Core):
    """Answers FAILED_PRECONDITION for an unknown id."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        if request.machine_id not in self.machines:
            self.fence(verb, request.machine_id, request.token)
            raise Rejected(Code.FAILED_PRECONDITION, "no machine")
        return super().serve(verb, request, now)


@mutant("COD-3", "COD-3b")
class LongMetadataIsFailedPrecondition(Core):
    """Answers FAILED_PRECONDITION for metadata keys that are empty or not ASCII, which labels must not be."""

    def validate_metadata(self, request: Configure) -> None:
        if not all(key and key.isascii() for key in request.metadata):
            raise Rejected(Code.FAILED_PRECONDITION, "not a label")


@mutant("COD-3", "COD-3c")
class GetOfUnknownIsFailedPrecondition(Core):
    """Answers FAILED_PRECONDITION to a Get of an unknown id."""

    def get(self, machine_id: str, now: float) -> Machine:
        if machine_id not in self.machines:
            raise Rejected(Code.FAILED_PRECONDITION, "no machine")
        return super().get(machine_id, now)


@mutant("COD-3", "COD-3c")
class StaleCursorIsFailedPrecondition(Core):
    """Answers FAILED_PRECONDITION for an unknown revision."""

    def since(self, cursor: bytes) -> int:
        if cursor and self.decode_cursor(cursor) is None:
            raise Rejected(Code.FAILED_PRECONDITION, "cursor expired")
        return super().since(cursor)


@mutant("COD-3", "COD-3c")
class OddCapIsFailedPrecondition(Core):
    """Answers FAILED_PRECONDITION for a negative cap."""

    def validate_filter(self, wanted: Filter) -> None:
        if wanted.max_results < 0:
            raise Rejected(Code.FAILED_PRECONDITION, "max_results must not be negative")


# COD-4: invalid requests.


@mutant("COD-4", "COD-4a")
class EmptyIdIsNotFound(Core):
    """Answers NOT_FOUND for an empty machine id."""

    def validate_id(self, verb: Verb | None, machine_id: str) -> None:
        pass


@mutant("COD-4", "COD-4b")
class RefusedEmptyIdsLeaveARow(Core):
    """Creates a row for an empty machine id, and does not remove it when it refuses the call."""

    def validate_id(self, verb: Verb | None, machine_id: str) -> None:
        if verb is not None and not machine_id:
            self.put(
                replace(next(iter(self.machines.values())), id="", state=State.FAILED, host=None, last_error="no id")
            )
        super().validate_id(verb, machine_id)


@mutant("COD-4", "COD-4a")
class EmptyIdOfGetIsNotFound(Core):
    """Answers NOT_FOUND to a Get of an empty id, because it validates mutating calls only."""

    def validate_id(self, verb: Verb | None, machine_id: str) -> None:
        if verb:
            super().validate_id(verb, machine_id)


@mutant("COD-3", "COD-3c", "COD-4b")
class EmptyIdIsFailedPrecondition(Core):
    """Answers FAILED_PRECONDITION for an empty machine id."""

    def validate_id(self, verb: Verb | None, machine_id: str) -> None:
        if not machine_id:
            raise Rejected(Code.FAILED_PRECONDITION, "no id")


@mutant("COD-4", "COD-4b")
class EmptyIdPicksAMachine(Core):
    """Creates some free machine when Create has no machine id."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        if verb is Verb.CREATE and not request.machine_id:
            request = replace(request, machine_id=next(iter(self.machines)))
        return super().serve(verb, request, now)


@mutant("COD-4", "COD-4c")
class EmptyClusterIsNotFound(Core):
    """Answers NOT_FOUND to a Configure without a cluster_id."""

    def validate_cluster(self, request: Configure) -> None:
        if not request.cluster:
            raise Rejected(Code.NOT_FOUND, "no such cluster")


@mutant("COD-4", "COD-4c", "COD-4d")
class EmptyClusterFailsLater(Core):
    """Accepts a Configure without a cluster_id, and fails when the node cannot join."""

    def validate_cluster(self, request: Configure) -> None:
        pass

    def settle(self, machine: Machine) -> Machine:
        lost = machine.state is State.CONFIGURING and not machine.cluster
        return self.failed(machine, "no cluster") if lost else super().settle(machine)


@mutant("COD-4", "COD-4d")
class RefusedEmptyClusterKeepsItsMetadata(Core):
    """Stores the metadata before it refuses a Configure without a cluster_id."""

    def validate_cluster(self, request: Configure) -> None:
        if not request.cluster:
            machine = self.machines[request.machine_id]
            self.put(replace(machine, shard_metadata=dict(request.metadata)))
        super().validate_cluster(request)


@mutant("COD-4", "COD-4e")
class NegativeGraceIsNone(Core):
    """Treats a negative grace period as none."""

    def validate_grace(self, request: Drain) -> None:
        pass


@mutant("COD-4", "COD-4e")
class NegativeGraceIsOutOfRange(Core):
    """Answers OUT_OF_RANGE for a negative grace period."""

    def validate_grace(self, request: Drain) -> None:
        if request.grace < 0:
            raise Rejected(Code.ABORTED, "out of range")


@mutant("COD-4", "COD-4f")
class NegativeGraceIsFailedPrecondition(Core):
    """Answers FAILED_PRECONDITION for a negative grace period."""

    def validate_grace(self, request: Drain) -> None:
        if request.grace < 0:
            raise Rejected(Code.FAILED_PRECONDITION, "negative")


@mutant("COD-4", "COD-4f")
class RefusedNegativeGraceDrains(Core):
    """Refuses a negative grace period only after the Drain has started."""

    def validate_grace(self, request: Drain) -> None:
        machine = self.machines[request.machine_id]
        if request.grace < 0 and machine.state is State.CONFIGURED:
            self.put(replace(machine, state=State.DRAINING))
        super().validate_grace(request)


@mutant("COD-4", "COD-4e")
class OnlyMinusOneIsNegative(Core):
    """Casts the grace period to 32 bits, so that the smallest 64-bit number becomes zero."""

    def validate_grace(self, request: Drain) -> None:
        if request.grace == -1:
            super().validate_grace(request)


@mutant("COD-4", "COD-4g")
class NegativeNumbersPass(Core):
    """Accepts first tokens with negative numbers."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        pass


@mutant("COD-4", "COD-4g")
class NegativeSequencesPass(Core):
    """Accepts negative sequence numbers, because it validates only the epoch."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if token.epoch < 0:
            super().validate_first_token(verb, token)


@mutant("COD-4", "COD-4g")
class NegativeNumbersOfDrainPass(Core):
    """Accepts negative token numbers on Drain, which it does not validate."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if verb is not Verb.DRAIN:
            super().validate_first_token(verb, token)


@mutant(
    "FEN-2",
    "FEN-2b",
    "COD-4g",
    alone="it rejects every shard that begins with a Configure, so other behaviours cannot run",
)
class ShardsIntroduceThemselves(Core):
    """Rejects a new shard whose first call is a Configure, because it expects a Create first."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        super().validate_first_token(verb, token)
        if verb is Verb.CONFIGURE:
            raise Rejected(Code.INVALID_ARGUMENT, "this shard is not known")


@mutant("COD-4", "COD-4h")
class NegativeNumbersAreFenced(Core):
    """Answers FAILED_PRECONDITION for negative first numbers, because a new shard's mark is (0, 0)."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if token.negative:
            raise self.fenced(verb, token)


@mutant("COD-4", "COD-4h")
class NegativeSequencesOfDrainAreFenced(Core):
    """Answers FAILED_PRECONDITION to a first Drain with a negative sequence number."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if verb is Verb.DRAIN and token.sequence < 0:
            raise self.fenced(verb, token)
        super().validate_first_token(verb, token)


# COD-5: the server keeps answering.


class _Stuck(Servicer):
    """Stops answering correctly after an unusual request."""

    stuck = False

    def odd(self, request: object) -> bool:
        raise NotImplementedError

    async def answer(self, context: Context, work: Callable[[], T]) -> T:
        if self.stuck:
            await context.abort(self.status(Code.INTERNAL), "a lock was poisoned")
        return await super().answer(context, work)

    def token(self, request: pb.CreateRequest | pb.ConfigureRequest | pb.DrainRequest | pb.DeleteRequest) -> Token:
        self.stuck = self.stuck or self.odd(request)
        return super().token(request)


@mutant("COD-5", "COD-5a")
class EmptyRequestsPoisonALock(_Stuck):
    """Keeps a lock when an assertion about an empty id fails."""

    def odd(self, request: object) -> bool:
        return not getattr(request, "machine_id", "") and not getattr(request, "shard_id", "")


@mutant("COD-5", "COD-5c")
class HugeIdsPoisonALock(_Stuck):
    """Keeps a lock when it cannot write a huge id to its log."""

    def odd(self, request: object) -> bool:
        return len(getattr(request, "machine_id", "")) > 60_000


@mutant("COD-5", "COD-5c")
class HugeClustersPoisonALock(_Stuck):
    """Leaves a transaction open when a cluster_id does not fit into its column."""

    def odd(self, request: object) -> bool:
        return len(getattr(request, "cluster_id", "")) > 60_000


@mutant("COD-5", "COD-5d")
class StrangeRequestsPoisonALock(_Stuck):
    """Crashes on a request that contains only unknown fields."""

    def odd(self, request: Any) -> bool:
        return bool(request.ByteSize()) and not request.ListFields()
