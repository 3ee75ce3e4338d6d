"""Before and after a restart of the provider: calls that take an edge, the fleet, and the wait until it is back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from conformance.core.errors import NotObserved, TargetError, Violation
from conformance.core.lifecycle import State, Verb
from conformance.fleet.probe import health_status
from conformance.testkit.snapshot import Snapshot, differences

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.core.fencing import Token
    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.testkit.trial import Trial

METADATA: Final = {"owner": "shard-a", "protected": "", " spaces ": " kept ", "note": "e\u0301 \u00e9 \x00"}
"""Metadata with values that a store or an encoding may change."""
SERVING: Final = "SERVING"
PAUSE_S: Final = 0.02
"""The pause between two looks at a provider that starts."""
LONGEST_START_S: Final = 30.0
"""The time that a provider may take to get its state back once it serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A call that takes an edge, with the values that a retry repeats."""

    machine: Machine
    verb: Verb
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, trial: Trial, machine: Machine, verb: Verb) -> Edge:
        """Returns the call of a verb; a Configure binds to a new cluster, with metadata."""
        values = {}
        if verb is Verb.CONFIGURE:
            cluster = trial.unique("c")
            values = {"cluster": cluster, "metadata": {"owner": cluster, "empty": "", "note": "kept over a restart"}}
        return cls(machine=machine, verb=verb, values=values)

    async def send(self, token: Token | None = None, *, client: Client | None = None) -> Call:
        """Sends the call, with a fresh token unless one is given."""
        if self.verb is Verb.CONFIGURE:
            return await self.machine.configure(token, client=client, **self.values)
        return await self.machine.call(self.verb, token, client=client)


async def look(trial: Trial) -> Snapshot:
    """Returns the fleet as List shows it; of a large fleet, only what this run may have changed."""
    seen = Snapshot.of(await trial.list(since=trial.found.since))
    if not trial.found.large:
        trial.restarts.note_inventory(frozenset(seen.machines), restarted=False)
    return seen


async def back(
    trial: Trial,
    before: Snapshot,
    when: object,
    *,
    moving: Collection[str] = (),
    whole: bool = False,
    starts: bool = True,
) -> Snapshot:
    """Starts the provider, and returns the fleet when it has its state back and takes mutating calls.

    Machines that only the kit drives must be as they were `before`, except those that are `moving`; with `whole`, so
    must the inventory. Unless it `starts`, another replica serves already. Raises Violation.
    """
    if starts:
        await _started(trial, when)
    else:
        await trial.restarts.serves()
    after = await _recovered(trial, before)
    trial.restarts.recovered()
    own = trial.own_machines()
    for found in differences(before, after, own=own, moving=moving):
        judged = whole and not (trial.found.large or trial.restarts.elastic)
        if judged or found.machine in own:
            raise Violation(f"{found.wanted}, after {when}", found.got)
    if not trial.found.large:
        trial.restarts.note_inventory(frozenset(after.machines), restarted=True)
    return after


async def _started(trial: Trial, when: object) -> None:
    """Starts the provider, a second time if it ends by itself, as a supervisor would. Raises Violation after that.

    One that only takes too long may have too little of its computer: NotObserved.
    """
    for last in (False, True):
        try:
            await trial.restarts.start(recovered=False)
        except TargetError as error:
            death = trial.restarts.death
            if not death:
                raise NotObserved(f"after {when}, {error.message}") from error
            if last:
                raise Violation(f"the provider to serve again after {when}", death) from error
        else:
            return


async def _recovered(trial: Trial, before: Snapshot) -> Snapshot:
    """Returns the fleet once the provider says that it serves and shows all machines, or when it had time enough."""
    end = trial.client.now() + min(LONGEST_START_S, trial.patience.longest)
    while True:
        serves = trial.found.health != SERVING or await health_status(trial.client) == SERVING
        serves = serves and not await _refuses_mutations(trial)
        call = await trial.client.list(since=trial.found.since)
        listing: pb.MachineList = call.response
        whole = serves and call.answered_ok and before.machines.keys() <= {each.id for each in listing.machines}
        if call.answered_ok and (whole or trial.client.now() >= end):
            return Snapshot.of(listing)
        if trial.client.now() >= end:
            raise NotObserved(f"List answered {call.outcome()} after the restart")
        await asyncio.sleep(PAUSE_S)


async def _refuses_mutations(trial: Trial) -> bool:
    """Returns whether a mutating call is still told to try again. It names an unknown machine, and changes nothing."""
    call = await trial.client.drain(trial.unique("no-such-machine-"), trial.new_shard().next())
    return not call.answered or call.busy


def harmless(machine: Machine) -> Verb:
    """Returns a verb that has no edge from the state of a machine at rest."""
    return Verb.CREATE if machine.state is State.CONFIGURED else Verb.DRAIN
