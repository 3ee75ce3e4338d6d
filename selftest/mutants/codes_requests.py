"""Providers that say FAILED_PRECONDITION where it is not the fence, or stumble over odd requests (§4, COD-3..5)."""

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

# COD-3: FAILED_PRECONDITION is the fence's.


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
    """There should be no machine before Create."""

    verb, rests = Verb.CREATE, State.CONFIGURED


@mutant("COD-3", "COD-3a", "COD-3b", "COD-2b")
class DeleteOfBoundIsFailedPrecondition(_Precondition):
    """Please drain first."""

    verb, rests = Verb.DELETE, State.CONFIGURED


@mutant("COD-3", "COD-3d", "COD-2e")
class DrainOfIdleIsFailedPrecondition(_Precondition):
    """There should be a binding before Drain."""

    verb, rests = Verb.DRAIN, State.IDLE


@mutant("COD-3", "COD-3a", "COD-3b")
class OtherClusterIsFailedPrecondition(_Precondition):
    """Please drain before you bind to another cluster."""

    verb, rests = Verb.CONFIGURE, State.CONFIGURED


@mutant("COD-3", "COD-3a", "COD-3d", "COD-2d")
class BusyIsFailedPrecondition(Core):
    """A machine that is on its way is not ready for another call."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        rejected = super().no_edge(verb, machine)
        return Rejected(Code.FAILED_PRECONDITION, rejected.message) if machine.moving else rejected


@mutant("COD-3", "COD-3d", "COD-2a")
class SlotIsFailedPrecondition(Core):
    """There should be a host first."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        rejected = super().no_edge(verb, machine)
        return rejected if machine.host else Rejected(Code.FAILED_PRECONDITION, rejected.message)


@mutant("COD-3", "COD-3d", "COD-2a")
class SlotOnOfferIsFailedPrecondition(Core):
    """A slot is nothing yet that a call could be made for; what comes of it is refused as it should be."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        rejected = super().no_edge(verb, machine)
        slot = machine.state is State.SPECULATIVE
        return Rejected(Code.FAILED_PRECONDITION, rejected.message) if slot else rejected


@mutant("COD-3", "COD-3a", "COD-4d")
class EmptyClusterIsFailedPrecondition(Core):
    """There should be a cluster first."""

    def validate_cluster(self, request: Configure) -> None:
        if not request.cluster:
            raise Rejected(Code.FAILED_PRECONDITION, "no cluster")


@mutant("COD-1", "COD-1a", "COD-3b")
class UnknownIsFailedPrecondition(Core):
    """There should be a machine first."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        if request.machine_id not in self.machines:
            self.fence(verb, request.machine_id, request.token)
            raise Rejected(Code.FAILED_PRECONDITION, "no machine")
        return super().serve(verb, request, now)


@mutant("COD-3", "COD-3b")
class LongMetadataIsFailedPrecondition(Core):
    """Metadata has to be like labels."""

    def validate_metadata(self, request: Configure) -> None:
        if not all(key and key.isascii() for key in request.metadata):
            raise Rejected(Code.FAILED_PRECONDITION, "not a label")


@mutant("COD-3", "COD-3c")
class GetOfUnknownIsFailedPrecondition(Core):
    """What is not there is not ready to be read."""

    def get(self, machine_id: str, now: float) -> Machine:
        if machine_id not in self.machines:
            raise Rejected(Code.FAILED_PRECONDITION, "no machine")
        return super().get(machine_id, now)


@mutant("COD-3", "COD-3c")
class StaleCursorIsFailedPrecondition(Core):
    """A cursor that is not known has expired."""

    def since(self, cursor: bytes) -> int:
        if cursor and self.decode_cursor(cursor) is None:
            raise Rejected(Code.FAILED_PRECONDITION, "cursor expired")
        return super().since(cursor)


@mutant("COD-3", "COD-3c")
class OddCapIsFailedPrecondition(Core):
    """A cap has to be one."""

    def validate_filter(self, wanted: Filter) -> None:
        if wanted.max_results < 0:
            raise Rejected(Code.FAILED_PRECONDITION, "max_results must not be negative")


# COD-4: what is wrong by itself.


@mutant("COD-4", "COD-4a")
class EmptyIdIsNotFound(Core):
    """The empty id is one more that does not exist."""

    def validate_id(self, verb: Verb | None, machine_id: str) -> None:
        pass


@mutant("COD-4", "COD-4b")
class RefusedEmptyIdsLeaveARow(Core):
    """The row is made before the request is looked at, and the refusal forgets to take it back."""

    def validate_id(self, verb: Verb | None, machine_id: str) -> None:
        if verb is not None and not machine_id:
            self.put(
                replace(next(iter(self.machines.values())), id="", state=State.FAILED, host=None, last_error="no id")
            )
        super().validate_id(verb, machine_id)


@mutant("COD-4", "COD-4a")
class EmptyIdOfGetIsNotFound(Core):
    """Only the mutating calls are validated."""

    def validate_id(self, verb: Verb | None, machine_id: str) -> None:
        if verb:
            super().validate_id(verb, machine_id)


@mutant("COD-3", "COD-3c", "COD-4b")
class EmptyIdIsFailedPrecondition(Core):
    """An id has to be there first."""

    def validate_id(self, verb: Verb | None, machine_id: str) -> None:
        if not machine_id:
            raise Rejected(Code.FAILED_PRECONDITION, "no id")


