"""Providers that compare tokens wrongly or do not fence every call (FEN-1, 2, 3, 7, 10)."""

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
    """Accepts a token equal to the mark: it compares with >= instead of >."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(token, mark) or token == mark


@mutant("FEN-1", "FEN-1c")
class EqualTokenPassesOnConfigure(Core):
    """Accepts a token equal to the mark on Configure."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(token, mark) or (verb is Verb.CONFIGURE and token == mark)


@mutant("FEN-1", "FEN-1b")
class EqualTokenPassesOnDrain(Core):
    """Accepts a token equal to the mark on Drain."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(token, mark) or (verb is Verb.DRAIN and token == mark)


@mutant("FEN-1", "FEN-1c")
class EqualTokenPassesOnDelete(Core):
    """Accepts a token equal to the mark on Delete."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(token, mark) or (verb is Verb.DELETE and token == mark)


@mutant("FEN-1", "FEN-1b", "FEN-1c", "FEN-1e")
class LateCallsAreForgiven(Core):
    """Accepts a token that is one sequence number late, because networks reorder calls."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        late = token.epoch == mark.epoch and token.sequence == mark.sequence - 1
        return newer(token, mark) or late


@mutant("FEN-1", "FEN-1b", "FEN-1c")
class SequenceZeroAlwaysPasses(Core):
    """Accepts sequence number 0 in the mark's epoch, as if it had not been set."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(token, mark) or (token.epoch == mark.epoch and token.sequence == 0)


@mutant(
    "FEN-1",
    "FEN-1d",
    latency="300ms",
    also=("FEN-7c",),
    because="a token that starts a transition passes while it runs",
)
class NotFencedInFlight(Core):
    """Does not fence calls for a machine while its transition runs."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        machine = self.machines.get(machine_id)
        if not (machine and machine.moving):
            super().fence(verb, machine_id, token)


@mutant(
    "FEN-1",
    "FEN-1d",
    latency="300ms",
    also=("FEN-7c",),
    because="a token that starts a transition passes while it runs",
)
class DrainPassesInFlight(Core):
    """Does not fence a Drain while a transition runs, because the state refuses it anyway."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        machine = self.machines.get(machine_id)
        if not (machine and machine.moving and verb is Verb.DRAIN):
            super().fence(verb, machine_id, token)


# FEN-2: first contact.


@mutant("FEN-2", "FEN-2a", "FEN-2b")
class MarkStartsAtZero(Core):
    """Compares a new shard's token with a mark of (0, 0), and so refuses (0, 0)."""

    def fence(self, verb: Verb, machine_id: str, token: Token) -> None:
        if token.shard and (token.epoch, token.sequence) == (0, 0):
            raise self.fenced(verb, token)
        super().fence(verb, machine_id, token)


@mutant("FEN-2", "FEN-2a", "FEN-2b")
class EpochsStartAtOne(Core):
    """Fences a new shard's token with epoch 0."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if token.epoch == 0:
            raise self.fenced(verb, token)


@mutant("FEN-2", "FEN-2a", "FEN-2b")
class FirstContactMustBeTheBeginning(Core):
    """Fences a new shard whose sequence number is above 1."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if token.sequence > 1:
            raise self.fenced(verb, token)


@mutant("FEN-2", "FEN-2b")
class ConfigureWantsAKnownShard(Core):
    """Fences a Configure from a new shard whose sequence number is above 1."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if verb is Verb.CONFIGURE and token.sequence > 1:
            raise self.fenced(verb, token)


@mutant("FEN-2", "FEN-2b")
class DeleteWantsAKnownShard(Core):
    """Fences a Delete from a new shard."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if verb is Verb.DELETE:
            raise self.fenced(verb, token)


@mutant("FEN-2", "FEN-2a", also=("FEN-5e",), because="every Drain that sets a mark first is fenced")
class DrainWantsAKnownShard(Core):
    """Fences a Drain from a new shard."""

    def validate_first_token(self, verb: Verb, token: Token) -> None:
        if verb is Verb.DRAIN:
            raise self.fenced(verb, token)


@mutant("FEN-2", "FEN-2a", "FEN-2b")
class FirstContactSetsNoMark(Core):
    """Registers a new shard without a mark, and does not raise it with the first call."""

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        known = key in self.inventory.marks
        below = type(token)(shard=token.shard, epoch=-1, sequence=-1)
        super().raise_mark(verb, key, token if known else below)


@mutant("FEN-2", "FEN-2a", "FEN-2b")
class FirstContactMarksItsEpochOnly(Core):
    """Sets a new shard's mark to its epoch with sequence number 0."""

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        known = key in self.inventory.marks
        super().raise_mark(verb, key, token if known else type(token)(shard=token.shard, epoch=token.epoch))


@mutant("FEN-2", "FEN-2a", "FEN-2b")
class ZerosAreNoToken(Core):
    """Accepts the numbers (0, 0) from any shard, as if the call had no token."""

    def unfenced(self, token: Token) -> bool:
        return token.epoch == 0 and token.sequence == 0


@mutant("FEN-2", "FEN-2a", "FEN-2b", "FEN-1b")
class SequenceZeroIsNoToken(Core):
    """Accepts sequence number 0 from any shard, as if the call had no token."""

    def unfenced(self, token: Token) -> bool:
        return token.sequence == 0


