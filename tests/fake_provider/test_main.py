import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb
from bigfleet.v1alpha1 import provider_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fake_provider.faults import CREATE_FAULTS, FAULT_LABEL

FAULTY = 6
"""The number of slots that the provider adds by default, whose Create fails."""
SERVE = [sys.executable, "-m", "fake_provider", "serve"]


@contextlib.contextmanager
def provider(*options: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    command = [*SERVE, "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line, process.stderr and process.stderr.read()
            yield process, json.loads(line)
        finally:
            process.kill()


@contextlib.contextmanager
def stub_of(startup_message: dict[str, Any]) -> Iterator[Any]:
    with grpc.insecure_channel(startup_message["address"]) as channel:
        yield provider_pb2_grpc.CapacityProviderStub(channel)  # type: ignore[no-untyped-call]


def error_of(*options: str) -> str:
    done = subprocess.run([*SERVE, *options], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_prints_its_address_and_exits_with_0_on_a_signal(number: signal.Signals) -> None:
    with provider("--machines", "7", "--idle", "2", "--no-faults") as (process, startup_message):
        assert startup_message["port"] > 0
        assert startup_message["address"] == f"127.0.0.1:{startup_message['port']}"
        assert startup_message["machines"] == 7
        with stub_of(startup_message) as stub:
            machines = stub.List(pb.ListFilter()).machines
        assert [m.state for m in machines].count(pb.MACHINE_STATE_IDLE) == 2
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 5
        assert process.stdout
        assert process.stdout.read() == ""
        assert process.stderr
        assert process.stderr.read() == ""


def test_a_running_call_finishes_after_the_signal() -> None:
    with (
        provider("--rpc-delay", "1s") as (process, startup_message),
        grpc.insecure_channel(startup_message["address"]) as channel,
    ):
        stub: Any = provider_pb2_grpc.CapacityProviderStub(channel)  # type: ignore[no-untyped-call]
        health = health_pb2_grpc.HealthStub(channel)
        call = stub.List.future(pb.ListFilter())
        health.Check(health_pb2.HealthCheckRequest(), timeout=10)  # not delayed, and sent after the List
        process.send_signal(signal.SIGTERM)
        assert len(call.result(timeout=10).machines) == 64 + FAULTY
        assert process.wait(30) == 0


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_the_state_survives_kill_9(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "state"
    if kind == "file":
        path.touch()
    state = ("--state", str(path), "--idle", "1")
    configure = pb.ConfigureRequest(machine_id="machine-0001", cluster_id="blue", shard_metadata={"a": "b"})
    with provider(*state) as (process, startup_message):
        with stub_of(startup_message) as stub:
            ack = stub.Configure(configure)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    with provider(*state, "--machines", "1") as (process, startup_message):
        assert startup_message["machines"] == 64 + FAULTY
        with stub_of(startup_message) as stub:
            assert stub.Get(pb.MachineRef(id="machine-0001")) == ack.machine
            assert stub.Configure(configure).operation_id == ack.operation_id


def test_delete_and_revisions_can_be_disabled() -> None:
    with provider("--no-delete", "--no-revisions") as (_, startup_message), stub_of(startup_message) as stub:
        assert stub.List(pb.ListFilter()).revision == b""
        with pytest.raises(grpc.RpcError) as caught:
            stub.Delete(pb.DeleteRequest(machine_id="machine-0001"))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_port_in_use_is_a_one_line_error() -> None:
    with provider() as (_, startup_message):
        assert error_of("--port", str(startup_message["port"])).splitlines() == [
            f"fake-provider: cannot listen on 127.0.0.1:{startup_message['port']}: the port is in use,"
            " or the address is not of this machine"
        ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--latency", "soon"], "soon"),
        (["--rpc-delay", "soon"], "soon"),
        (["--state", "{diary}"], "not a fake-provider state file"),
        (["--state", "{diary}/state"], "cannot be created: Not a directory"),
        (["--hosts-log", "{gone}/hosts"], "hosts log"),
        (["--machines", "1", "--idle", "2"], "--idle 2"),
        (["--tls-cert", "{diary}"], "--tls-key"),
        (["--tls-cert", "{diary}", "--tls-key", "{diary}"], "PEM"),
        (["--tls-cert", "{diary}", "--tls-key", "{gone}"], "gone"),
    ],
)
def test_invalid_options_are_a_one_line_error(tmp_path: Path, options: list[str], expected: str) -> None:
    diary = tmp_path / "diary"
    diary.write_text("dear diary, this is neither a database nor a certificate")
    given = (option.format(diary=diary, gone=tmp_path / "gone") for option in options)
    error = error_of("--port", "0", *given)
    assert len(error.splitlines()) == 1, error
    assert expected in error


def test_help_has_examples() -> None:
    done = subprocess.run([*SERVE, "--help"], capture_output=True, text=True, timeout=30, check=True)
    assert "fake-provider serve --state ./fleet" in done.stdout


def test_faults_are_on_by_default_and_each_create_fault_has_its_slots() -> None:
    with provider("--machines", "1") as (_, startup_message), stub_of(startup_message) as stub:
        labels = [machine.labels.get(FAULT_LABEL) for machine in stub.List(pb.ListFilter()).machines]
    assert labels.count(None) == 1
    assert {value: labels.count(value) for value in CREATE_FAULTS} == {"error": 2, "timeout": 2, "slow-ok": 2}


def test_it_says_not_serving_before_it_stops_and_no_call_that_it_took_is_lost() -> None:
    """ROL-1 and ROL-2: each call is answered, or refused with UNAVAILABLE."""

    async def run(process: "subprocess.Popen[str]", address: str) -> tuple[set[grpc.StatusCode], set[int]]:
        codes: set[grpc.StatusCode] = set()
        health_states: set[int] = set()

        async def call(stub: Any, machine: str) -> None:
            while grpc.StatusCode.UNAVAILABLE not in codes:
                try:
                    await stub.Create(pb.CreateRequest(machine_id=machine), timeout=30)
                    codes.add(grpc.StatusCode.OK)
                except grpc.aio.AioRpcError as error:
                    codes.add(error.code())

        async def watch(channel: grpc.aio.Channel) -> None:
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for each in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
                    health_states.add(each.status)
                    if each.status == health_pb2.HealthCheckResponse.SERVING:
                        process.send_signal(signal.SIGTERM)

        async with grpc.aio.insecure_channel(address) as channel:
            stub = provider_pb2_grpc.CapacityProviderStub(channel)  # type: ignore[no-untyped-call]
            calls = (call(stub, f"machine-{number + 1:04}") for number in range(8))
            await asyncio.gather(watch(channel), *calls)
        return codes, health_states

    with provider("--rpc-delay", "20ms") as (process, startup_message):
        codes, health_states = asyncio.run(run(process, startup_message["address"]))
        assert process.wait(30) == 0
    assert codes == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert health_states == {
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    }


def test_an_orderly_stop_cleans_up_failed_machines_and_hosts_and_a_kill_does_not(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    options = ("--state", str(tmp_path / "state"), "--hosts-log", str(hosts), "--idle", "2")
    failing = pb.ConfigureRequest(machine_id="machine-0001", cluster_id="fault-error")

    def restarted_after(number: signal.Signals) -> pb.Machine:
        with provider(*options) as (process, startup_message):
            with stub_of(startup_message) as stub:
                machine: pb.Machine = stub.Get(pb.MachineRef(id="machine-0001"))
                if machine.state == pb.MACHINE_STATE_IDLE:
                    stub.Configure(failing)
                while machine.state in (pb.MACHINE_STATE_IDLE, pb.MACHINE_STATE_CONFIGURING):
                    machine = stub.Get(pb.MachineRef(id="machine-0001"))
            process.send_signal(number)
            process.wait(30)
        return machine

    failed = restarted_after(signal.SIGKILL)
    assert failed.state == pb.MACHINE_STATE_FAILED
    assert failed.host.ref in hosts.read_text().split()
    assert restarted_after(signal.SIGTERM) == failed
    assert len(hosts.read_text().split()) == 2
    cleaned_up = restarted_after(signal.SIGTERM)
    assert cleaned_up.state == pb.MACHINE_STATE_SPECULATIVE
    assert not cleaned_up.last_error
    assert len(hosts.read_text().split()) == 1
    assert failed.host.ref not in hosts.read_text()


def test_two_processes_serve_one_fleet(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path))
    create = pb.CreateRequest(machine_id="machine-0001", shard_id="shard", shard_epoch=1, sequence_number=1)
    with provider(*state) as (_, one), provider(*state) as (_, other), stub_of(one) as first, stub_of(other) as second:
        ack = first.Create(create)
        assert second.Get(pb.MachineRef(id="machine-0001")) == ack.machine
        with pytest.raises(grpc.RpcError) as caught:
            second.Create(create)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        create.sequence_number += 1
        assert second.Create(create) == ack
        assert first.List(pb.ListFilter()) == second.List(pb.ListFilter())
