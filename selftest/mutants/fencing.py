"""Providers that compare tokens wrongly, or that do not fence everything (FEN-1, 2, 3, 7, 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fake_provider.core import Core
from fake_provider.fence import newer
from fake_provider.machine import Verb
from selftest.mutant import mutant

if TYPE_CHECKING:
    from fake_provider.fence import Token
    from fake_provider.machine import Machine
    from fake_provider.request import Request
    from fake_provider.store import MarkKey

# FEN-1: equal and lower.


@mutant("FEN-1", "FEN-1a", "FEN-1b", "FEN-1c")
class EqualTokenPasses(Core):
    """Compares with >= instead of >."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(token, mark) or token == mark


@mutant("FEN-1", "FEN-1c")
class EqualTokenPassesOnConfigure(Core):
    """Configure has a comparison of its own, and that is >=."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(token, mark) or (verb is Verb.CONFIGURE and token == mark)


@mutant("FEN-1", "FEN-1b")
class EqualTokenPassesOnDrain(Core):
    """Drain has a comparison of its own, and that is >=."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(token, mark) or (verb is Verb.DRAIN and token == mark)


@mutant("FEN-1", "FEN-1c")
class EqualTokenPassesOnDelete(Core):
    """Delete has a comparison of its own, and that is >=."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(token, mark) or (verb is Verb.DELETE and token == mark)


@mutant("FEN-1", "FEN-1b", "FEN-1c", "FEN-1e")
class LateCallsAreForgiven(Core):
    """Lets calls in that are one sequence late, since networks reorder."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        late = token.epoch == mark.epoch and token.sequence == mark.sequence - 1
        return newer(token, mark) or late


@mutant("FEN-1", "FEN-1b", "FEN-1c")
class SequenceZeroAlwaysPasses(Core):
    """Takes a sequence of 0 within the mark's epoch for one that was not set."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(token, mark) or (token.epoch == mark.epoch and token.sequence == 0)


@mutant("FEN-1", "FEN-1d", latency="300ms")
class NotFencedInFlight(Core):
    """Asks the fence only of machines at rest; who is on its way has a lock already."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        machine = self.machines.get(machine_id)
        if not (machine and machine.moving):
            super().fence(verb, machine_id, token)


@mutant("FEN-1", "FEN-1d", latency="300ms")
class DrainPassesInFlight(Core):
    """Lets a stale Drain of a moving machine through to the state, which refuses it anyway."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        machine = self.machines.get(machine_id)
        if not (machine and machine.moving and verb is Verb.DRAIN):
            super().fence(verb, machine_id, token)


# FEN-2: first contact.


@mutant("FEN-2", "FEN-2a", "FEN-2b")
class MarkStartsAtZero(Core):
    """Compares a new shard's token with a mark of (0, 0), so that (0, 0) is refused."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        if token.shard and (token.epoch, token.sequence) == (0, 0):
            raise self.fenced(verb, token)
        super().fence(verb, machine_id, token)


@mutant("FEN-2", "FEN-2a", "FEN-2b")
class EpochsStartAtOne(Core):
    """Takes epoch 0 of a new shard for a stale one."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if token.epoch == 0:
            raise self.fenced(verb, token)


@mutant("FEN-2", "FEN-2a", "FEN-2b")
class FirstContactMustBeTheBeginning(Core):
    """Knows no shard in the middle of its life: after a loss of marks everybody is locked out."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if token.sequence > 1:
            raise self.fenced(verb, token)


@mutant("FEN-2", "FEN-2b")
class ConfigureWantsAKnownShard(Core):
    """Refuses a Configure by a shard that it has not seen before, unless it is the shard's very first call."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if verb is Verb.CONFIGURE and token.sequence > 1:
            raise self.fenced(verb, token)


@mutant("FEN-2", "FEN-2b")
class DeleteWantsAKnownShard(Core):
    """Refuses a Delete by a shard that it has not seen before."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if verb is Verb.DELETE:
            raise self.fenced(verb, token)


@mutant("FEN-2", "FEN-2a")
class DrainWantsAKnownShard(Core):
    """Refuses a Drain by a shard that it has not seen before."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if verb is Verb.DRAIN:
            raise self.fenced(verb, token)


@mutant("FEN-2", "FEN-2a", "FEN-2b")
class FirstContactSetsNoMark(Core):
    """Registers a new shard with a mark below everything, and forgets to raise it by the call at hand."""

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        known = key in self.inventory.marks
        below = type(token)(shard=token.shard, epoch=-1, sequence=-1)
        super().raise_mark(verb, key, token if known else below)


@mutant("FEN-2", "FEN-2a", "FEN-2b")
class FirstContactMarksItsEpochOnly(Core):
    """Registers a new shard with its epoch, and the sequence of it at 0."""

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        known = key in self.inventory.marks
        super().raise_mark(verb, key, token if known else type(token)(shard=token.shard, epoch=token.epoch))


@mutant("FEN-2", "FEN-2a", "FEN-2b")
class ZerosAreNoToken(Core):
    """Takes the numbers (0, 0) for no token, whatever the shard."""

    def unfenced(self, token: Token) -> bool:
        return token.epoch == 0 and token.sequence == 0


@mutant("FEN-2", "FEN-2a", "FEN-2b", "FEN-1b")
class SequenceZeroIsNoToken(Core):
    """Takes a sequence of 0 for no token, whatever the shard and epoch."""

    def unfenced(self, token: Token) -> bool:
        return token.sequence == 0


# FEN-3: epoch, then sequence.


@mutant("FEN-3", "FEN-3a", "FEN-3b", "FEN-3c")
class EpochIgnored(Core):
    """Compares sequences alone."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.sequence > mark.sequence


