"""Makes one transition fail, and records what the machine shows and answers from then on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from conformance.core.errors import ConformanceError, NoAnswer
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.lanes.faults.specimens import Effect, OnFailed, Reading, Specimen, Views
from conformance.rpc.call import CallLog, recorded_calls, recording
from conformance.testkit.observer import LONGEST_LAG

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.core.fencing import Token
    from conformance.fleet.machine import Machine
    from conformance.lanes.faults.triggers import Trigger
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

FIRST_PAUSE, PAUSE_SHARE = 0.01, 0.06
"""Seconds before the second reading of a transition, and later pauses as a share of the time that it has taken."""
LIST_EVERY: Final = 4
"""The number of Gets for each List of a transition."""
RESTING_PAUSE_SHARE: Final = 0.08
"""The pause between two readings of a FAILED machine, as a share of the time for which it is watched."""
MIN_WATCH: Final = 2.0
"""Minimum seconds for which a FAILED machine is watched."""
WATCH_FACTOR: Final = 1.5
"""A FAILED machine is watched for this multiple of the time that its transition took: a success may come later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One failure to provoke: its trigger, and what happens to the machine before."""

    trigger: Trigger
    lives: int = 0
    """The number of lives that the machine has had before, where the provider has Delete."""
    bindings: int = 0
    """The number of bindings that the machine has had before in this life."""

    @property
    def life(self) -> str:
        """The moment at which it happens."""
        if self.lives:
            return "in the second life"
        return "in the second binding" if self.bindings else "in the first life"


@dataclass(slots=True, kw_only=True)
class Others:
    """The other transitions of the recording that have not ended yet."""

    running: int = 0
    slowest: float = 0.0
    """The longest time that a transition has taken to end in FAILED, in seconds."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, seconds: float) -> None:
        """Notes that one more transition has ended: in FAILED after `seconds`, or in another way (0)."""
        self.running -= 1
        self.slowest = max(self.slowest, seconds)
        if self.running <= 0:
            self.ended.set()


async def specimen_of(trial: Trial, machine: Machine, scene: Scene, others: Others, *, watch: float | None) -> Specimen:
    """Returns the specimen; one with a `problem` if it could not be observed. `watch`: the seconds to watch FAILED."""
    found = Specimen(trigger=scene.trigger, life=scene.life, machine=machine.id)
    provocation = _Provocation(trial, machine, scene, others, watch)
    with recording(CallLog(frozenset({machine.id}))) as log:
        try:
            found = await provocation.run(found)
        except ConformanceError as error:
            found = replace(found, effect=Effect.UNKNOWN, problem=error.message)
        finally:
            provocation.end(0.0)
    if log.unanswered and not found.problem:
        first = log.unanswered[0]
        found = replace(found, effect=Effect.UNKNOWN, problem=f"{first.rpc} was not answered: {first.outcome()}")
    return replace(found, calls=tuple(log.calls[provocation.first_call :]))


