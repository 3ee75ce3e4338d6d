"""The rules about one List by itself, whatever the fleet contains (LST-1 to LST-3)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from conformance.core.lifecycle import state_of
from conformance.results.breach import Breach
from conformance.rpc.call import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.rpc.call import Call


def breaches_of_list(call: Call) -> Iterator[Breach]:
    """Yields the breaches of one List: a machine twice, a state outside the filter, or more machines than the cap."""
    machines, request = call.response.machines, call.request
    ids = {machine.id for machine in machines}
    if len(ids) < len(machines):
        twice = sorted(each for each, count in Counter(machine.id for machine in machines).items() if count > 1)
        yield Breach(
            behaviour="LST-3a",
            machine=twice[0],
            wanted="a List without a machine twice",
            got=f"{cut(twice[0], 60)!r} more than once",
            calls=(call,),
        )
    if 0 < request.max_results < len(machines):
        yield Breach(
            behaviour="LST-2a",
            wanted=f"at most {request.max_results} machines",
            got=f"{len(machines)}",
            calls=(call,),
        )
    if request.states and not request.since_revision:  # a delta may also show machines that have left the states
        wanted = set(request.states)
        outside = next((machine for machine in machines if machine.state not in wanted), None)
        if outside is not None:
            yield Breach(
                behaviour="LST-1a",
                machine=outside.id,
                wanted=f"a List with a filter of {', '.join(state_of(state).name for state in wanted)} to keep to it",
                got=f"{outside.id} {state_of(outside.state).name}",
                calls=(call,),
            )
