"""The tokens of a run, and what each answer must say about them (FEN-1 to FEN-3, FEN-6, FEN-7, FEN-10).

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
EQUAL, FIRST_CONTACT, OLDER_EPOCH, NEWER_EPOCH = "FEN-1a", "FEN-2a", "FEN-3a", "FEN-3b"
EPOCHS, SEQUENCES, PACKED = "FEN-10a", "FEN-10b", "FEN-10e"
"""The behaviours that judge the order of tokens."""
HARD_NUMBER: Final = 2**31
"""From here on, numbers do not fit into 32 bits with a sign."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The newest token of a shard that passed for a machine, and its call."""

    token: Token
    by: Call

    @property
    def numbers(self) -> tuple[int, int]:
        """Epoch and sequence of the token."""
        return self.token.numbers


@dataclass(slots=True)
class _Newest:
    """The newest token that a shard has sent to any machine, how often, and its first call if that has ended."""

    numbers: tuple[int, int]
    count: int = 1
    before: tuple[int, int] | None = None
    """The newest token before; None if the shard has sent no other call."""


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
            self._sent[token.shard] = _Newest(token.numbers, before=newest.numbers)
        else:
            newest.count += token.numbers == newest.numbers
            newest.before = newest.before or newest.numbers
        return self._passed.get((token.shard, machine_id))

    def passed(self) -> list[tuple[str, Mark]]:
        """Returns the mark of each shard and machine, with the machine; the oldest first."""
        marks = sorted(self._passed.items(), key=lambda item: item[1].by.ended)
        return [(machine, mark) for (_, machine), mark in marks if self.judges(mark.token)]

    def answered(self, token: Token, met: Mark | None, call: Call) -> Breach | None:
        """Notes an answer; returns the breach that it shows, if any. `met` is the mark that the call has met."""
        if call.fenced:
            return self._unjust(token, met, call)
        if call.code not in PASSED:
            return None
        key = (token.shard, call.machine_id)
        mark = self._passed.get(key)
        if mark is None or token.numbers > mark.numbers:
            self._passed[key] = Mark(token, call)
        return _stale(token, met, call) if met is not None and token.numbers <= met.numbers else None

    def _unjust(self, token: Token, met: Mark | None, call: Call) -> Breach | None:
        newest = self._sent[token.shard]
        if newest.numbers != token.numbers or newest.count > 1:
            return None
        before = newest.before
        if before is None:
            what, behaviour = "its shard's first call", FIRST_CONTACT
        else:
            what = "newer than every token that its shard has sent"
            # The fence may have compared the token with the machine's mark, or with the shard's last token.
            order = [behaviour_of_order(each, token.numbers) for each in (before, met.numbers if met else before)]
            behaviour = next((each for each in order if each in (EPOCHS, SEQUENCES, PACKED)), order[0])
        return Breach(
            behaviour=behaviour,
            machine=call.machine_id,
            wanted=f"{call.rpc} with {token}, {what}, to pass the fence",
            got=call.outcome(),
            calls=(call,),
        )


def _stale(token: Token, met: Mark, call: Call) -> Breach:
    return Breach(
        behaviour=behaviour_of_order(token.numbers, met.numbers, stale=True),
        machine=call.machine_id,
        wanted=f"{call.rpc} with {token} to be fenced: {met.by.rpc} has passed with {met.by.token}",
        got=call.outcome(),
        calls=(met.by, call),
    )


def behaviour_of_order(older: tuple[int, int], newer: tuple[int, int], *, stale: bool = False) -> str:
    """Returns the behaviour that judges the order of two tokens. `stale`: the older one passed after the newer one."""
    if older == newer:
        return EQUAL
    if older[0] == newer[0]:
        return SEQUENCES if _hard(older[1], newer[1]) else EQUAL
    if max(older[1], newer[1]) >= HARD_NUMBER:
        return PACKED
    if _hard(older[0], newer[0]):
        return EPOCHS
    return OLDER_EPOCH if stale else NEWER_EPOCH


def _hard(older: int, newer: int) -> bool:
    """Returns whether two numbers compare wrongly as text, or as anything but 64-bit integers."""
    return newer >= HARD_NUMBER or len(str(older)) < len(str(newer))
