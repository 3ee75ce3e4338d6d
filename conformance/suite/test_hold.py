"""LIF, and what the model of the fleet judges with it: machines that rest for the whole run, and for `--hold`.

They are read, and their last calls are repeated, when the run has held them as long as it can. The behaviour itself
judges that they have not moved. The model judges the rest in these answers: host, cluster, metadata, operation ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.core.lifecycle import State, Verb
from conformance.results.held import MACHINES, METADATA, OPERATIONS
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from conformance.fleet.machine import Machine
    from conformance.fleet.model.expected import Operation
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

OLD_OPERATIONS: Final = 3
"""The number of operations whose calls are repeated."""
KEPT: Final = {"owner": "shard-a", "protected": "", "note": "kept as long as the binding"}
"""The metadata of the binding that is held."""


@behaviour("LIF-3c", machines=2, start=State.IDLE, bound=1, alone=True)
async def test_machines_at_rest_stay_as_they_are_until_the_end(trial: Trial) -> None:
    idle, bound = trial.machines
    if trial.hold.seconds:  # the machines that the pool has bound have no metadata
        await trial.drive(bound, Verb.DRAIN)
        await trial.bind(bound, cluster=trial.unique("held"), metadata=KEPT)
    since = max(trial.resting_since(idle), trial.resting_since(bound))
    await trial.hold.wait(since)
    await expect.rests(idle, State.IDLE)
    await expect.rests(bound, State.CONFIGURED)
    trial.hold.note(MACHINES, since)
    if trial.hold.seconds:
        trial.hold.note(METADATA, since)
    await trial.list(trial.found.states_to_list(State.IDLE, State.CONFIGURED))
    for machine, operation in trial.oldest_operations(OLD_OPERATIONS):
        await trial.client.get(machine.id)
        if (await again(machine, operation)).answered:
            trial.hold.note(OPERATIONS, operation.ack.ended)
            await trial.client.get(machine.id)


def again(machine: Machine, operation: Operation) -> Awaitable[Call]:
    """Repeats the call that has started an operation, with another token."""
    request = operation.ack.request
    match operation.verb:
        case Verb.CONFIGURE:
            metadata = dict(request.shard_metadata)
            return machine.configure(cluster=request.cluster_id, metadata=metadata, blob=request.bootstrap_blob)
        case Verb.DRAIN:
            return machine.drain(grace=request.grace_period_seconds)
        case _:
            return machine.call(operation.verb)
