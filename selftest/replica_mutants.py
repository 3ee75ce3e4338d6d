"""Replicas that do not know of each other what they must know (ROL-4, ROL-5), and unusual ones that conform."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from conformance.lanes.rollout.settings import RolloutSettings
from fake_provider.errors import Code, Rejected
from fake_provider.machine import Host, State, Verb
from fake_provider.servicer import Servicer
from selftest.replicated import ODDITIES, Replica, Replicated, replicated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fake_provider.machine import Machine
    from fake_provider.request import Request

SLOW = "900ms"
"""Longer than an orderly stop."""

ODDITIES["ThreeReplicas"] = Replicated(name="ThreeReplicas", story="Three replicas that all serve.", latency="200ms")
ODDITIES["TwoSlowReplicas"] = Replicated(
    name="TwoSlowReplicas", story="Two replicas with slow transitions.", latency=SLOW, count=2
)


@replicated("ROL-4b")
class MarksPerReplica(Replica):
    """Keeps the marks in the memory of each replica."""

    def synchronize(self) -> None:
        changes = self.store.changes()
        if changes:
            self.inventory.merge(replace(changes, marks={}))


class _Stale(Replica):
    """Not a mutant: does not look at the store each time."""

    seconds = 0.4

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._looked = 0.0
        super().__init__(*arguments, **options)

    @property
    def may_be_stale(self) -> bool:
        """True if the store was looked at a moment ago."""
        return time.monotonic() - self._looked < self.seconds

    def synchronize(self) -> None:
        if not self.may_be_stale:
            self._looked = time.monotonic()
            super().synchronize()


@replicated("ROL-4b")
class MarksAreCached(_Stale):
    """Looks at the store of its fleet every 400 ms, also before it takes a call."""


@replicated("ROL-4c")
class ReadsAreCached(_Stale):
    """Answers reads from a cache that is 400 ms old; mutating calls look at the store."""

    _writing = False

    @property
    def may_be_stale(self) -> bool:
        """True for a read soon after another one."""
        return super().may_be_stale and not self._writing

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        self._writing = True
        try:
            with super().exclusive():
                yield
        finally:
            self._writing = False


@replicated("ROL-4c")
class EachReplicaCountsOperations(Replica):
    """Names operations with a counter of each replica."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        self.kept["operations"] = self.kept.get("operations", 0) + 1
        return f"op-{self.inventory.origin:05x}-{self.kept['operations']}"


@replicated("ROL-4c")
class RetriesAreKnownToOneReplica(Replica):
    """Knows a retry only if the same replica has taken the first call."""

    def retry_of(self, verb: Verb, machine: Machine, request: Request) -> str | None:
        found = super().retry_of(verb, machine, request)
        own = self.kept.setdefault("own", set())
        return found if found is None or found in own else self.new_operation_id(verb, machine)

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        name = super().new_operation_id(verb, machine)
        self.kept.setdefault("own", set()).add(name)
        return name


@replicated("ROL-4c")
class HostsHaveTheNameOfTheReplica(Replica):
    """Shows the host with a prefix of the replica that is asked."""

    def shown_in_get(self, machine: Machine) -> Machine:
        host = machine.host
        if host is None:
            return machine
        return replace(machine, host=Host(provider=host.provider, ref=f"r{self.number}-{host.ref}"))


@replicated("ROL-4a", latency=SLOW)
class AReplicaAbandonsTransitions(Replica):
    """Cancels running transitions when a replica stops; no other one goes on with them."""

    def begin_stop(self) -> None:
        super().begin_stop()
        with self.exclusive():
            for machine in list(self.machines.values()):
                if machine.moving:
                    self.put(replace(machine, operation=None))
            self.commit()


@replicated("ROL-4a", latency=SLOW)
class AReplicaUndoesConfiguresInPart(Replica):
    """Undoes running Configures when a replica stops, and leaves cluster and metadata behind."""

    def begin_stop(self) -> None:
        super().begin_stop()
        with self.exclusive():
            for machine in list(self.machines.values()):
                if machine.state is State.CONFIGURING:
                    self.put(replace(machine, state=State.IDLE, operation=None))
            self.commit()


@replicated("ROL-5a")
class TheStandByReadsAtItsStart(Replica):
    """Knows what the store held when the replica started, and nothing that others have saved since."""

    def synchronize(self) -> None:
        """Does nothing."""


@replicated("ROL-5a")
class TheStandByLags(Replica):
    """Sends changes to the other replicas some time after the ack; a kill loses what was not sent."""

    seconds = 0.5

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._waiting_since = 0.0
        self._begun = False
        super().__init__(*arguments, **options)
        self._begun = True

    def commit(self) -> None:
        if self._begun and self.inventory.unsaved_change() is not None:
            now = time.monotonic()
            self._waiting_since = self._waiting_since or now
            if now - self._waiting_since < self.seconds:
                return
        self._waiting_since = 0.0
        super().commit()


class _Refuses(Servicer):
    """Not a mutant: refuses all calls while its core says so."""

    async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
        def checked() -> Any:
            if getattr(self.core, "refuses", False):
                raise Rejected(Code.UNAVAILABLE, "another replica leads")
            return work()

        return await super().answer(context, checked)


class _Leads(Replica):
    """Not a mutant: one replica leads; another one takes over when it has been silent for `lease` seconds."""

    lease = 1.5

    @property
    def refuses(self) -> bool:
        """True unless this replica leads."""
        now, (leader, until) = time.monotonic(), self.shared.get("leader", (self.number, 0.0))
        if leader == self.number or now > until:
            self.shared["leader"] = (self.number, now + self.lease)
            return False
        return True

    def advance(self, now: float) -> None:
        leader, _ = self.shared.get("leader", (self.number, 0.0))
        if leader == self.number:
            super().advance(now)


LEADER: dict[str, Any] = {"servicer": _Refuses, "serving": {"health": False}, "latency": "200ms"}


@replicated(**LEADER)
class OnlyOneLeads(_Leads):
    """Has one replica that serves; the others refuse all calls with UNAVAILABLE, and take over when it is gone."""


@replicated(settings=RolloutSettings(failover_within=20.0), **LEADER)
class TakesOverSlowly(_Leads):
    """Has a leader with a lease of two seconds, so that a stand-by takes over late, and in time."""

    lease = 2.0


@replicated("ROL-5b", settings=RolloutSettings(failover_within=0.5), **LEADER)
class TakesOverTooLate(_Leads):
    """Has a leader with a lease that is longer than the limit of the user."""

    lease = 2.5


@replicated("ROL-4d", servicer=_Refuses)
class AStopBlocksAllReplicas(Replica):
    """Takes a lock of the whole fleet for four seconds when a replica stops; the others refuse all calls meanwhile."""

    def stop(self) -> None:
        self.shared["locked"] = time.monotonic() + 4.0
        super().stop()

    @property
    def refuses(self) -> bool:
        """True while a replica has the lock."""
        return time.monotonic() < float(self.shared.get("locked", 0.0))
