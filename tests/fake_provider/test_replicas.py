"""Replicas share one store, and behave as one provider (ROL-4)."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.faults import Faults
from fake_provider.fence import Token
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.machine import Machine, State
from fake_provider.request import Ack, Configure, Create, Delete, Drain, Filter, Request
from fake_provider.store import MemoryStore, SqliteStore, Store

MACHINES = ("machine-0001", "machine-0002", "faulty-0001")
SECOND = Latency.every(1.0)


class Hosts:
    """A backend that replicas share; it counts the starts of each host."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.starts: list[str] = []

    def start(self, ref: str) -> None:
        self.running.add(ref)
        self.starts.append(ref)

    def terminate(self, ref: str) -> None:
        self.running.discard(ref)


def core(store: Store, hosts: Hosts | None = None, *, origin: int | None = None) -> Core:
    machines = fleet(2, faulty=1)
    made = Core(machines, latency=SECOND, faults=Faults(timeout=2.0), store=store, backend=hosts)
    if origin is not None:
        made.inventory.origin = origin
    return made


def outcome(call: Callable[[], Ack]) -> Ack | Code:
    try:
        return call()
    except Rejected as rejected:
        return rejected.code


class TwoReplicas(RuleBasedStateMachine):
    """Two replicas, of which a random one gets each call, against one provider that gets all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.stack = ExitStack()
        directory = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.path = directory / "fleet.db"
        self.hosts, self.single_hosts = Hosts(), Hosts()
        self.replicas = [self.open(), self.open()]
        self.single = core(MemoryStore(), self.single_hosts, origin=self.replicas[0].inventory.origin)
        self.cursors: list[bytes] = [b""]

    def open(self) -> Core:
        return core(self.stack.enter_context(closing(SqliteStore(self.path))), self.hosts)

    def call(self, replica: int, request: Request) -> None:
        assert outcome(lambda: self.replicas[replica].mutate(request, self.now)) == outcome(
            lambda: self.single.mutate(request, self.now)
        )

    replica = st.integers(0, 1)
    machine = st.sampled_from(MACHINES)
    token = st.builds(Token, shard=st.sampled_from(["a", "b"]), epoch=st.integers(0, 2), sequence=st.integers(1, 30))
    cluster = st.sampled_from(["blue", "green", "fault-error", "fault-slow-ok", "fault-drain-error"])

    @rule(replica=replica, machine=machine, token=token)
    def create(self, replica: int, machine: str, token: Token) -> None:
        self.call(replica, Create(machine_id=machine, token=token))

    @rule(replica=replica, machine=machine, token=token, cluster=cluster)
    def configure(self, replica: int, machine: str, token: Token, cluster: str) -> None:
        self.call(replica, Configure(machine_id=machine, token=token, cluster=cluster, metadata={"of": cluster}))

    @rule(replica=replica, machine=machine, token=token)
    def drain(self, replica: int, machine: str, token: Token) -> None:
        self.call(replica, Drain(machine_id=machine, token=token))

    @rule(replica=replica, machine=machine, token=token)
    def delete(self, replica: int, machine: str, token: Token) -> None:
        self.call(replica, Delete(machine_id=machine, token=token))

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0]), timers=st.lists(replica, max_size=3))
    def wait(self, seconds: float, timers: list[int]) -> None:
        """Time passes, and the timers of some replicas end transitions; those of the others do so later."""
        self.now += seconds
        for timer in timers:
            self.replicas[timer].advance(self.now)
        self.single.advance(self.now)

    @rule(replica=replica)
    def kill(self, replica: int) -> None:
        """One replica is killed and restarted; the other one serves on."""
        self.replicas[replica] = self.open()

    @rule(replica=replica, cursor=st.integers(0, 99))
    def deltas(self, replica: int, cursor: int) -> None:
        since = Filter(since=self.cursors[cursor % len(self.cursors)])
        listing, expected = (each.list_machines(since, self.now) for each in (self.replicas[replica], self.single))
        assert listing == expected
        self.cursors.append(listing.revision)

    @invariant()
    def both_show_one_fleet(self) -> None:
        expected = [self.single.get(machine, self.now) for machine in MACHINES]
        for replica in self.replicas:
            assert [replica.get(machine, self.now) for machine in MACHINES] == expected

    @invariant()
    def no_host_is_started_twice_or_forgotten(self) -> None:
        assert self.hosts.starts == self.single_hosts.starts
        assert self.hosts.running == self.single_hosts.running

    def teardown(self) -> None:
        self.stack.close()


TestTwoReplicas = TwoReplicas.TestCase
TestTwoReplicas.settings = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


@pytest.fixture
def two(tmp_path: Path) -> Any:
    stores = SqliteStore(tmp_path / "fleet.db"), SqliteStore(tmp_path / "fleet.db")
    yield [core(store) for store in stores]
    for store in stores:
        store.close()


def test_only_one_replica_starts_the_fleet(two: list[Core]) -> None:
    one, other = two
    assert one.machines == other.machines
    assert one.inventory.origin == other.inventory.origin


def test_a_token_passes_at_one_replica_only(two: list[Core]) -> None:
    token = Token(shard="shard", epoch=1, sequence=1)
    assert isinstance(outcome(lambda: two[0].mutate(Create(machine_id=MACHINES[0], token=token), 0.0)), Ack)
    request = Configure(machine_id=MACHINES[0], token=token, cluster="blue")
    assert outcome(lambda: two[1].mutate(request, 9.0)) is Code.FAILED_PRECONDITION


def test_a_replica_ends_the_transition_of_one_that_was_killed(two: list[Core]) -> None:
    two[0].mutate(Create(machine_id=MACHINES[0]), 0.0)
    assert two[1].next_due() is None
    two[1].advance(0.5)
    assert two[1].next_due() == 1.0
    two[1].advance(1.0)
    assert two[1].machines[MACHINES[0]].state is State.IDLE


def test_a_transition_ends_once_though_both_timers_see_it_due(two: list[Core]) -> None:
    settled: list[str] = []

    class Counts(Core):
        def settle(self, machine: Machine) -> Machine:
            settled.append(machine.id)
            return super().settle(machine)

    for replica in two:
        replica.__class__ = Counts
    two[0].mutate(Create(machine_id=MACHINES[0]), 0.0)
    two[1].advance(0.5)
    for replica in (*two, *two):
        replica.advance(1.0)
    assert settled == [MACHINES[0]]
