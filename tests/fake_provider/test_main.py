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
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb
from bigfleet.v1alpha1 import provider_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

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
    with provider("--machines", "7", "--idle", "2") as (process, startup_message):
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
        assert len(call.result(timeout=10).machines) == 64
        assert process.wait(5) == 0


def test_a_state_file_survives_kill_9(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "fleet.db"), "--idle", "1")
    configure = pb.ConfigureRequest(machine_id="machine-0001", cluster_id="blue", shard_metadata={"a": "b"})
    with provider(*state) as (process, startup_message):
        with stub_of(startup_message) as stub:
            ack = stub.Configure(configure)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    with provider(*state, "--machines", "1") as (process, startup_message):
        assert startup_message["machines"] == 64
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


def test_invalid_options_are_a_one_line_error(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    diary.write_text("dear diary, this is neither a database nor a certificate")
    for options, expected in (
        (["--latency", "soon"], "soon"),
        (["--rpc-delay", "soon"], "soon"),
        (["--state", str(diary)], "not a fake-provider state file"),
        (["--machines", "1", "--idle", "2"], "--idle 2"),
        (["--tls-cert", str(diary)], "--tls-key"),
        (["--tls-cert", str(diary), "--tls-key", str(diary)], "PEM"),
        (["--tls-cert", str(diary), "--tls-key", str(tmp_path / "gone")], "gone"),
    ):
        error = error_of("--port", "0", *options)
        assert len(error.splitlines()) == 1, error
        assert expected in error


def test_help_has_examples() -> None:
    done = subprocess.run([*SERVE, "--help"], capture_output=True, text=True, timeout=30, check=True)
    assert "fake-provider serve --state fleet.db" in done.stdout