@mutant("FEN-1", "FEN-1a", "FEN-1b")
class SequenceIgnored(Core):
    """Compares epochs alone, and takes every later call of the same epoch for an equal one."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.epoch > mark.epoch


@mutant("FEN-3", "FEN-3b", "FEN-3c")
class SequenceRisesOverEpochs(Core):
    """Wants the sequence to rise also where the epoch does."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.epoch >= mark.epoch and token.sequence > mark.sequence


@mutant("FEN-3", "FEN-3a", "FEN-3b", "FEN-3c")
class EitherNumberWillDo(Core):
    """Lets a token in whose epoch or whose sequence is higher."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.epoch > mark.epoch or token.sequence > mark.sequence


@mutant("FEN-3", "FEN-3b", "FEN-3c", also=("COD-3a",), because="its tokens, too, are of epochs further on")
class EpochRisesByOne(Core):
    """Takes an epoch that jumps for a corrupt one."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(token, mark) and token.epoch - mark.epoch <= 1


@mutant("FEN-3", "FEN-3b", "FEN-3c")
class SequenceIsNotResetByANewEpoch(Core):
    """Raises the mark number by number: a new epoch inherits the old one's sequence."""

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        sequence = max(token.sequence, self.inventory.marks.get(key, token).sequence)
        super().raise_mark(verb, key, type(token)(shard=token.shard, epoch=token.epoch, sequence=sequence))


@mutant("FEN-3", "FEN-3c")
class EpochIgnoredOnConfigure(Core):
    """Compares sequences alone, on Configure."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.sequence > mark.sequence if verb is Verb.CONFIGURE else newer(token, mark)


@mutant("FEN-3", "FEN-3c")
class EpochIgnoredOnDelete(Core):
    """Compares sequences alone, on Delete."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.sequence > mark.sequence if verb is Verb.DELETE else newer(token, mark)


@mutant("FEN-3", "FEN-3b")
class EpochIgnoredOnDrain(Core):
    """Compares sequences alone, on Drain."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.sequence > mark.sequence if verb is Verb.DRAIN else newer(token, mark)


# FEN-7: four RPCs, one mark.


@mutant("FEN-7", "FEN-7a", "FEN-7b", "FEN-7c", "FEN-6a", "FEN-7d")
class MarkPerRpc(Core):
    """Keeps a map of marks in each handler."""

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        shard, machine = super().mark_key(verb, machine_id, token)
        return f"{verb} {shard}", machine


@mutant("FEN-7", "FEN-7a", "FEN-7b", "FEN-7d")
class CreateHasItsOwnMark(Core):
    """Keeps the marks of Create apart, with the speculative slots."""

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        shard, machine = super().mark_key(verb, machine_id, token)
        return f"{'create ' * (verb is Verb.CREATE)}{shard}", machine


@mutant("FEN-7", "FEN-7b", "FEN-7d")
class ConfigureHasItsOwnMark(Core):
    """Keeps the marks of Configure apart, with the bindings."""

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        shard, machine = super().mark_key(verb, machine_id, token)
        return f"{'configure ' * (verb is Verb.CONFIGURE)}{shard}", machine


@mutant("FEN-7", "FEN-7a", "FEN-7d")
class DrainHasItsOwnMark(Core):
    """Keeps the marks of Drain apart."""

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        shard, machine = super().mark_key(verb, machine_id, token)
        return f"{'drain ' * (verb is Verb.DRAIN)}{shard}", machine


@mutant("FEN-7", "FEN-7b", "FEN-7d")
class DeleteHasItsOwnMark(Core):
    """Keeps the marks of Delete apart."""

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        shard, machine = super().mark_key(verb, machine_id, token)
        return f"{'delete ' * (verb is Verb.DELETE)}{shard}", machine


class _Unfenced(Core):
    open_to: Verb

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        if verb is not self.open_to:
            super().fence(verb, machine_id, token)


@mutant("FEN-7", "FEN-7a", "FEN-7b", "FEN-5e", "FEN-7d")
class CreateIsNotFenced(_Unfenced):
    """Does not ask the fence on Create: there is nothing to be lost yet."""

    open_to = Verb.CREATE


@mutant("FEN-7", "FEN-7a", "FEN-7b", "FEN-5c", "FEN-7d")
class ConfigureIsNotFenced(_Unfenced):
    """Does not ask the fence on Configure: it is idempotent, after all."""

    open_to = Verb.CONFIGURE


@mutant("FEN-7", "FEN-7a", "FEN-7b", "FEN-5d", "FEN-7d")
class DrainIsNotFenced(_Unfenced):
    """Does not ask the fence on Drain: to make things smaller is always safe."""

    open_to = Verb.DRAIN


@mutant("FEN-7", "FEN-7a", "FEN-7b", "FEN-5c", "FEN-7d")
class DeleteIsNotFenced(_Unfenced):
    """Does not ask the fence on Delete, the RPC that came last."""

    open_to = Verb.DELETE


@mutant("FEN-7", "FEN-7c")
class TransitionsDoNotMoveTheMark(Core):
    """Takes the mark back for a call that starts a transition: it is to be set when that has settled, and is not."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        super().check_edge(verb, machine, request)
        self.inventory.mark(self.mark_key(verb, machine.id, request.token), type(request.token)(epoch=-1))
