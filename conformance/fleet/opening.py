"""Finds the breaches in the first List of a run. Without machines to drive, no behaviour could judge them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from conformance.core.lifecycle import State, state_of
from conformance.results.breach import Breach
from conformance.rpc.call import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.rpc.call import Call
    from conformance.rpc.client import Client

LARGEST_CAP: Final = 2**31 - 1
REFUSALS: Final = (StatusCode.INVALID_ARGUMENT, StatusCode.OUT_OF_RANGE, StatusCode.NOT_FOUND, StatusCode.UNKNOWN)
"""Codes with which a provider may refuse a List that it does not like."""
KNOWN_STATES: Final = tuple(state for state in State if state is not State.UNSPECIFIED)


async def breaches_at_start(client: Client, listing: Call) -> tuple[Breach, ...]:
    """Returns what `listing`, a List without filter and cap, breaks. If it is empty, asks with a cap and a filter."""
    if listing.response.machines:
        return (*_in_listing(listing), *await _unknown_to_get(client, listing))
    capped, filtered = await client.list(cap=LARGEST_CAP), await client.list(KNOWN_STATES)
    again = await client.list()
    if not again.answered_ok or again.response.machines:
        return ()  # the fleet was empty at first
    breaches = []
    for behaviour, what, other in (("LST-2c", "a cap", capped), ("LST-1d", "a filter", filtered)):
        if other.answered_ok and other.response.machines:
            wanted = f"a List without filter and cap to show the machines that a List with {what} shows"
            got = f"no machine, and {len(other.response.machines)} with {what}"
            breaches.append(Breach(behaviour=behaviour, wanted=wanted, got=got, calls=(listing, other, again)))
    return tuple(breaches)


async def breaches_of_refusal(client: Client, refused: Call) -> tuple[Breach, ...]:
    """Returns what a refused List without filter and cap breaks: others are answered OK, or it was fenced."""
    if refused.answered and refused.fenced:
        wanted = "List, which has no token, not to be fenced"
        return (Breach(behaviour="FEN-8a", wanted=wanted, got=refused.outcome(), calls=(refused,)),)
    if not refused.answered or refused.code not in REFUSALS:
        return ()
    capped, filtered = await client.list(cap=LARGEST_CAP), await client.list(KNOWN_STATES)
    again = await client.list()
    if not again.answered or again.code is not refused.code:
        return ()  # the first answer was an accident
    for behaviour, what, other in (("LST-2c", "a cap", capped), ("LST-1d", "a filter", filtered)):
        if other.answered_ok:
            wanted = f"a List without filter and cap to be answered OK, like the one with {what}"
            return (Breach(behaviour=behaviour, wanted=wanted, got=again.outcome(), calls=(refused, other, again)),)
    return ()


async def _unknown_to_get(client: Client, listing: Call) -> tuple[Breach, ...]:
    """Returns the breach of LST-4 if Get does not find the first slot, although List shows it before and after."""
    slot = next((m.id for m in listing.response.machines if m.id and state_of(m.state) is State.SPECULATIVE), None)
    if slot is None:
        return ()
    get = await client.get(slot)
    if not get.answered or get.code is not StatusCode.NOT_FOUND:
        return ()
    again, get_again = await client.list([State.SPECULATIVE]), await client.get(slot)
    if not again.answered_ok or all(m.id != slot for m in again.response.machines) or get_again.code is not get.code:
        return ()
    return (
        Breach(
            behaviour="LST-4a",
            machine=slot,
            wanted=f"Get to find {cut(slot, 60)!r}, which List shows",
            got=get_again.outcome(),
            calls=(listing, get, again, get_again),
        ),
    )


def _in_listing(listing: Call) -> Iterator[Breach]:
    machines: list[pb.Machine] = [*listing.response.machines]
    repeated = [(name, times) for name, times in Counter(m.id for m in machines).items() if times > 1]
    if repeated:
        name, times = repeated[0]
        yield Breach(
            behaviour="LST-3a",
            wanted="a List with no machine twice",
            got=f"{cut(name, 60)!r} {times} times, and {len(repeated) - 1} other ids more than once",
            calls=(listing,),
        )
    stateless = [m.id for m in machines if state_of(m.state) is State.UNSPECIFIED]
    if stateless:
        yield Breach(
            behaviour="SHP-1a",
            wanted="every machine to have a state that the contract knows",
            got=f"{len(stateless)} of {len(machines)} without one, such as {cut(stateless[0], 60)!r}",
            calls=(listing,),
        )
