"""The stacks with a journal: what they have acknowledged survives a kill, except with a faulty journal."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb
from bigfleet.v1alpha1 import provider_pb2_grpc

from conformance.rpc.env_proxy import NO_ENV_PROXY
from tests.stacks.stacks import BUILD_LIMIT, DURABLE, FAULTY_JOURNALS, STACKS, Stack, serving
from tests.stacks.test_stacks import chosen, first_cause, parameters, problems, ready, reported, some

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METADATA = {"": "", "k\0": "\x01", "Ä": "A\u0308", "line\u2028": "\U0001f9ff\n"}
STACKS_WITH_JOURNAL = [stack for stack in STACKS if stack.name in DURABLE]
JUDGED = [stack for stack in chosen() if stack.name in DURABLE]
"""The stacks that the durability lane judges; in CI those that build fast."""

pytestmark = pytest.mark.timeout(BUILD_LIMIT + 300)


@contextmanager
def killed_after(stack: Stack, directory: Path, journal: str = "") -> Iterator[Any]:
    """Yields a stub of the provider, which is killed at the end."""
    options = {"state": directory, "journal": journal, "log": directory / "provider.log"}
    with (
        serving(ready(stack), latency=0.05, **options) as address,  # type: ignore[arg-type]
        grpc.insecure_channel(address, options=NO_ENV_PROXY) as channel,
    ):
        yield provider_pb2_grpc.CapacityProviderStub(channel)  # type: ignore[no-untyped-call]


def token(sequence: int) -> dict[str, Any]:
    return {"shard_id": "shard", "shard_epoch": 1, "sequence_number": sequence}


def settled(stub: Any) -> pb.Machine:
    while True:
        machine: pb.Machine = stub.Get(pb.MachineRef(id="slot-00001"), timeout=30)
        if machine.state in (pb.MACHINE_STATE_SPECULATIVE, pb.MACHINE_STATE_IDLE, pb.MACHINE_STATE_CONFIGURED):
            return machine


def bound(stub: Any) -> pb.TransitionAck:
    """Creates and binds a machine; returns the ack of the Configure, which is the last answer."""
    stub.Create(pb.CreateRequest(machine_id="slot-00001", **token(1)), timeout=30)
    settled(stub)
    ack: pb.TransitionAck = stub.Configure(
        pb.ConfigureRequest(machine_id="slot-00001", cluster_id="blue", shard_metadata=METADATA, **token(2)),
        timeout=30,
    )
    return ack


@pytest.mark.parametrize("stack", [parameters(stack) for stack in STACKS_WITH_JOURNAL])
def test_all_that_was_acknowledged_survives_a_kill(stack: Stack, tmp_path: Path) -> None:
    with killed_after(stack, tmp_path) as stub:
        ack = bound(stub)
    with killed_after(stack, tmp_path) as stub:
        machine = settled(stub)
        assert machine.state == pb.MACHINE_STATE_CONFIGURED
        assert machine.host == ack.machine.host
        assert dict(machine.shard_metadata) == METADATA
        configure = pb.ConfigureRequest(machine_id="slot-00001", cluster_id="blue", **token(2))
        with pytest.raises(grpc.RpcError) as caught:
            stub.Configure(configure, timeout=30)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        configure.sequence_number = 3
        assert stub.Configure(configure, timeout=30).operation_id == ack.operation_id
        other = stub.Create(pb.CreateRequest(machine_id="slot-00002", **token(1)), timeout=30)
        assert other.operation_id not in ("", ack.operation_id)


@pytest.mark.parametrize("stack", [parameters(stack) for stack in STACKS_WITH_JOURNAL])
def test_an_entry_that_a_kill_cut_off_is_dropped(stack: Stack, tmp_path: Path) -> None:
    with killed_after(stack, tmp_path) as stub:
        bound(stub)
    journal = tmp_path / "journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines()[0][:40])
    with killed_after(stack, tmp_path) as stub:
        assert settled(stub).state == pb.MACHINE_STATE_CONFIGURED
        stub.Drain(pb.DrainRequest(machine_id="slot-00001", **token(9)), timeout=30)
    with killed_after(stack, tmp_path) as stub:
        assert settled(stub).state == pb.MACHINE_STATE_IDLE


@pytest.mark.parametrize(
    ("stack", "journal"), [parameters(stack, journal) for stack in STACKS_WITH_JOURNAL for journal in FAULTY_JOURNALS]
)
def test_a_faulty_journal_loses_the_last_answer(stack: Stack, journal: str, tmp_path: Path) -> None:
    with killed_after(stack, tmp_path, journal) as stub:
        bound(stub)
    with killed_after(stack, tmp_path) as stub:
        assert settled(stub).state != pb.MACHINE_STATE_CONFIGURED


def lane(stack: Stack, directory: Path, journal: str = "") -> dict[str, Any]:
    """Returns the report of the durability lane on a provider that the kit starts, kills and starts again."""
    it = ready(stack)
    options = ["--port", "{port}", "--state", "{dir}", "--machines", "64", "--latency", "0.2"]
    line = f"cd {shlex.quote(str(it.source))} && exec {shlex.join([*map(it.filled, stack.command), *options])}"
    return reported(
        directory / "report",
        *("--lane", "durability", "--provider-cmd", shlex.join(["sh", "-c", line])),
        env=it.environment() | {"JOURNAL": journal},
    )


@pytest.mark.parametrize("stack", [parameters(stack) for stack in JUDGED])
def test_a_provider_that_writes_before_it_answers_conforms(stack: Stack, tmp_path: Path) -> None:
    report = lane(stack, tmp_path)
    assert report["verdict"] == "conformant", problems(report)


@pytest.mark.parametrize(
    ("stack", "journal"), [parameters(stack, journal) for stack in JUDGED for journal in some(stack, FAULTY_JOURNALS)]
)
def test_a_provider_with_a_faulty_journal_breaks_dur_1(stack: Stack, journal: str, tmp_path: Path) -> None:
    report = lane(stack, tmp_path, journal)
    assert report["verdict"] == "non-conformant", problems(report)
    assert first_cause(report) == "DUR-1", problems(report)