# FEN-3: epoch, then sequence.


@mutant(
    "FEN-3",
    "FEN-3a",
    "FEN-3b",
    "FEN-3c",
    also=("COD-4c",),
    because="its control starts a new epoch, with a low sequence",
)
class EpochIgnored(Core):
    """Compares only sequence numbers."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.sequence > mark.sequence


@mutant("FEN-1", "FEN-1a", "FEN-1b", also=("WIR-1a",), because="calls of WIR-1a differ in their sequence numbers only")
class SequenceIgnored(Core):
    """Compares only epochs, and so refuses every later call of the same epoch."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.epoch > mark.epoch


@mutant("FEN-3", "FEN-3b", "FEN-3c")
class SequenceRisesOverEpochs(Core):
    """Refuses a newer epoch if its sequence number is not higher too."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.epoch >= mark.epoch and token.sequence > mark.sequence


@mutant("FEN-3", "FEN-3a", "FEN-3b", "FEN-3c")
class EitherNumberWillDo(Core):
    """Accepts a token if either its epoch or its sequence number is higher."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.epoch > mark.epoch or token.sequence > mark.sequence


@mutant("FEN-3", "FEN-3b", "FEN-3c", also=("COD-3a",), because="its tokens have later epochs too")
class EpochRisesByOne(Core):
    """Refuses an epoch that is more than one above the mark's."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return newer(token, mark) and token.epoch - mark.epoch <= 1


@mutant("FEN-3", "FEN-3b", "FEN-3c")
class SequenceIsNotResetByANewEpoch(Core):
    """Keeps the highest sequence number of all epochs in the mark."""

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        sequence = max(token.sequence, self.inventory.marks.get(key, token).sequence)
        super().raise_mark(verb, key, type(token)(shard=token.shard, epoch=token.epoch, sequence=sequence))


@mutant("FEN-3", "FEN-3c")
class EpochIgnoredOnConfigure(Core):
    """Compares only sequence numbers on Configure."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.sequence > mark.sequence if verb is Verb.CONFIGURE else newer(token, mark)


@mutant("FEN-3", "FEN-3c")
class EpochIgnoredOnDelete(Core):
    """Compares only sequence numbers on Delete."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.sequence > mark.sequence if verb is Verb.DELETE else newer(token, mark)


@mutant("FEN-3", "FEN-3b")
class EpochIgnoredOnDrain(Core):
    """Compares only sequence numbers on Drain."""

    def passes(self, verb: Verb, token: Token, mark: Token) -> bool:
        return token.sequence > mark.sequence if verb is Verb.DRAIN else newer(token, mark)


# FEN-7: four RPCs, one mark.


@mutant("FEN-7", "FEN-7a", "FEN-7b", "FEN-7c", "FEN-6a", "FEN-7d")
class MarkPerRpc(Core):
    """Keeps separate marks for each RPC."""

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        shard, machine = super().mark_key(verb, machine_id, token)
        return f"{verb} {shard}", machine


@mutant("FEN-7", "FEN-7a", "FEN-7b", "FEN-7d")
class CreateHasItsOwnMark(Core):
    """Keeps separate marks for Create."""

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        shard, machine = super().mark_key(verb, machine_id, token)
        return f"{'create ' * (verb is Verb.CREATE)}{shard}", machine


@mutant("FEN-7", "FEN-7b", "FEN-7d")
class ConfigureHasItsOwnMark(Core):
    """Keeps separate marks for Configure."""

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        shard, machine = super().mark_key(verb, machine_id, token)
        return f"{'configure ' * (verb is Verb.CONFIGURE)}{shard}", machine


@mutant("FEN-7", "FEN-7a", "FEN-7d")
class DrainHasItsOwnMark(Core):
    """Keeps separate marks for Drain."""

    def mark_key(self, verb: Verb, machine_id: str, token: Token) -> MarkKey:
        shard, machine = super().mark_key(verb, machine_id, token)
        return f"{'drain ' * (verb is Verb.DRAIN)}{shard}", machine


@mutant("FEN-7", "FEN-7b", "FEN-7d")
class DeleteHasItsOwnMark(Core):
    """Keeps separate marks for Delete."""

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
    """Does not fence Create."""

    open_to = Verb.CREATE


@mutant("FEN-7", "FEN-7a", "FEN-7b", "FEN-5c", "FEN-7d")
class ConfigureIsNotFenced(_Unfenced):
    """Does not fence Configure."""

    open_to = Verb.CONFIGURE


@mutant("FEN-7", "FEN-7a", "FEN-7b", "FEN-5d", "FEN-7d")
class DrainIsNotFenced(_Unfenced):
    """Does not fence Drain."""

    open_to = Verb.DRAIN


@mutant("FEN-7", "FEN-7a", "FEN-7b", "FEN-5c", "FEN-7d")
class DeleteIsNotFenced(_Unfenced):
    """Does not fence Delete."""

    open_to = Verb.DELETE


@mutant("FEN-7", "FEN-7c")
class TransitionsDoNotMoveTheMark(Core):
    """Does not raise the mark for a call that starts a transition."""

    def check_edge(self, verb: Verb, machine: Machine, request: Request) -> None:
        super().check_edge(verb, machine, request)
        self.inventory.mark(self.mark_key(verb, machine.id, request.token), type(request.token)(epoch=-1))
