"""The API for the body of a behaviour: its machines, new shards, unknown ids, and the time to wait."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from conformance.core.errors import NoAnswer, Unprepared
from conformance.core.fencing import Shard
from conformance.core.lifecycle import EDGES, State, Verb, state_of
from conformance.fleet.machine import Machine
from conformance.testkit.hold import Hold

Case = TypeVar("Case")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb
    from hypothesis.strategies import SearchStrategy

    from conformance.core.catalogue import Entry
    from conformance.core.timeouts import Patience
    from conformance.fleet.backend import Backend
    from conformance.fleet.context import FleetContext
    from conformance.fleet.hosts import FleetHosts
    from conformance.fleet.model import FleetModel
    from conformance.fleet.model.expected import Operation
    from conformance.fleet.model.marks import Mark
    from conformance.fleet.needs import RecordingKey, WatchedEdges
    from conformance.fleet.pace import Pace
    from conformance.fleet.pool import Lease, Pool
    from conformance.fleet.restarts import Restarts
    from conformance.results.target_info import TargetInfo
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client

SHORTEST_WINDOW, LONGEST_WINDOW = 0.25, 3.0
PAGE = 2000
"""The number of machines of a large fleet to read if any machines will do."""


# More than 15 attributes: what a body may need to know of its run.
class Trial:
    """The argument of a behaviour's body. The pool cleans up; the body does not have to."""

    def __init__(
        self,
        entry: Entry,
        machines: Sequence[Machine],
        *,
        context: FleetContext,
        pool: Pool,
        found: TargetInfo,
        seed: int,
        fence_scope: str | None = None,
        hold: Hold | None = None,
        examples: int = 25,
        attempt: int = 1,
        late: bool = False,
        watches: WatchedEdges = (),
        recordings: MutableMapping[RecordingKey, Any] | None = None,
        lease: Lease | None = None,
    ) -> None:
        self.entry = entry
        self.machines = tuple(machines)
        self.found = found
        self.fence_scope = fence_scope
        """The fence scope that the user has chosen, if any."""
        self.hold = hold or Hold(0.0, clock=context.client.now)
        """The long-lived state that the run holds until it is checked."""
        self.random = random.Random(f"{seed}/{entry.id}")
        self.watches = watches
        """The edges that the behaviour only observes; empty for any other behaviour."""
        self.recordings: MutableMapping[RecordingKey, Any] = {} if recordings is None else recordings
        """The recordings made in this run so far, by any behaviour."""
        self.examples = examples
        """Maximum number of cases that a property tries."""
        self.attempt = attempt
        """The number of this attempt at the behaviour, from 1."""
        self.late = late
        """True if the kit was too slow in an earlier attempt, so that nothing else runs during this one."""
        self._context = context
        self._pool = pool
        self._lease = lease
        self._name = f"{context.run}-{entry.id.lower()}-{attempt}"
        self._count = 0

    @property
    def client(self) -> Client:
        """The client of the run."""
        return self._context.client

    @property
    def pace(self) -> Pace:
        """The shortest times that the run has seen."""
        return self._context.pace

    @property
    def settings(self) -> object:
        """The settings of the lane whose behaviour this is; each lane knows its own type."""
        return self._context.settings

    @property
    def patience(self) -> Patience:
        """The maximum times to wait for transitions."""
        return self._context.patience

    @property
    def restarts(self) -> Restarts:
        """The restarts of the provider, for a behaviour that declares them."""
        if self._context.restarts is None:
            raise RuntimeError(f"{self.entry.id} does not declare that it restarts the provider")
        return self._context.restarts

    @property
    def backend(self) -> Backend | None:
        """The provider's backend, if the kit may ask it for its hosts."""
        return self._context.backend

    @property
    def hosts_before(self) -> FleetHosts:
        """The hosts of the backend and of the machines when the run began."""
        return self._context.hosts_before

    @property
    def touched(self) -> frozenset[str]:
        """The machines that the run has driven."""
        return self._pool.touched

    @property
    def model(self) -> FleetModel:
        """The model of the fleet."""
        return self._context.model

    @property
    def machine(self) -> Machine:
        """The first machine; the only one of most behaviours."""
        return self.machines[0]

    @property
    def window(self) -> float:
        """Seconds for which a machine must not move: about the provider's slowest transition, within bounds."""
        return min(max(SHORTEST_WINDOW, self.slowest), LONGEST_WINDOW)

    @property
    def slowest(self) -> float:
        """Seconds that the slowest transition of this run has taken; 0 if none has ended yet."""
        return self._context.meter.slowest

    @property
    def transitions(self) -> int:
        """The number of transitions that this run has started."""
        return self._context.meter.transitions

    @property
    def bound(self) -> frozenset[str]:
        """The machines that this run has bound at least once."""
        return self._context.meter.bound

    def note(self, text: str) -> None:
        """Adds a line to the report, about something that is measured and not judged."""
        self._context.note(text)

    def unique(self, what: str) -> str:
        """Returns a name that was never used before."""
        self._count += 1
        return f"{self._name}-{what}{self._count}"

    def owners(self, call: Call) -> frozenset[str]:
        """Returns the machines of this run, of any behaviour, whose acks had the operation id of `call`."""
        return self._context.meter.owners(call.operation_id)

    def own_machines(self) -> frozenset[str]:
        """Returns the machines that only the kit drives, whatever state they are in."""
        return self._context.model.owned

    def without_delete(self) -> tuple[str, ...]:
        """Returns the machines of this run whose Delete was answered UNIMPLEMENTED at rest in IDLE."""
        return self._pool.without_delete

    def new_shard(self) -> Shard:
        """Returns a shard that is new to the provider."""
        return Shard(self.unique("s"))

    def oldest_marks(self, count: int) -> Sequence[tuple[Machine, Verb, Mark]]:
        """Returns marks of this run, half of them the oldest, the others of any age.

        Each with a machine that is at rest or does not exist, and a call that starts nothing there, whatever its token.
        """
        machines = self._pool.at_rest() | {machine.id: machine for machine in self.machines}
        passed = self._context.model.passed()
        # An empty id may be refused before the fence looks at the token (COD-4).
        marks = [(machines[each], mark) for each, mark in passed if each and each in machines]
        others = marks[count // 2 :]
        chosen = marks[: count // 2] + self.random.sample(others, min(len(others), count - count // 2))
        return [(m, Verb.CREATE if m.state is State.CONFIGURED else Verb.DRAIN, mark) for m, mark in chosen]

    def resting_since(self, machine: Machine) -> float:
        """Returns the time since which the machine is known to rest where it is; now, if it is not known."""
        known = self._context.model.resting(machine.id)
        return known.by.ended if known is not None and known.by is not None else self.client.now()

    def oldest_operations(self, count: int) -> Sequence[tuple[Machine, Operation]]:
        """Returns the oldest operations whose machines have rested since and got no other call, with these machines."""
        machines = self._pool.at_rest() | {machine.id: machine for machine in self.machines}
        known = ((machine, self._context.model.untouched_operation(machine.id)) for machine in machines.values())
        found = [(machine, operation) for machine, operation in known if operation is not None]
        return sorted(found, key=lambda item: item[1].ack.ended)[:count]

    def stranger(self, machine_id: str | None = None) -> Machine:
        """Returns a machine that does not exist. Its calls are in the ledger too, because a provider may create it."""
        machine = Machine(
            machine_id if machine_id is not None else self.unique("no-such-machine-"),
            self._context,
            number=-self._count,
            home=State.UNSPECIFIED,
            shard=self.new_shard(),
        )
        self._pool.add_unleased(machine)
        return machine

    def slot(self, machine_id: str) -> Machine:
        """Returns a machine for a slot that no lease takes, because its Create is meant to fail.

        The pool cleans it up at the end of the run.
        """
        self._count += 1
        machine = Machine(machine_id, self._context, number=-self._count, shard=self.new_shard())
        self._pool.add_unleased(machine)
        return machine

    async def replace(self, failed: Machine, start: State) -> Machine:
        """Returns another machine in place of one that rests in FAILED. Raises Shortage without one."""
        if self._lease is None:
            raise RuntimeError(f"{self.entry.id} has no lease")
        other = await self._pool.exchange(self._lease, failed, start)
        self.machines = tuple(other if each is failed else each for each in self.machines)
        return other

    # Preparation. These methods do not judge: a behaviour is Unprepared if what it relies on does not work.

    async def bring(self, machine: Machine, to: State) -> pb.Machine:
        """Drives a machine to a stable state. Raises Unprepared if it does not get there."""
        return await machine.drive_to(to)

    async def bind(self, machine: Machine, *, cluster: str, metadata: Mapping[str, str] | None = None) -> Call:
        """Configures an IDLE machine and waits until it is CONFIGURED. Raises Unprepared if it does not get there."""
        return await self.drive(machine, Verb.CONFIGURE, machine.configure(cluster=cluster, metadata=metadata))

    async def drive(self, machine: Machine, verb: Verb, awaitable: Awaitable[Call] | None = None) -> Call:
        """Drives the machine along one edge and waits for its end. Raises Unprepared if it does not get there."""
        call = await (awaitable if awaitable is not None else machine.call(verb))
        if not call.ok:
            raise Unprepared(f"{verb.value} of {machine.id} answered {call.outcome()}")
        result = await machine.settle()
        if result.state is not EDGES[verb].target:
            raise Unprepared(f"{machine.id} is {result.state.name} after {verb.value}")
        return call

    async def begin(self, machine: Machine, verb: Verb, awaitable: Awaitable[Call] | None = None) -> Call:
        """Sends the call of one edge without waiting for its end. Raises Unprepared if the call is refused."""
        call = await (awaitable if awaitable is not None else machine.call(verb))
        if not call.ok:
            raise Unprepared(f"{verb.value} of {machine.id} answered {call.outcome()}")
        return call

    async def listed(self, machine: Machine, *states: State) -> pb.Machine | None:
        """Returns a machine of this run as a List of `states` (none: all) shows it; None if it is not listed."""
        listing = await self.list(states, since=self.found.since)
        return next((m for m in listing.machines if m.id == machine.id), None)

    async def list(self, states: Iterable[State | int] = (), *, cap: int = 0, since: bytes = b"") -> pb.MachineList:
        """Lists machines. Raises NoAnswer if List is not answered OK."""
        call = await self.client.list(states, cap=cap, since=since)
        if not call.answered_ok:
            raise NoAnswer(f"List answered {call.outcome()}")
        listing: pb.MachineList = call.response
        return listing

    async def some(self) -> Sequence[pb.Machine]:
        """Returns all machines as List shows them; of a large fleet, the uncrowded states and a page of the others."""
        if not self.found.large:
            return [*(await self.list()).machines]
        few = await self.list(self.found.states_to_list(State.IDLE, State.CONFIGURED))
        return [*few.machines, *(await self.list(cap=PAGE)).machines]

    def resting(self) -> Mapping[str, int]:
        """Returns the machines that no behaviour drives now: the argument for `driven_elsewhere` after some reads."""
        return self._pool.resting()

    def driven_elsewhere(self, resting: Mapping[str, int]) -> frozenset[str]:
        """Returns the machines that other behaviours have driven since `resting`, or that they left unrestored.

        The fields of such a machine may be the consequence of an odd call, which its own behaviour judges.
        """
        return self._pool.driven_since(resting) - {machine.id for machine in self.machines}

    async def undisturbed(self) -> Sequence[pb.Machine]:
        """Returns the machines of `some`, without those that other behaviours drive meanwhile."""
        resting = self.resting()
        machines = await self.some()
        elsewhere = self.driven_elsewhere(resting)
        return [machine for machine in machines if machine.id not in elsewhere]

    async def changed(self) -> Sequence[pb.Machine]:
        """Returns all machines that this run may have changed or created, as List shows them, and possibly others."""
        since = self.found.since
        return [*(await self.list(() if since else self.found.states_to_list(), since=since)).machines]

    async def in_motion(self, machine: Machine, verb: Verb) -> bool:
        """Returns whether `verb`'s transition is still running. A fast provider may never show it."""
        return state_of((await machine.read()).state) is EDGES[verb].via

    async def explore(
        self,
        strategy: SearchStrategy[Case],
        judge: Callable[[Case], Awaitable[None]],
        *,
        examples: int | None = None,
    ) -> None:
        """Judges cases drawn from `strategy`, at most `--examples` of them; raises the smallest Violation."""
        from conformance.testkit.properties import (
            check_property,  # Hypothesis is slow to import, and few behaviours need it
        )

        await check_property(strategy, judge, examples=examples or self.examples, seed=self.random.getrandbits(64))

    # Concurrent calls.

    @asynccontextmanager
    async def connections(self, count: int) -> AsyncIterator[Sequence[Client]]:
        """Yields `count` clients, each over a connection of its own, all connected.

        Raises NotObserved if one of them cannot connect.
        """
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(self.client.another()) for _ in range(count)]
            waits = (client.wait_until_connected() for client in clients)
            results = await asyncio.gather(*waits, return_exceptions=True)
            for error in filter(None, results):
                raise error
            yield clients

    async def together(self, count: int, call: Callable[[int], Awaitable[Call]]) -> Sequence[Call]:
        """Runs `call(0)` … `call(count - 1)`, all started at the same moment."""
        gate = asyncio.Event()

        async def one(number: int) -> Call:
            await gate.wait()
            return await call(number)

        tasks = [asyncio.ensure_future(one(number)) for number in range(count)]
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*tasks)