@mutant("COD-4", "COD-4b")
class EmptyIdPicksAMachine(Core):
    """Create without an id takes whichever slot is free."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        if verb is Verb.CREATE and not request.machine_id:
            request = replace(request, machine_id=next(iter(self.machines)))
        return super().serve(verb, request, now)


@mutant("COD-4", "COD-4c")
class EmptyClusterIsNotFound(Core):
    """The empty cluster is one more that does not exist."""

    def validate_cluster(self, request: Configure) -> None:
        if not request.cluster:
            raise Rejected(Code.NOT_FOUND, "no such cluster")


@mutant("COD-4", "COD-4c", "COD-4d")
class EmptyClusterFailsLater(Core):
    """Takes a Configure without a cluster, and fails when the node cannot join."""

    def validate_cluster(self, request: Configure) -> None:
        pass

    def settle(self, machine: Machine) -> Machine:
        lost = machine.state is State.CONFIGURING and not machine.cluster
        return self.failed(machine, "no cluster") if lost else super().settle(machine)


@mutant("COD-4", "COD-4d")
class RefusedEmptyClusterKeepsItsMetadata(Core):
    """Writes the metadata, and then sees that there is no cluster."""

    def validate_cluster(self, request: Configure) -> None:
        if not request.cluster:
            machine = self.machines[request.machine_id]
            self.put(replace(machine, shard_metadata=dict(request.metadata)))
        super().validate_cluster(request)


@mutant("COD-4", "COD-4e")
class NegativeGraceIsNone(Core):
    """Takes less than no time for no time."""

    def validate_grace(self, request: Drain) -> None:
        pass


@mutant("COD-4", "COD-4e")
class NegativeGraceIsOutOfRange(Core):
    """Has a code of its own for numbers."""

    def validate_grace(self, request: Drain) -> None:
        if request.grace < 0:
            raise Rejected(Code.ABORTED, "out of range")


@mutant("COD-4", "COD-4f")
class NegativeGraceIsFailedPrecondition(Core):
    """A grace period has to be one."""

    def validate_grace(self, request: Drain) -> None:
        if request.grace < 0:
            raise Rejected(Code.FAILED_PRECONDITION, "negative")


@mutant("COD-4", "COD-4f")
class RefusedNegativeGraceDrains(Core):
    """The deadline is worked out when the drain is under way, and that is when it fails."""

    def validate_grace(self, request: Drain) -> None:
        machine = self.machines[request.machine_id]
        if request.grace < 0 and machine.state is State.CONFIGURED:
            self.put(replace(machine, state=State.DRAINING))
        super().validate_grace(request)


@mutant("COD-4", "COD-4e")
class OnlyMinusOneIsNegative(Core):
    """Casts to 32 bits, and the smallest 64-bit number is a zero there."""

    def validate_grace(self, request: Drain) -> None:
        if request.grace == -1:
            super().validate_grace(request)


@mutant("COD-4", "COD-4g")
class NegativeNumbersPass(Core):
    """Compares tokens, and never looks at one by itself."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        pass


@mutant("COD-4", "COD-4g")
class NegativeSequencesPass(Core):
    """Looks at the epoch only."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if token.epoch < 0:
            super().validate_first_token(verb, token)


@mutant("COD-4", "COD-4g")
class NegativeNumbersOfDrainPass(Core):
    """Drain has a way in of its own, and nobody looks at the token there."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if verb is not Verb.DRAIN:
            super().validate_first_token(verb, token)


@mutant("FEN-2", "FEN-2b", "COD-4g", alone="whatever begins with a Configure is turned away, and says nothing else")
class ShardsIntroduceThemselves(Core):
    """A shard introduces itself with Create: whoever begins with a Configure must be mistaken."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        super().validate_first_token(verb, token)
        if verb is Verb.CONFIGURE:
            raise Rejected(Code.INVALID_ARGUMENT, "this shard is not known")


@mutant("COD-4", "COD-4h")
class NegativeNumbersAreFenced(Core):
    """A shard that is not known has the mark (0, 0)."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if token.negative:
            raise self.fenced(verb, token)


@mutant("COD-4", "COD-4h")
class NegativeSequencesOfDrainAreFenced(Core):
    """Drain has a fence of its own, and it starts at zero."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if verb is Verb.DRAIN and token.sequence < 0:
            raise self.fenced(verb, token)
        super().validate_first_token(verb, token)


# COD-5: still there.


class _Stuck(Servicer):
    """Answers nothing well any more once it has met something odd."""

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
    """An assertion about the id fails while a lock is held."""

    def odd(self, request: object) -> bool:
        return not getattr(request, "machine_id", "") and not getattr(request, "shard_id", "")


@mutant("COD-5", "COD-5c")
class HugeIdsPoisonALock(_Stuck):
    """The write of a log line fails while a lock is held."""

    def odd(self, request: object) -> bool:
        return len(getattr(request, "machine_id", "")) > 60_000


@mutant("COD-5", "COD-5c")
class HugeShardIdsPoisonALock(_Stuck):
    """The mark does not fit into its column, and the transaction stays open."""

    def odd(self, request: object) -> bool:
        return len(getattr(request, "shard_id", "")) > 60_000


@mutant("COD-5", "COD-5c")
class HugeClustersPoisonALock(_Stuck):
    """The cluster does not fit into its column, and the transaction stays open."""

    def odd(self, request: object) -> bool:
        return len(getattr(request, "cluster_id", "")) > 60_000


@mutant("COD-5", "COD-5d")
class StrangeRequestsPoisonALock(_Stuck):
    """What decodes to nothing but unknown fields ends the worker."""

    def odd(self, request: Any) -> bool:
        return bool(request.ByteSize()) and not request.ListFields()
