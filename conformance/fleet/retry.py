"""Sends a mutating call and owns all its retries: while the provider is overloaded, and when injected faults lose it.

A shard whose call was not answered retries it with a fresh token, and relies on the contract: the token of an applied
call is spent (FEN-1, FEN-6), and the retry is the same operation (OPS-2). When fault injection has dropped a response,
the kit knows what it was, and so can check both on any provider.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.core.errors import Violation
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.rpc.backoff import send_until_accepted
from conformance.rpc.call import cut, note_unanswered
from conformance.rpc.client import MAX_FAULT_RETRIES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.core.fencing import Token
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.rpc.faults.injection import FaultInjection


@dataclass(frozen=True, slots=True, kw_only=True)
class MutatingCall:
    """A mutating call that is to be sent."""

    verb: Verb
    machine_id: str
    token: Token
    own: bool
    """True if `token` is the next one of the machine's own shard: with a newer one it is the same request."""
    client: Client
    shared: bool
    """True if `client` is the one that all behaviours share. A behaviour is responsible for its own clients."""
    send: Callable[[Token], Awaitable[Call]]
    """Sends the call once, with the given token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The means to send the call again."""

    state_before: State
    """The machine's state as it was last seen before the call."""
    next_token: Callable[[], Awaitable[Token]]
    """The next token of the machine's own shard, which is in the ledger."""
    superseded: Callable[[], bool]
    """True if newer calls were sent to the machine since. A retry would arrive out of order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOutcome:
    """The call that shows how it ended, and the first violation that a retry has shown, if any."""

    call: Call
    violation: Violation | None = None


def may_drop(call: MutatingCall) -> bool:
    """Returns whether fault injection may drop the call's response. A call without a shard has no token to spend."""
    faults = call.client.faults
    return faults is not None and faults.loses_answers and bool(call.token.shard) and call.shared


async def send_with_retry(call: MutatingCall, retry: Retry, *, drop_response: bool) -> CallOutcome:
    """Sends the call until it is answered, or until a retry is not possible or does not help."""
    if call.client.faults is None:
        outcome = CallOutcome(call=await _send(call, retry, call.token))
    else:
        outcome = await _send_through_faults(call.client.faults, call, retry, drop_response=drop_response)
    if not outcome.call.answered:
        note_unanswered()
    return outcome


async def _send(call: MutatingCall, retry: Retry, token: Token, *, renew: bool = True) -> Call:
    """Sends the call with `token`; sends it again while the provider rejects it for load.

    A call of the machine's own shard is sent again with a fresh token, unless it is not to `renew` the one it has.
    """

    async def next_token() -> Token | None:
        if call.client.disconnected or not call.client.overload.tolerable or (call.own and retry.superseded()):
            return None
        return await retry.next_token() if call.own and renew else token

    return await send_until_accepted(call.send, token, next_token=next_token)


async def _send_through_faults(
    faults: FaultInjection, call: MutatingCall, retry: Retry, *, drop_response: bool
) -> CallOutcome:
    sent = await _send_first(faults, call, retry, drop_response=drop_response)
    for _ in range(MAX_FAULT_RETRIES):
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

    `dropped` is the call as it appeared without its response, and `answered` the same call with it.
    """
    faults.retries[dropped.rpc] += 1
    # Not renewed if the provider is overloaded: a fresh token would be accepted, and say nothing of the spent one.
    repeated = await _send(call, retry, dropped.token or call.token, renew=False)
    if repeated.answered and not (repeated.fenced or repeated.busy):
        return CallOutcome(call=answered, violation=_token_passed_twice(dropped, repeated))
    if not call.own or retry.superseded():
        return CallOutcome(call=answered)
    faults.retries[dropped.rpc] += 1
    retried = await _send(call, retry, await retry.next_token())
    violation = None if retry.superseded() else await _check_same_operation(call, retry, dropped, answered, retried)
    return CallOutcome(call=retried if retried.ok else answered, violation=violation)


def _token_passed_twice(dropped: Call, repeated: Call) -> Violation:
    wanted = (
        f"{dropped.rpc} sent again with token {dropped.token}, as its answer was lost and not its effect, to be fenced"
    )
    return Violation(wanted, repeated.outcome(), calls=[dropped, repeated], clauses=["FEN-1", "FEN-6"])


async def _check_same_operation(
    call: MutatingCall, retry: Retry, dropped: Call, answered: Call, retried: Call
) -> Violation | None:
    """The violation if the retry was not the same operation as the call whose response was dropped."""
    edge = EDGES[call.verb]
    if retry.state_before is not edge.source or not retried.answered:
        return None
    if retried.ok:
        broken = retried.operation_id != answered.operation_id
    else:
        # The transition may have failed since, or another client may have moved the machine: then there is no
        # operation that this could be the retry of.
        now = await call.client.get(call.machine_id)
        broken = now.ok and state_of(now.response.state) in (edge.via, edge.target)
    wanted = (
        f"the retry of {call.verb.value}, whose answer was lost, to have operation id {cut(answered.operation_id)!r}"
    )
    return Violation(wanted, retried.outcome(), calls=[dropped, retried], clauses=["OPS-2"]) if broken else None
