"""Other clients use the same provider at the same time: the verdict is the same, and their machines stay theirs."""

from __future__ import annotations

import random
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from tests.provider_process import IDLE, ROUNDS, SOME, SPECULATIVE, judge, running, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.provider_process import Provider

CONFIGURED = pb.MACHINE_STATE_CONFIGURED
MAX_TENANT_MACHINES = 5
"""The maximum number of machines that the tenant has at a time."""


class Tenant:
    """A shard that creates, binds, drains and deletes machines at random."""

    def __init__(self, provider: Provider, seed: str) -> None:
        self.stub, self.random = provider.stub, random.Random(seed)
        self.held: dict[str, pb.Machine] = {}
        """Its machines, as they were after its last call."""
        self.problems: list[str] = []
        self.steps = 0
        self._shard = f"tenant-{seed}"

    def token(self) -> dict[str, Any]:
        """Returns the next token."""
        self.steps += 1
        return {"shard_id": self._shard, "shard_epoch": 1, "sequence_number": self.steps}

    def settle(self, machine: str, state: int) -> None:
        """Waits until the machine is in this state, and stores it."""
        deadline = time.monotonic() + 20
        while (seen := self.stub.Get(pb.MachineRef(id=machine), timeout=10)).state != state:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{machine} is {seen.state}, not {state}")
            time.sleep(0.002)
        self.held[machine] = seen

    def step(self) -> None:
        """Checks one of its machines and then sends it a call, or creates another machine."""
        machine = self.random.choice([*self.held, ""]) if self.held else ""
        if not machine:
            self.take()
            return
        seen = self.stub.Get(pb.MachineRef(id=machine), timeout=10)
        if seen != self.held[machine]:
            self.problems.append(f"{machine} was changed: {self.held[machine]} is {seen}")
        if seen.state == CONFIGURED and self.random.random() < 0.5:
            self.stub.Drain(pb.DrainRequest(machine_id=machine, **self.token()), timeout=10)
            self.settle(machine, IDLE)
        elif seen.state == IDLE and self.random.random() < 0.5:
            request = pb.ConfigureRequest(machine_id=machine, cluster_id="tenants", **self.token())
            request.shard_metadata["key"] = str(self.steps)
            self.stub.Configure(request, timeout=10)
            self.settle(machine, CONFIGURED)
        elif seen.state == IDLE:
            self.stub.Delete(pb.DeleteRequest(machine_id=machine, **self.token()), timeout=10)
            self.settle(machine, SPECULATIVE)
            del self.held[machine]

    def take(self) -> None:
        """Creates a machine in a free slot."""
        if len(self.held) >= MAX_TENANT_MACHINES:
            return
        free = self.stub.List(pb.ListFilter(states=[SPECULATIVE]), timeout=10).machines
        if free:
            machine = self.random.choice(free).id
            self.stub.Create(pb.CreateRequest(machine_id=machine, **self.token()), timeout=10)
            self.settle(machine, IDLE)

    def run(self, over: threading.Event) -> None:
        """Sends calls until `over` is set."""
        try:
            while not over.wait(0.005):
                self.step()
        except (grpc.RpcError, TimeoutError) as error:
            self.problems.append(str(error))


@contextmanager
def tenant(provider: Provider, seed: str) -> Iterator[Tenant]:
    """Runs a tenant until the context exits."""
    busy, over = Tenant(provider, seed), threading.Event()
    thread = threading.Thread(target=busy.run, args=(over,))
    thread.start()
    try:
        yield busy
    finally:
        over.set()
        thread.join(30)


def shared_providers() -> list[tuple[str, str]]:
    """Returns the number of machines and the latency of the providers that two runs share."""
    if ROUNDS > 4:
        return [(machines, latency) for machines in ("16", "8") for latency in ("0", "100ms", "1s")]
    return [("16", "100ms"), ("8", "100ms")]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("machines", "latency"), shared_providers())
def test_two_runs_share_one_provider(machines: str, latency: str, tmp_path: Path) -> None:
    with serving("--machines", machines, "--no-faults", "--latency", latency) as provider:
        command = ("conformance-run", "--target", provider.address, *SOME, "--report-dir")
        with running(*command, str(tmp_path / "one")) as one, running(*command, str(tmp_path / "two")) as two:
            done = [one.done(150), two.done(150)]
        assert [each.code for each in done] == [0, 0], "\n".join(each.text for each in done)
        assert provider.away() == {}


@pytest.mark.skipif(ROUNDS <= 4, reason="two concurrent runs of the whole suite need CONFORMANCE_ROUNDS=20")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("latency", ["0", "100ms", "1s"])
def test_two_runs_of_the_whole_suite_share_16_machines(latency: str, tmp_path: Path) -> None:
    with serving("--machines", "16", "--no-faults", "--latency", latency) as provider:
        command = ("conformance-run", "--target", provider.address, "--report-dir")
        with running(*command, str(tmp_path / "one")) as one, running(*command, str(tmp_path / "two")) as two:
            done = [one.done(150), two.done(150)]
        assert [each.code for each in done] == [0, 0], "\n".join(each.text for each in done)
        assert provider.away() == {}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("latency", ["0", "100ms"])
def test_a_busy_tenant_is_not_touched_and_does_not_change_the_verdict(latency: str, tmp_path: Path) -> None:
    # Many slots, because two clients that create the same slot at the same time both get OK and cannot notice (OPS-2).
    with serving("--machines", "200", "--no-faults", "--latency", latency) as provider:
        with tenant(provider, latency) as busy:
            done = judge(provider, *SOME, directory=tmp_path, limit=150)
        assert busy.problems == []
        assert done.code == 0, done.text
        assert busy.steps > 5
        assert {i: m for i, m in provider.machines().items() if m.state != SPECULATIVE} == busy.held


def test_a_tenant_that_takes_every_slot_does_not_block_the_run_forever(tmp_path: Path) -> None:
    with serving("--machines", "4", "--latency", "create=300ms") as provider:
        command = ("conformance-run", "--target", provider.address, "--select", "LIF-1a,FEN-3a", "--patience", "2s")
        with running(*command, "--report-dir", str(tmp_path)) as kit:
            assert kit.says("ledger")
            while len(provider.away()) < 4:
                for number, (machine, seen) in enumerate(provider.machines().items(), 1):
                    if seen.state == SPECULATIVE:
                        request = pb.CreateRequest(machine_id=machine, shard_id="greedy", sequence_number=number)
                        provider.stub.Create(request)
            done = kit.done()
        assert done.code in (0, 3), done.text
        assert "FAILED" not in done.out
        assert "Traceback" not in done.text
        assert {m.cluster for m in provider.machines().values()} == {""}
