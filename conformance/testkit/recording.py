"""Records a lifecycle: takes a machine along some edges while it is read, once in a run, for all that only observe.

A behaviour that changes nothing needs no machine of its own. The first one that watches certain edges takes its machine
along them, and the others judge the recording: a Create costs somebody money.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.core.lifecycle import EDGES, State, Verb
from conformance.rpc.call import heard, record
from conformance.testkit.observations import Ack, Observation, Recording
from conformance.testkit.observer import observe

if TYPE_CHECKING:
    from conformance.fleet.needs import Watched
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
    if trial.machines or trial.watches not in trial.passages:
        trial.passages[trial.watches] = await record_machine(trial, trial.watches)
    else:
        for call in trial.passages[trial.watches].calls:
            record(call)
    return trial.passages[trial.watches]


async def record_machine(trial: Trial, verbs: Watched) -> Recording:
    """Takes the trial's machine along the edges of `verbs`. Raises Unprepared if it does not get to the end."""
    machine, large = trial.machine, trial.found.large
    seen = [Observation("Get", await machine.read())]
    acks: list[Ack] = []
    controls: dict[Verb, Call] = {}
    unlisted: list[Call] = []

    def look(listing: Call) -> None:
        if all(shown.id != machine.id for shown in listing.response.machines):
            unlisted.append(listing.remembered(()))

    for verb in verbs:
        edge = EDGES[verb]
        states = trial.found.states_to_list(edge.via, *{edge.source, edge.target} - {State.SPECULATIVE})
        controls[verb] = await machine.call(Verb.DRAIN if verb is Verb.CREATE else Verb.CREATE)
        async with observe(trial, machine, states=states, enough=edge.via, each=look) as sightings:
            given = [Ack(verb, await trial.begin(machine, verb)), Ack(verb, await machine.call(verb), "in flight")]
            await trial.bring(machine, edge.target)
        seen += [*sightings.all, Observation("Get", await machine.read())]
        given.append(Ack(verb, await machine.call(verb), "at rest"))
        acks += [ack for ack in given if ack.call.ok]  # a refused repetition is for OPS-2 to judge
    for ack in acks:
        again = ack.when and f", sent again {ack.when},"
        seen.append(Observation(f"the ack of {ack.verb.value}{again}", ack.call.response.machine))
    return Recording(machine.id, tuple(seen), tuple(acks), controls, None if large else tuple(unlisted), heard())
