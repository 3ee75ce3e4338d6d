"""Determines whether unanswered calls were applied, and makes sure that they no longer can be.

An applied call has left a mark, and a token that is not newer is refused (FEN-1). So the kit sends the oldest
unanswered token of a shard once more: if it is refused, this call or a later one was applied. Older calls of the shard
belong to an earlier life of the machine and are not evidence about this one. When a shard returns with a higher epoch,
the fence refuses all calls of the old epoch that may still arrive (FEN-3).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from conformance.core.errors import NoAnswer
from conformance.core.fencing import Shard, Token
from conformance.rpc.client import LOST_CONNECTION_DELAYS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeAlias

    from conformance.fleet.unanswered import UnansweredCalls
    from conformance.rpc.call import Call

    Probe: TypeAlias = Callable[[Callable[[], Token]], Awaitable[Call]]
    """Sends a Drain with a token from the given source, and returns the fence's answer."""


async def any_applied(calls: UnansweredCalls, probe: Probe) -> bool:
    """Returns whether any of the calls was applied. Raises NoAnswer if the fence does not say so.

    A provider without a mark of the shard accepts the token (FEN-2), so none of that shard's calls was applied. A
    question that was rejected for load may have spent the token: if the fence refuses it then, nothing is proved.
    """
    if calls.asked_in_vain:
        raise NoAnswer("the fence was asked about the unanswered calls before, and its answer was lost")
    unclear: Call | None = None
    for token in calls.oldest:
        call = await probe(partial(Token, token.shard, *token.numbers))
        if call.fenced:
            return True
        unclear = call if call.token_spent else unclear
    if unclear is not None:
        raise NoAnswer(f"{unclear.rpc} answered {unclear.outcome()}, and its retry was fenced")
    return False


async def fence_off(calls: UnansweredCalls, probe: Probe, *, own: Sequence[Shard]) -> None:
    """Makes sure that none of the calls can start anything more. `own` are shards that stay in use."""
    known = {shard.id: shard for shard in own}
    for name, epoch in calls.epochs.items():
        shard = known.get(name) or Shard(name)
        shard.start_after_epoch(epoch)
        await probe(shard.next)


async def ask_fence(
    machine_id: str, drain: Callable[[Token], Awaitable[Call]], token: Callable[[], Token], *, delays: Sequence[float]
) -> Call:
    """Returns the fence's answer to a Drain with the token. Raises NoAnswer if the call does not reach the fence.

    A provider may refuse a Drain that has no edge with "try again" (COD-2). If the fence then refuses the same token,
    it has seen that token, from this Drain or from an earlier call: the answer has `token_spent`. Otherwise the Drain
    is sent again after each of `delays`, in seconds.
    """
    for delay in (*delays, None):
        call = await _drain_over_lost_connections(drain, token)
        if call.answered_busy and not call.token_spent and call.token is not None:
            again = await drain(call.token)
            call = replace(call, token_spent=again.token_spent or (again.answered and again.fenced))
        if not call.answered_busy or call.token_spent or delay is None:
            break
        await asyncio.sleep(delay)
    if not call.answered or (call.busy and not call.token_spent):
        raise NoAnswer(f"Drain of {machine_id} answered {call.outcome()}")
    return call


async def _drain_over_lost_connections(drain: Callable[[Token], Awaitable[Call]], token: Callable[[], Token]) -> Call:
    """Sends a Drain, and sends it again while its connection is lost, if `token` returns another token each time.

    The same token could be refused because of the lost call.
    """
    call = await drain(token())
    for delay in LOST_CONNECTION_DELAYS:
        if not call.cut_off or (renewed := token()) == call.token:
            break
        await asyncio.sleep(delay)
        call = await drain(renewed)
    return call
