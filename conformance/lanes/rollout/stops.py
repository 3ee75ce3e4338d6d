"""Stops the provider in an orderly way, and judges afterwards what it had acknowledged before and meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from conformance.core.errors import NotObserved, StillRunning, Violation
from conformance.core.fencing import Token
from conformance.core.lifecycle import Verb
from conformance.fleet.model.marks import PASSED
from conformance.testkit import expect
from conformance.testkit.outcome import go_on, judge
from conformance.testkit.restarted import METADATA, Edge, harmless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.testkit.trial import Trial

LAG_EVERY_S: Final = 0.05
"""The pause between two looks at the kit's own delay."""
MAX_LAG_S: Final = 0.03
"""The mean delay above which a provider that ends late may be waiting for the processor."""
ENDS: Final = "ROL-1"
"""The clause that judges whether the provider ends in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """A call whose transition may have run when the provider was stopped. `when` continues "after"."""

    when: str
    verb: Verb
    retry: bool = False
    at_end: bool = False
    orderly: bool = True

    def __str__(self) -> str:
        return f"{self.when} and a retry of {self.verb.value}" if self.retry else self.when


async def stop(trial: Trial, *, upgrade: bool = False) -> float:
    """Stops the provider; returns the seconds that it took. With `upgrade`, the next start is of the newer version.

    Raises Violation if it does not end in time, or NotObserved where another clause is judged, or this computer is too
    busy to tell.
    """
    restarts, lag = trial.restarts, Lag()
    try:
        async with lag:
            return await (restarts.stop_for_upgrade() if upgrade else restarts.stop())
    except StillRunning as error:
        if lag.mean > MAX_LAG_S:
            busy = f"this computer is too busy to tell why: the kit itself waits {lag.mean * 1000:.0f} ms for its turn"
            raise NotObserved(f"{error.message}; {busy}") from error
        if trial.entry.clause.id != ENDS:
            raise NotObserved(error.message) from error
        raise Violation(
            "the provider to end within its grace period when it is asked to stop", error.message
        ) from error


class Lag:
    """Measures how late the kit itself gets its turn while the body runs: a provider that it has started does too."""

    def __init__(self) -> None:
        self._late, self._count = 0.0, 0
        self._task: asyncio.Task[None] | None = None

    @property
    def mean(self) -> float:
        """The mean delay in seconds."""
        return self._late / max(1, self._count)

    async def __aenter__(self) -> Lag:
        self._task = asyncio.create_task(self._measure())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _measure(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            due = now() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self._late += max(0.0, now() - due)
            self._count += 1


@asynccontextmanager
async def stopping(trial: Trial) -> AsyncIterator[asyncio.Future[float]]:
    """Stops the provider while the body runs; returns when it has ended. See `stop`."""
    task = asyncio.ensure_future(stop(trial))
    try:
        yield task
    finally:
        await asyncio.wait({task})
    task.result()


@dataclass(frozen=True, slots=True, kw_only=True)
class AtRest:
    """A fleet at rest: what Get showed, and the calls that have led there."""

    seen: Sequence[tuple[Machine, pb.Machine]]
    sent: Sequence[tuple[Edge, Call]]


async def at_rest(trial: Trial, drained: Machine, bound: Machine) -> AtRest:
    """Drains one machine and binds the other one, and returns them at rest."""
    await trial.bind(drained, cluster=trial.unique("c"))
    values = {"cluster": trial.unique("rests"), "metadata": dict(METADATA)}
    edges = [Edge.of(trial, drained, Verb.DRAIN), Edge(machine=bound, verb=Verb.CONFIGURE, values=values)]
    sent = [(edge, await trial.drive(edge.machine, edge.verb, edge.send())) for edge in edges]
    return AtRest(seen=[(machine, await machine.read()) for machine in (drained, bound)], sent=sent)


async def is_as_it_was(rest: AtRest, when: str) -> None:
    """Expects the machines as they were, and the same operation ids of repeated calls."""
    for machine, was in rest.seen:
        expect.same(was, await machine.read(), what=f"{machine.id} after {when}")
    for edge, first in rest.sent:
        again = await expect.answered(edge.send())
        expect.fact(
            again.ok and again.operation_id == first.operation_id,
            wanted=f"the repeated {edge.verb.value} of {edge.machine.id} to have operation id"
            f" {first.operation_id!r} after {when}",
            got=again.outcome(),
            calls=[first, again],
        )


async def has_new_ids(trial: Trial, rest: AtRest, when: str) -> None:
    """Drives the machines on, and expects operation ids that were never used before."""
    verbs = (Verb.CONFIGURE, Verb.DRAIN)
    for (machine, _), verb in zip(rest.seen, verbs, strict=True):
        call = await trial.drive(machine, verb)
        expect.fact(
            not trial.model.has_used_twice(call.operation_id),
            wanted=f"a new operation id for {verb.value} of {machine.id} after {when}",
            got=f"{call.operation_id!r}, which was used before",
            calls=[call],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMarks:
    """Marks that calls without an effect have set, and marks that the run has set earlier."""

    set_now: Sequence[tuple[Machine, Verb, Token]] = ()
    earlier: Sequence[tuple[Machine, Verb, Token]] = field(default=(), repr=False)


EARLIER_MARKS: Final = 8
"""The number of earlier marks that are asked again."""


async def marks_of(trial: Trial, machines: Sequence[Machine]) -> KnownMarks:
    """Sets marks on machines that stay at rest with new shards, and returns them with some earlier ones of the run."""
    found = []
    for number in range(3):
        shard = trial.new_shard()
        for place, machine in enumerate(machines):
            token, verb = shard.token(epoch=3 + number, sequence=40 + place), harmless(machine)
            if (await expect.answered(machine.call(verb, token))).code in PASSED:
                found.append((machine, verb, token))
    moving = {machine.id for machine in trial.machines} - {machine.id for machine in machines}
    old = trial.oldest_marks(EARLIER_MARKS)
    earlier = [(machine, verb, mark.token) for machine, verb, mark in old if machine.id not in moving]
    return KnownMarks(set_now=found, earlier=earlier)


async def marks_hold(marks: KnownMarks) -> None:
    """Expects old tokens to be fenced, and newer ones to pass."""
    for machine, verb, token in (*marks.set_now, *marks.earlier):
        await expect.fenced(machine.call(verb, token))
    for machine, verb, token in marks.set_now:
        await expect.fenced(machine.call(verb, Token(token.shard, token.epoch - 1, token.sequence + 100)))
        await expect.fenced(machine.call(verb, Token(token.shard, token.epoch, token.sequence - 30)))
    for number, (machine, verb, token) in enumerate(marks.set_now):
        await expect.accepted(machine.call(verb, Token(token.shard, token.epoch, token.sequence + 50 + number)))


async def judge_all(
    trial: Trial, sent: Sequence[tuple[Edge, Call]], before: dict[str, pb.Machine], when: str
) -> list[Machine]:
    """Judges the machine of each call, every other one after a retry; returns machines at the far ends of the edges."""
    machines = []
    for number, (edge, call) in enumerate(sent):
        moment = Interrupted(when=when, verb=edge.verb, retry=bool(number % 2))
        shown = await judge(trial, edge, moment, call, before[edge.machine.id])
        machines.append(await go_on(trial, edge, shown))
    return machines