class _Provocation:
    """The provocation of one failure. Created and used once."""

    def __init__(self, trial: Trial, machine: Machine, scene: Scene, others: Others, watch: float | None) -> None:
        self._trial, self._machine, self._scene = trial, machine, scene
        self._others, self._watch_seconds = others, watch
        self._verb = scene.trigger.verb
        self._cluster = "" if self._verb is Verb.CREATE else scene.trigger.value
        self._ended = False
        self._cursor = b""
        self.first_call = 0
        """The number of calls before the trigger."""

    def end(self, seconds: float) -> None:
        """Notes that the transition has ended."""
        if not self._ended:
            self._ended = True
            self._others.end(seconds)

    async def run(self, found: Specimen) -> Specimen:
        """Returns the specimen. Raises ConformanceError if the machine does not get to the transition's start."""
        refused = await self._prepare()
        if refused is not None:
            return replace(found, effect=Effect.REFUSED, ack=refused)
        self.first_call = len(recorded_calls())
        if self._trial.found.revisions and not self._trial.found.large:
            self._cursor = (await self._trial.list()).revision
        self._machine.failure_expected = True
        found = await self._provoke(found)
        self.end(found.seconds if found.failed else 0.0)
        if found.effect is Effect.NONE:
            found = await self._look_again(found)
        return await self._examine(found) if found.failed else found

    async def _prepare(self) -> Call | None:
        """Brings the machine to the start of the transition; returns the Configure before a Drain if it was refused."""
        trial, machine = self._trial, self._machine
        if self._verb is Verb.CREATE:
            return None
        for _ in range(self._scene.lives if trial.found.delete else 0):
            await trial.bring(machine, State.SPECULATIVE)
            await trial.bring(machine, State.IDLE)
        for _ in range(self._scene.bindings):
            machine.rename_binding()
            await trial.bring(machine, State.CONFIGURED)
            await trial.bring(machine, State.IDLE)
        if self._verb is Verb.DRAIN:
            call = await machine.configure(cluster=self._cluster)
            if call.answered and not (call.ok or call.busy):
                return call
            await trial.drive(machine, Verb.CONFIGURE, answer(call))
        return None

    # The transition.

    def _call(self, token: Token | None = None) -> Awaitable[Call]:
        """Sends the call that is meant to fail."""
        machine = self._machine
        if self._verb is Verb.CONFIGURE:
            return machine.configure(token, cluster=self._cluster)
        return machine.call(self._verb, token)

    async def _provoke(self, found: Specimen) -> Specimen:
        clock, edge = self._trial.client.now, EDGES[self._verb]
        started = clock()
        ack = await self._call()
        if not ack.answered:
            raise NoAnswer(f"{ack.rpc} was not answered: {ack.outcome()}")
        path = [Reading(where=f"the ack of {ack.rpc}", machine=ack.response.machine, call=ack)] if ack.ok else []
        limit = self._machine.patience.for_verb(self._verb)
        reads = 0
        while True:
            reads += 1
            path.append(await self._get())
            if reads % LIST_EVERY == 0:
                path += await self._listed(edge.via, edge.target, State.FAILED)
            waited = clock() - started
            if (path[-1].where == "Get" and path[-1].state.stable) or waited >= limit:
                break
            await asyncio.sleep(max(FIRST_PAUSE, PAUSE_SHARE * waited))
        return replace(
            found, ack=ack, path=tuple(path), seconds=clock() - started, effect=_effect(self._verb, ack, path[-1])
        )

    async def _look_again(self, found: Specimen) -> Specimen:
        """Watches a machine that has reached its target until all others have ended: it may turn out to have failed."""
        await self._others.ended.wait()
        path = list(found.path)
        for _ in range(4):
            await asyncio.sleep(max(MIN_WATCH / 2, WATCH_FACTOR * self._others.slowest) / 4)
            path.append(await self._get())
            if path[-1].state is State.FAILED:
                return replace(found, path=tuple(path), effect=Effect.FAILED)
        return found

    async def _get(self) -> Reading:
        call = await self._machine.get()
        if not call.answered_ok:
            raise NoAnswer(f"Get of {self._machine.id} answered {call.outcome()}")
        return Reading(where="Get", machine=call.response, call=call)

    async def _listed(self, *states: State) -> list[Reading]:
        """Returns the machine in a List of these states, if it is there. Large fleets are not listed in transit."""
        if self._trial.found.large:
            return []
        call = await self._trial.client.list(states)
        shown = _in(call, self._machine.id)
        return [Reading(where="List", machine=shown, call=call.compact(()))] if shown is not None else []

    # The FAILED machine.

    async def _examine(self, found: Specimen) -> Specimen:
        """Sends calls to the FAILED machine, and watches it."""
        started = self._trial.client.now()
        seconds = self._watch_seconds
        if seconds is None:
            longest = self._machine.patience.for_verb(self._verb)
            seconds = max(MIN_WATCH, min(WATCH_FACTOR * found.seconds, longest))
        rest = [found.path[-1], await self._get()]
        spent = [] if found.ack is None or found.ack.token is None else [found.ack.token]
        stale = [await self._with_token(verb, token) for token in spent for verb in self._verbs()]
        fresh = []
        for verb in self._verbs():
            for cluster in self._targets(verb):
                fresh.append(await self._fresh(verb, cluster, rest[-1]))
                rest.append(fresh[-1].after)
        end = started + seconds
        while (remaining := end - self._trial.client.now()) > 0:
            await asyncio.sleep(min(remaining, max(FIRST_PAUSE, RESTING_PAUSE_SHARE * seconds)))
            rest.append(await self._get())
        views = await self._settled_views()
        rest.append(await self._get())
        return replace(
            found,
            rest=tuple(rest),
            views=views,
            stale=tuple(stale),
            fresh=tuple(fresh),
            waited=self._trial.client.now() - started,
        )

    def _verbs(self) -> Sequence[Verb]:
        """Returns the verbs to try on the FAILED machine, its own first. Delete only where the provider has it."""
        others = (v for v in Verb if v is not self._verb and (v is not Verb.DELETE or self._trial.found.delete))
        return (self._verb, *others)

    def _targets(self, verb: Verb) -> Sequence[str]:
        """Returns the clusters for which to try the verb: a failed Configure for its own one, and for another one."""
        if verb is not Verb.CONFIGURE:
            return ("",)
        other = f"{self._machine.cluster}-after"
        return (self._cluster, other) if self._verb is Verb.CONFIGURE else (other,)

    async def _with_token(self, verb: Verb, token: Token | None, cluster: str = "") -> Call:
        if verb is Verb.CONFIGURE:
            return await self._machine.configure(token, cluster=cluster or f"{self._machine.cluster}-after")
        return await self._machine.call(verb, token)

    async def _fresh(self, verb: Verb, cluster: str, before: Reading) -> OnFailed:
        call = await self._with_token(verb, None, cluster)
        again = None
        if call.answered and not call.ok and not call.fenced and not call.busy and call.token is not None:
            again = await self._with_token(verb, call.token, cluster)
        return OnFailed(verb=verb, before=before, call=call, after=await self._get(), again=again, cluster=cluster)

    async def _settled_views(self) -> Views:
        """Returns the views of the FAILED machine when they agree, or after the longest time that a List may lag."""
        end = self._trial.client.now() + LONGEST_LAG
        while True:
            views = await self._views()
            moved = state_of(views.get.response.state) is not State.FAILED
            if moved or not views.differences or self._trial.client.now() >= end:
                return views
            await asyncio.sleep(LONGEST_LAG / 20)

    async def _views(self) -> Views:
        """Reads the FAILED machine in all ways."""
        get = (await self._get()).call
        lists: dict[str, Callable[[], Awaitable[Call]]] = {
            "List with states=[FAILED]": lambda: self._trial.client.list([State.FAILED])
        }
        if not self._trial.found.large:
            lists["List"] = lambda: self._trial.client.list()
        if self._cursor:
            lists["the delta since before the failure"] = lambda: self._trial.client.list(since=self._cursor)
        listed = {}
        for name, send in lists.items():
            call = await send()
            if call.answered_ok:
                listed[name] = (call.compact(frozenset({self._machine.id})), _in(call, self._machine.id))
        return Views(get=get, listed=listed)


async def answer(call: Call) -> Call:
    """Returns a call that was sent before."""
    return call


def _in(call: Call, machine_id: str) -> pb.Machine | None:
    machines = call.response.machines if call.answered_ok else ()
    return next((shown for shown in machines if shown.id == machine_id), None)


def _effect(verb: Verb, ack: Call, end: Reading) -> Effect:
    edge, state = EDGES[verb], end.state
    if state is State.FAILED:
        return Effect.FAILED
    if not state.stable:
        return Effect.STUCK
    if state is edge.target:
        return Effect.NONE
    if state is edge.source and not ack.ok:
        return Effect.REFUSED
    if verb is Verb.CONFIGURE and state is edge.source:
        return Effect.GIVEN_UP
    return Effect.ELSEWHERE
