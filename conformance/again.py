"""A mutating call in weather: asked again where no answer came, and held against the answer that was lost.

A shard that was not answered asks again with a fresh token. What it may rely on is the contract's: the token of a call
that was done is spent (FEN-1, FEN-6), and the retry is the same operation (OPS-2). Where the weather has lost an answer
that was on its way, it is known what it was, and both are seen on any provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.busy import put_through
from conformance.call import cut, missed
from conformance.client import AGAIN
from conformance.errors import Violation
from conformance.lifecycle import EDGES, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, TypeAlias

    from conformance.call import Call
    from conformance.client import Client
    from conformance.faults import FaultInjection
    from conformance.lifecycle import State, Verb
    from conformance.machine import Machine
    from conformance.token import Token

    Sender: TypeAlias = Callable[[Token], Coroutine[Any, Any, Call]]


async def ask(
    machine: Machine, verb: Verb, token: Token, send: Sender, *, via: Client, own: bool, alone: bool
) -> tuple[Call, Violation | None]:
    """The call that tells how it ended, and the clause that the provider broke when it was asked again, if any.

    `own`: the token is the next of the machine's own shard, so that with a newer one it is the same question. `alone`:
    nothing but the weather cuts this way; what goes another way is left to who made that.
    """

    def patiently(token: Token) -> Coroutine[Any, Any, Call]:
        return _patiently(machine, verb, token, send, via, own)

    if via.faults is None:
        call, breach = await patiently(token), None
    else:
        call, breach = await _ask(via.faults, machine, verb, token, patiently, via, own, alone)
    if not call.answered:
        missed()
    return call, breach


async def _patiently(machine: Machine, verb: Verb, token: Token, send: Sender, via: Client, own: bool) -> Call:
    sent = machine.sent

    async def again() -> Token | None:
        # Where it was asked for more meanwhile, what is asked now would come in another order.
        if via.hung_up or not via.shed.little or (own and machine.sent != sent):
            return None
        return await machine.renew(verb) if own else token

    return await put_through(send, token, again=again)


async def _ask(
    faults: FaultInjection,
    machine: Machine,
    verb: Verb,
    token: Token,
    send: Sender,
    via: Client,
    own: bool,
    alone: bool,
) -> tuple[Call, Violation | None]:
    seen, sent, key = machine.state, machine.sent, (verb.value, machine.id, token)
    if verb in machine.exposed and faults.loses_answers and token.shard and alone:
        machine.exposed.discard(verb)
        faults.lost_answers.select(*key)
    try:
        call = await send(token)
    finally:
        faults.lost_answers.deselect(*key)
    for _ in range(AGAIN):
        heard = faults.lost_answers.reveal(call)
        if heard is not None:
            faults.retries[verb.value] += 1
            twice = await send(call.token or token)
            if twice.answered and not (twice.fenced or twice.busy):
                return heard, _spent(call, twice)
            if not own or sent != machine.sent:
                return heard, None  # it was asked for more meanwhile, and may be on its way by now
            faults.retries[verb.value] += 1
            again = await send(await machine.renew(verb))
            breach = await _same(verb, via, call, again, heard.operation_id, seen) if sent == machine.sent else None
            return (again if again.ok else heard), breach
        if not (own and alone) or not via.lost(call):
            break
        faults.retries[verb.value] += 1
        call = await send(await machine.renew(verb))
    return call, None


def _spent(lost: Call, twice: Call) -> Violation:
    wanted = f"{lost.rpc} sent again with token {lost.token}, as its answer was lost and not its effect, to be fenced"
    return Violation(wanted, twice.outcome(), calls=[lost, twice], clauses=["FEN-1", "FEN-6"])


async def _same(verb: Verb, via: Client, lost: Call, again: Call, operation_id: str, seen: State) -> Violation | None:
    """What is wrong with the retry of a call whose answer was lost, if anything."""
    if seen is not EDGES[verb].source or not again.answered:
        return None
    wanted = f"the retry of {verb.value}, whose answer was lost, to have operation id {cut(operation_id)!r}"
    if again.ok:
        broken = again.operation_id != operation_id
    else:
        # It may have failed meanwhile, or somebody has moved it: then there is nothing that it could be the retry of.
        now = await via.get(lost.machine_id)
        broken = now.ok and state_of(now.response.state) in (EDGES[verb].via, EDGES[verb].target)
    return Violation(wanted, again.outcome(), calls=[lost, again], clauses=["OPS-2"]) if broken else None
