"""A mutating call in weather: asked again where no answer came, and held against the answer that was lost.

A shard that was not answered asks again with a fresh token. What it may rely on is the contract's: the token of the
call that was done is spent (FEN-6), and the retry is the same operation (OPS-2). Where the weather has lost an answer
that was on its way, it is known what it was, and both are seen on any provider.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc

from conformance.call import cut, missed
from conformance.client import AGAIN
from conformance.errors import Violation
from conformance.lifecycle import EDGES, State, state_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.call import Call
    from conformance.client import Client
    from conformance.lifecycle import Verb
    from conformance.storm import Storm
    from conformance.token import Token


async def ask(
    verb: Verb,
    machine_id: str,
    token: Token,
    send: Callable[[Token], Awaitable[Call]],
    *,
    via: Client,
    seen: State,
    exposed: bool,
    fresh: Callable[[bool], Awaitable[Token | None]],
) -> tuple[Call, Violation | None]:
    """The call that tells how it ended, and the clause that the provider broke when it was asked again, if any.

    `seen` is the machine's state before. `exposed`: the answer is to be lost. `fresh` gives a newer token of the same
    shard, or None where asking with another would be another question; it is told whether the call is known to be done.
    """
    storm = via.storm
    if storm is None:
        call, breach = await send(token), None
    else:
        call, breach = await _ask(storm, verb, machine_id, token, send, via, seen, exposed, fresh)
    if not call.answered:
        missed()
    return call, breach


async def _ask(
    storm: Storm,
    verb: Verb,
    machine_id: str,
    token: Token,
    send: Callable[[Token], Awaitable[Call]],
    via: Client,
    seen: State,
    exposed: bool,
    fresh: Callable[[bool], Awaitable[Token | None]],
) -> tuple[Call, Violation | None]:
    key = verb.value, machine_id, token
    if exposed and token.shard and storm.loses:
        storm.box.wanted.add(key)
    try:
        call = await send(token)
    finally:
        storm.box.wanted.discard(key)
    for _ in range(AGAIN):
        ack = storm.box.letter(call.details)
        if ack is not None:
            heard = replace(call, code=grpc.StatusCode.OK, details="", response=ack, answered=True)
            storm.again[verb.value] += 1
            twice = await send(token)
            if twice.answered and not twice.fenced:
                return heard, _spent(heard, twice)
            newer = await fresh(True)
            if newer is None:
                return heard, None
            storm.again[verb.value] += 1
            again = await send(newer)
            return (again if again.ok else heard), await _same(verb, via, heard, again, seen)
        if not via.lost(call) or (newer := await fresh(False)) is None:
            break
        storm.again[verb.value] += 1
        call = await send(newer)
    return call, None


def _spent(heard: Call, twice: Call) -> Violation:
    return Violation(
        f"{heard.rpc} sent again with token {heard.token}, whose call was done and whose answer was lost, to be fenced",
        twice.outcome(),
        calls=[heard, twice],
        clause="FEN-6",
    )


async def _same(verb: Verb, via: Client, heard: Call, again: Call, seen: State) -> Violation | None:
    """What is wrong with the retry of a call whose answer was lost, if anything."""
    if seen is not EDGES[verb].source or not again.answered:
        return None
    wanted = f"the retry of {verb.value}, whose answer was lost, to have operation id {cut(heard.operation_id)!r}"
    if again.ok:
        same = again.operation_id == heard.operation_id
        return None if same else Violation(wanted, again.outcome(), calls=[heard, again], clause="OPS-2")
    now = await via.get(again.machine_id)
    machine: pb.Machine = now.response
    if not now.ok or state_of(machine.state) not in (EDGES[verb].via, EDGES[verb].target):
        return None  # it has failed meanwhile, or somebody has moved it: there is nothing that it could be the retry of
    return Violation(wanted, again.outcome(), calls=[heard, again], clause="OPS-2")
