"""Calls about one machine that were sent and not heard out: whether any came through, and that none can any more.

A call that came through has left a mark, and what is not newer is fenced (FEN-1). So the oldest token of a shard that
was not heard of, sent once more, says whether it or a later one came through: older calls of the shard, in an earlier
life of the machine, say nothing of this one. A shard that comes back with a higher epoch fences all that may still
arrive of the old one (FEN-3).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from conformance.busy import while_busy
from conformance.errors import NoAnswer
from conformance.lifecycle import Verb
from conformance.token import Shard, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conformance.call import Call
    from conformance.machine import Machine


class Unheard:
    """What was not heard of, by shard. Of a dead run, whose `epochs` the ledger knows, no token is known."""

    def __init__(self, epochs: Mapping[str, int] | None = None) -> None:
        self.epochs = dict(epochs or {})
        """Of each shard the newest epoch."""
        self.create = False
        """Whether a Create is among them, so that a slot may come to life through us."""
        self._oldest = {shard: Token(shard, 0, 0) for shard in self.epochs}

    def __bool__(self) -> bool:
        return bool(self.epochs)

    @property
    def oldest(self) -> list[Token]:
        """Of each shard the oldest token."""
        return list(self._oldest.values())

    def add(self, verb: Verb, token: Token) -> None:
        """One more: it may have started something, and may still."""
        self.create |= verb is Verb.CREATE
        self.epochs[token.shard] = max(token.epoch, self.epochs.get(token.shard, token.epoch))
        self._oldest[token.shard] = min(token, self._oldest.get(token.shard, token), key=lambda each: each.numbers)

    def clear(self) -> None:
        """All is known."""
        self.epochs.clear()
        self._oldest.clear()
        self.create = False


async def came_through(machine: Machine) -> bool:
    """Whether any of the calls did: a shard that the provider has no such mark of has made none (FEN-2).

    Raises NoAnswer where the provider does not say.
    """
    tokens = [partial(Token, token.shard, *token.numbers) for token in machine.unheard.oldest]
    return any([(await _heard(machine, token)).fenced for token in tokens])


async def fence_off(machine: Machine) -> None:
    """See to it that none of the calls can start anything any more. Raises NoAnswer where the provider does not say."""
    for name, epoch in list(machine.unheard.epochs.items()):
        shard = machine.shard if name == machine.shard.id else Shard(name)
        shard.outlive(epoch)
        await _heard(machine, shard.next)


async def _heard(machine: Machine, token: Callable[[], Token]) -> Call:
    """What the fence says to a Drain with that token. Raises NoAnswer where it does not come to that."""
    call = await while_busy(lambda: machine.drain(token()), insists=machine.insists)
    if not call.answered or call.busy:
        raise NoAnswer(f"Drain of {machine.id} answered {call.outcome()}")
    return call
