"""Records a lifecycle once per run: drives a machine along some edges while it is read, for all observing behaviours.

A behaviour that only observes needs no machine of its own. The first one that watches certain edges drives its machine
along them, and the others judge its recording, because each Create costs the user money.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.core.errors import Unprepared
from conformance.core.lifecycle import EDGES, State, Verb
from conformance.rpc.call import record, recorded_calls
from conformance.testkit import expect
from conformance.testkit.observations import Ack, Observation, Recording
from conformance.testkit.observer import observe

if TYPE_CHECKING:
    from conformance.fleet.needs import WatchedEdges
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

BINDING: Final = (Verb.CONFIGURE, Verb.DRAIN)
LIFE: Final = (Verb.CREATE, *BINDING)
LEAVING: Final = (Verb.DELETE,)
"""The edges that most behaviours watch."""


async def shared_recording(trial: Trial) -> Recording:
    """Returns the recording of the edges that the behaviour watches; makes it first if the behaviour has a machine.

    Raises Unprepared if the machine does not get to the end.
    """
    if trial.machines or trial.watches not in trial.recordings:
        trial.recordings[trial.watches] = await record_machine(trial, trial.watches)
    else:
        for call in trial.recordings[trial.watches].calls:
            record(call)
    recording: Recording = trial.recordings[trial.watches]
    return recording


async def record_machine(trial: Trial, verbs: WatchedEdges) -> Recording:
    """Drives the trial's machine along the edges of `verbs`. Raises Unprepared if it does not get to the end."""
    machine, large, given_up = trial.machine, trial.found.large, trial.machine.record.calls.given_up
    seen = [Observation("Get", await machine.read())]
    acks: list[Ack] = []
    controls: dict[Verb, Call] = {}
    unlisted: list[Call] = []
    spent: list[tuple[Call, Call]] = []

    def note_missing(listing: Call) -> None:
        if all(shown.id != machine.id for shown in listing.response.machines):
            unlisted.append(listing.compact(()))

    for verb in verbs:
        edge = EDGES[verb]
        states = trial.found.states_to_list(edge.via, *{edge.source, edge.target} - {State.SPECULATIVE})
        controls[verb] = await machine.call(Verb.DRAIN if verb is Verb.CREATE else Verb.CREATE)
        # Neither call starts anything, in flight or at the target: a retry, and one that has no edge.
        inert = (verb, Verb.DRAIN if verb in (Verb.CREATE, Verb.DELETE) else Verb.CREATE)
        async with observe(trial, machine, states=states, enough=edge.via, each=note_missing) as observations:
            edge_acks = [Ack(verb, await trial.begin(machine, verb))]
            in_flight = [await machine.call(each, trial.new_shard()) for each in inert]
            edge_acks.append(Ack(verb, in_flight[0], "in flight"))
            await trial.bring(machine, edge.target)
        seen += [*observations.all, Observation("Get", await machine.read())]
        edge_acks.append(Ack(verb, await machine.call(verb), "at rest"))
        spent += [(call, await machine.call(each, call.token)) for each, call in zip(inert, in_flight, strict=True)]
        acks += [ack for ack in edge_acks if ack.call.ok]  # OPS-2 judges a refused retry
    if machine.record.calls.given_up > given_up:
        # Each behaviour that judges the recording would take the second Configure for the first one.
        raise Unprepared(f"a Configure of {machine.id} was given up")
    for control in (*controls.values(), *(call for pair in spent for call in pair)):
        await expect.answered(control)  # other behaviours judge this recording, which must be complete
    for ack in acks:
        retry = ack.when and f", sent again {ack.when},"
        seen.append(Observation(f"the ack of {ack.verb.value}{retry}", ack.call.response.machine))
    return Recording(
        machine=machine.id,
        seen=tuple(seen),
        acks=tuple(acks),
        controls=controls,
        unlisted=None if large else tuple(unlisted),
        calls=recorded_calls(),
        spent=tuple(spent),
    )
