"""Sends a mutating call and all its retries: while the provider is overloaded, and after a lost connection or answer.

A shard whose call was not answered retries it with a fresh token, and relies on the contract: the token of an applied
call is spent (FEN-1, FEN-6), and the retry is the same operation (OPS-2). So does the kit. A call with a token that the
behaviour has chosen is not retried: a spent token would be refused, and a fresh one is not what is judged.

When fault injection has dropped a response, the kit knows its content, so it can check both clauses on any provider.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.core.errors import Violation
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.rpc.backoff import send_until_accepted
from conformance.rpc.call import cut, note_unanswered
from conformance.rpc.client import LOST_CONNECTION_DELAYS, MAX_FAULT_ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.core.fencing import Shard, Token
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.rpc.faults.injection import FaultInjection


@dataclass(frozen=True, slots=True, kw_only=True)
class MutatingCall:
    """A mutating call to send."""

    verb: Verb
    machine_id: str
    token: Token
    shard: Shard | None
    """The shard that has issued `token`, so that a retry may use a newer one; None if the caller chose the token."""
    client: Client
    shared: bool
    """True if `client` is shared by all behaviours. A behaviour is responsible for its own clients."""
    send: Callable[[Token], Awaitable[Call]]
    """Sends the call once, with the given token."""

    @property
    def own(self) -> bool:
        """Returns whether a retry may use a newer token."""
        return self.shard is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The state and functions that a retry needs."""

    state_before: State
    """The state in which the machine was last seen before the call."""
    next_token: Callable[[], Awaitable[Token]]
    """Returns the next token of the call's shard, after an entry in the ledger."""
    superseded: Callable[[], bool]
    """Returns whether newer calls were sent to the machine since: a retry would arrive out of order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOutcome:
    """The call with the final answer, and the first violation that a retry has shown, if any."""

    call: Call
    violation: Violation | None = None

    @property
    def no_delete(self) -> bool:
        """Returns whether it was a Delete that was answered UNIMPLEMENTED at once."""
        call = self.call
        return call.unimplemented and not call.retried and call.rpc == Verb.DELETE.value


def may_drop(call: MutatingCall) -> bool:
    """Returns whether fault injection may drop the call's response. A call without a shard has no token to spend."""
    faults = call.client.faults
    return faults is not None and faults.loses_answers and bool(call.token.shard) and call.shared


async def send_with_retry(call: MutatingCall, retry: Retry, *, drop_response: bool) -> CallOutcome:
    """Sends the call until it is answered, or until retries are impossible or used up."""
    if call.client.faults is None:
        outcome = CallOutcome(call=await _send_until_answered(call, retry))
    else:
        outcome = await _send_through_faults(call.client.faults, call, retry, drop_response=drop_response)
    if not outcome.call.answered:
        note_unanswered(outcome.call)
    return outcome


async def _send_until_answered(call: MutatingCall, retry: Retry) -> Call:
    """Sends the call, and sends it again with a fresh token while its connection is lost."""
    sent = await _send(call, retry, call.token)
    for delay in LOST_CONNECTION_DELAYS:
        if not (call.own and call.shared and call.client.lost_connection(sent)) or retry.superseded():
            break
        await asyncio.sleep(delay)
        if call.client.disconnected:
            break
        sent = await _send(call, retry, await retry.next_token())
    return sent


async def _send(call: MutatingCall, retry: Retry, token: Token, *, renew: bool = True) -> Call:
    """Sends the call with `token`, and retries it while the provider rejects it for load.

    If `renew`, a call whose token a shard has issued is retried with a fresh token.
    """

    async def send(token: Token) -> Call:
        answer, edge = await call.send(token), EDGES[call.verb]
        if answer.answered_busy and retry.state_before not in (State.UNSPECIFIED, edge.source, edge.via):
            call.client.overload.note_without_edge()
        return answer

    async def next_token() -> Token | None:
        if call.client.disconnected or not call.client.overload.tolerable or (call.own and retry.superseded()):
            return None
        return await retry.next_token() if call.own and renew else token

    return await send_until_accepted(send, token, next_token=next_token)


async def _send_through_faults(
    faults: FaultInjection, call: MutatingCall, retry: Retry, *, drop_response: bool
) -> CallOutcome:
    sent = await _send_first(faults, call, retry, drop_response=drop_response)
    for _ in range(MAX_FAULT_ATTEMPTS):
        answered = faults.lost_answers.reveal(sent)
        if answered is not None:
            return await _check_dropped(faults, call, retry, dropped=sent, answered=answered)
        if not (call.own and call.shared and call.client.may_have_been_dropped(sent)):
            break
        faults.retries[sent.rpc] += 1
        sent = await _send(call, retry, await retry.next_token())
    return CallOutcome(call=sent)


async def _send_first(faults: FaultInjection, call: MutatingCall, retry: Retry, *, drop_response: bool) -> Call:
    key = (call.verb.value, call.machine_id, call.token)
    if drop_response:
        faults.lost_answers.select(*key)
    try:
        return await _send(call, retry, call.token)
    finally:
        faults.lost_answers.deselect(*key)


async def _check_dropped(
    faults: FaultInjection, call: MutatingCall, retry: Retry, *, dropped: Call, answered: Call
) -> CallOutcome:
    """Retries a call whose response was dropped: with the spent token, and then with a fresh one.

    `dropped` is the call without its response, and `answered` the same call with it.
    """
    faults.retries[dropped.rpc] += 1
    # No fresh token while the provider is overloaded: it would be accepted, which proves nothing about the spent one.
    repeated = await _send(call, retry, dropped.token or call.token, renew=False)
    if repeated.answered and not (repeated.fenced or repeated.busy):
        return CallOutcome(call=answered, violation=_spent_token_accepted(dropped, repeated))
    if not call.own or retry.superseded():
        return CallOutcome(call=answered)
    faults.retries[dropped.rpc] += 1
    retried = await _send(call, retry, await retry.next_token())
    violation = None if retry.superseded() else await _check_same_operation(call, retry, dropped, answered, retried)
    return CallOutcome(call=retried if retried.answered_ok else answered, violation=violation)


def _spent_token_accepted(dropped: Call, repeated: Call) -> Violation:
    wanted = (
        f"the retry of {dropped.rpc} with token {dropped.token} to be fenced, because the call was applied and "
        "only its response was dropped"
    )
    return Violation(wanted, repeated.outcome(), calls=[dropped, repeated], clauses=["FEN-1", "FEN-6"])


async def _check_same_operation(
    call: MutatingCall, retry: Retry, dropped: Call, answered: Call, retried: Call
) -> Violation | None:
    """Returns a violation if the retry was not the same operation as the call whose response was dropped."""
    edge = EDGES[call.verb]
    if retry.state_before is not edge.source or not retried.answered:
        return None
    if retried.ok:
        broken = retried.operation_id != answered.operation_id
    else:
        # The transition may have failed since, or another client may have moved the machine: then the operation that
        # this call retries no longer exists.
        now = await call.client.get(call.machine_id)
        broken = now.answered_ok and state_of(now.response.state) in (edge.via, edge.target)
    operation_id = cut(answered.operation_id)
    wanted = f"the retry of {call.verb.value}, whose response was dropped, to have operation id {operation_id!r}"
    return Violation(wanted, retried.outcome(), calls=[dropped, retried], clauses=["OPS-2"]) if broken else None
