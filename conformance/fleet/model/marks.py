"""The tokens of a run, and what each answer must say about them (FEN-1 to FEN-3, FEN-6, FEN-7).

Everything is judged by the scope that allows most: a token that passed fences the same shard at the same machine only,
and any token that was sent may have fenced the shard everywhere (FEN-13).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from conformance.results.breach import Breach

if TYPE_CHECKING:
    from conformance.core.fencing import Token
    from conformance.rpc.call import Call

PASSED: Final = frozenset(
    {StatusCode.OK, StatusCode.NOT_FOUND, StatusCode.ABORTED, StatusCode.ALREADY_EXISTS, StatusCode.OUT_OF_RANGE}
)
"""The codes that a call gets only after it has passed the fence. A request may be found invalid before."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The newest token of a shard that passed for a machine, and its call."""

    numbers: tuple[int, int]
    by: Call


@dataclass(slots=True)
class _Newest:
    """The newest token that a shard has sent to any machine, how often, and its first call if that has ended."""

    numbers: tuple[int, int]
    count: int = 1
    first: bool = True
    """True if the shard has sent no other call."""


class Marks:
    """The tokens that the shards of one run have sent, and those that passed."""

    def __init__(self, run: str) -> None:
        """`run` is a part of the names of all shards that no other client uses."""
        self._run = run
        self._sent: dict[str, _Newest] = {}
        self._passed: dict[tuple[str, str], Mark] = {}

    def judges(self, token: Token) -> bool:
        """Returns whether the answers to a token can be judged: other clients may use other shards (FEN-9)."""
        return self._run in token.shard and min(token.numbers) >= 0

    def sending(self, token: Token, machine_id: str) -> Mark | None:
        """Notes a token before it is sent; returns the mark that the call will meet, if it is known."""
        newest = self._sent.get(token.shard)
        if newest is None:
            self._sent[token.shard] = _Newest(token.numbers)
        elif token.numbers > newest.numbers:
            self._sent[token.shard] = _Newest(token.numbers, first=False)
        else:
            newest.count += token.numbers == newest.numbers
            newest.first = False
        return self._passed.get((token.shard, machine_id))

    def answered(self, token: Token, met: Mark | None, call: Call) -> Breach | None:
        """Notes an answer; returns the breach that it shows, if any. `met` is the mark that the call has met."""
        if call.fenced:
            return self._unjust(token, call)
        if call.code not in PASSED:
            return None
        key = (token.shard, call.machine_id)
        mark = self._passed.get(key)
        if mark is None or token.numbers > mark.numbers:
            self._passed[key] = Mark(token.numbers, call)
        return _stale(token, met, call) if met is not None and token.numbers <= met.numbers else None

    def _unjust(self, token: Token, call: Call) -> Breach | None:
        newest = self._sent[token.shard]
        if newest.numbers != token.numbers or newest.count > 1:
            return None
        what = "its shard's first call" if newest.first else "newer than every token that its shard has sent"
        return Breach(
            behaviour="FEN-2a" if newest.first else "FEN-1a",
            machine=call.machine_id,
            wanted=f"{call.rpc} with {token}, {what}, to pass the fence",
            got=call.outcome(),
            calls=(call,),
        )


def _stale(token: Token, met: Mark, call: Call) -> Breach:
    older_epoch = token.epoch < met.numbers[0]
    return Breach(
        behaviour="FEN-3a" if older_epoch else "FEN-1a",
        machine=call.machine_id,
        wanted=f"{call.rpc} with {token} to be fenced: {met.by.rpc} has passed with {met.by.token}",
        got=call.outcome(),
        calls=(met.by, call),
    )
