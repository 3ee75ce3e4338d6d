"""Records all failures of a run at once: each trigger on a machine of its own, while other machines rest.

FAILED machines use up slots, and may cost money. So all behaviours of the lane judge one recording.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from conformance.core.errors import ConformanceError, NotObserved
from conformance.core.lifecycle import EDGES, State, Verb
from conformance.lanes.faults.provoking import Others, Scene, specimen_of
from conformance.lanes.faults.settings import settings_of
from conformance.lanes.faults.specimens import Bystander, Creates, Failures, Specimen
from conformance.rpc.call import CallLog, recording
from conformance.testkit.observer import LONGEST_LAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from conformance.core.fencing import Token
    from conformance.fleet.machine import Machine
    from conformance.lanes.faults.triggers import Trigger
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

SHARED: Final = "failures"
"""The name of the recording."""
SCENES: Final = (
    ("error", 0, 0),
    ("error", 1, 1),
    ("timeout", 0, 1),
    ("slow-ok", 1, 0),
    ("readiness-block", 0, 0),
    ("drain-error", 1, 0),
)
"""The failures of Configure and Drain, each with the lives and bindings that its machine has had before."""
BYSTANDERS: Final = (State.IDLE, State.CONFIGURED)
METADATA: Final = {"owner": "somebody", "note": "as it was"}
MIN_LEASED: Final = len(BYSTANDERS)


def scenes(triggers: Mapping[str, Trigger]) -> tuple[Scene, ...]:
    """Returns the failures to provoke on leased machines: those with a trigger."""
    return tuple(
        Scene(trigger=triggers[name], lives=lives, bindings=bindings)
        for name, lives, bindings in SCENES
        if triggers[name].value
    )


def machines_needed(triggers: Mapping[str, Trigger]) -> int:
    """Returns the number of machines to lease for the recording."""
    return len(BYSTANDERS) + len(scenes(triggers))


async def failures(trial: Trial) -> Failures:
    """Returns the recording; makes it first if the behaviour has machines."""
    key = (SHARED,)
    if trial.machines or key not in trial.recordings:
        try:
            trial.recordings[key] = await _record(trial)
        except ConformanceError as error:
            # Otherwise each behaviour would try the same again, on further machines.
            trial.recordings[key] = Failures(specimens=(), problem=error.message)
            raise
    found: Failures = trial.recordings[key]
    if found.problem:
        raise NotObserved(f"not observed: {found.problem}")
    return found


async def _record(trial: Trial) -> Failures:
    settings = settings_of(trial)
    played = scenes(settings.triggers)
    count = len(BYSTANDERS)
    resting, driven = trial.machines[:count], trial.machines[count:]
    with recording(CallLog()):
        bystanders = [await _before(trial, each, state) for each, state in zip(resting, BYSTANDERS, strict=True)]
        creates, missing = await _slots(trial, (t for t in settings.triggers.values() if t.verb is Verb.CREATE))
        hosts = await _hosts_now(trial) if creates else None
        cast = [*zip(driven, played, strict=True), *creates]
        others = Others(running=len(cast))
        found = await asyncio.gather(
            *(specimen_of(trial, machine, scene, others, watch=settings.watch) for machine, scene in cast)
        )
        after = [await _after(each, before) for each, before in zip(resting, bystanders, strict=True)]
        compared = await _hosts(trial, hosts) if hosts is not None else None
    return Failures(
        specimens=(*found, *missing),
        bystanders=tuple(after),
        hosts=compared,
        machines=(*(machine.id for machine in trial.machines), *(machine.id for machine, _ in creates)),
    )


# Slots whose Create is meant to fail.


async def _slots(
    trial: Trial, triggers: Iterable[Trigger]
) -> tuple[Sequence[tuple[Machine, Scene]], Sequence[Specimen]]:
    """Returns a slot for each trigger, and a specimen of each trigger that has no slot."""
    wanted = [trigger for trigger in triggers if trigger.value]
    listed = (await trial.list([State.SPECULATIVE])).machines if wanted else ()
    found, missing, taken = [], [], set[str]()
    for trigger in wanted:
        key, _, value = trigger.value.partition("=")
        slot = next((m.id for m in listed if m.labels.get(key) == value and m.id not in taken), None)
        scene = Scene(trigger=trigger)
        if slot is None:
            problem = f"no SPECULATIVE machine has {trigger.text}"
            missing.append(Specimen(trigger=trigger, life=scene.life, machine="", problem=problem))
            continue
        taken.add(slot)
        found.append((trial.slot(slot), scene))
    return found, missing


async def _hosts_now(trial: Trial) -> frozenset[str] | None:
    """Returns the hosts that the backend runs; None if it does not say."""
    if trial.backend is None:
        return None
    with suppress(ConformanceError):
        return await trial.backend.hosts()
    return None


async def _hosts(trial: Trial, before: frozenset[str]) -> Creates | None:
    """Returns the hosts before and after, and those that the provider shows; None if one of them does not say."""
    end = trial.client.now() + LONGEST_LAG
    while True:
        listing, after = await trial.client.list(), await _hosts_now(trial)
        if after is None or not listing.answered_ok:
            return None
        shown = frozenset(m.host.ref for m in listing.response.machines if m.host.ref)
        found = Creates(before=before, after=after, shown=shown)
        # A backend may take its time to end a host that was given up.
        if not found.hidden or trial.client.now() >= end:
            return found
        await asyncio.sleep(LONGEST_LAG / 10)


# Bystanders.


async def _before(trial: Trial, machine: Machine, state: State) -> Bystander:
    """Brings a bystander to its state, and returns what it shows there."""
    machine.failure_expected = True  # FLT-6a judges it, and tries again itself
    first: Call | None = None
    if state is State.CONFIGURED:
        first = await trial.bind(machine, cluster=f"{machine.cluster}-rests", metadata=METADATA)
    marks = [await _without_edge(machine, state) for _ in range(2)]
    return Bystander(
        machine=machine.id,
        state=state,
        before=await machine.get(),
        first=first,
        spent=tuple((call, call) for call in marks if call.answered),
    )


async def _after(machine: Machine, bystander: Bystander) -> Bystander:
    """Returns what the bystander shows and answers after the failures."""
    with recording(CallLog(frozenset({machine.id}))) as log:
        try:
            found = await _look(machine, bystander)
        except ConformanceError as error:
            found = replace(bystander, problem=error.message)
    if log.unanswered:
        found = replace(found, problem=f"{log.unanswered[0].rpc} was not answered")
    return replace(found, calls=tuple(log.calls))


async def _look(machine: Machine, bystander: Bystander) -> Bystander:
    after = await machine.get()
    spent = [
        (call, await _without_edge(machine, bystander.state, call.token)) for call, _ in bystander.spent if call.token
    ]
    retry: Call | None = None
    if bystander.first is not None:
        retry = await machine.configure(cluster=bystander.first.request.cluster_id, metadata=METADATA)
    return replace(bystander, after=after, spent=tuple(spent), retry=retry)


async def _without_edge(machine: Machine, state: State, token: Token | None = None) -> Call:
    """Sends a call that starts nothing in this state: it only moves the mark."""
    verb = Verb.DRAIN if state is EDGES[Verb.DRAIN].target else Verb.CREATE
    return await machine.call(verb, token)
