"""The options for a provider that the kit starts: what they mean together, and which of them exclude each other."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from conformance.core.command_line import CommandLine
from conformance.core.errors import UsageError
from conformance.fleet.control import OutsideCommands, ReplicaCommand
from conformance.frontends.cli.commands.run import parse_run
from conformance.frontends.cli.provider_options import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.frontends.settings import Settings

SERVE = "my-provider --port {port} --state {dir}"
OUTSIDE = ["--start-cmd", "start", "--stop-cmd", "stop", "--kill-cmd", "kill"]


def settings(*arguments: str) -> Settings:
    """Returns the settings of a run without configuration file and environment."""
    return parse_run(list(arguments), alone=True)


def test_a_provider_command_needs_no_target() -> None:
    run = settings("--provider-cmd", SERVE)
    assert isinstance(run.control.provider, CommandLine)
    assert run.target is not None
    assert run.target.address == f"127.0.0.1:{run.control.port}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", int(run.control.port)))


@pytest.mark.parametrize(
    ("target", "address"),
    [("localhost:{port}", "localhost:{}"), ("[::1]:9000", "[::1]:9000"), ("unix:/tmp/socket", "unix:/tmp/socket")],
)
def test_a_target_says_how_the_started_provider_is_reached(target: str, address: str) -> None:
    run = settings("--provider-cmd", "my-provider", "--target", target)
    assert run.target is not None
    assert run.target.address == address.format(run.control.port)


def test_each_replica_has_a_port_of_its_own() -> None:
    run = settings("--replica-cmd", SERVE, "--replicas", "4", "--next-cmd", "my-provider-2 --port {port}")
    assert isinstance(run.control.provider, ReplicaCommand)
    assert run.target is not None
    assert run.target.address == f"127.0.0.1:{run.control.port}"
    assert len({run.control.port, *run.control.provider.ports}) == 5
    assert run.control.next_version is not None


def test_replicas_behind_a_balancer_of_the_user_have_its_ports() -> None:
    run = settings("--replica-cmd", SERVE, "--replica-ports", "9001, 9002", "--target", "10.0.0.7:443")
    assert isinstance(run.control.provider, ReplicaCommand)
    assert run.control.provider.ports == ("9001", "9002")
    assert run.control.provider.balanced
    assert run.target is not None
    assert run.target.address == "10.0.0.7:443"


def test_a_provider_elsewhere_has_three_commands_and_a_target() -> None:
    run = settings("--target", "10.0.0.7:9000", *OUTSIDE, "--hosts-cmd", "hosts {port}")
    assert isinstance(run.control.provider, OutsideCommands)
    assert run.control.hosts is not None
    assert run.control.port == "9000"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--provider-cmd", SERVE, "--replica-cmd", SERVE], "--provider-cmd and --replica-cmd exclude each other"),
        (["--replica-cmd", "my-provider"], "--replica-cmd without {port}"),
        (["--replica-cmd", SERVE, "--replica-ports", "9001,9002"], "--replica-ports without --target"),
        (["--target", "h:1", "--replica-ports", "9001,9002"], "--replica-ports without --replica-cmd"),
        (["--replica-cmd", SERVE, "--replica-ports", "9001,x", "--target", "h:1"], "not a list of ports"),
        (["--replica-cmd", SERVE, "--replica-ports", "1,70000", "--target", "h:1"], "not a list of ports"),
        (["--replica-cmd", SERVE, "--replica-ports", "9001,9001", "--target", "h:1"], "two different ports"),
        (["--replica-cmd", SERVE, *OUTSIDE], "--replica-cmd and --start-cmd exclude each other"),
        (["--target", "10.0.0.7:9000", "--next-cmd", SERVE], "--next-cmd without a provider that the kit may restart"),
        (["--provider-cmd", SERVE, "--fake"], "--provider-cmd and --fake exclude each other"),
        (["--fake", "--hosts-cmd", "hosts"], "--hosts-cmd and --fake exclude each other"),
        (["--provider-cmd", SERVE, *OUTSIDE], "--provider-cmd and --start-cmd exclude each other"),
        (["--target", "a:1", *OUTSIDE[:2]], "--start-cmd without --stop-cmd"),
        (["--target", "a:1", *OUTSIDE[2:]], "--stop-cmd without --start-cmd"),
        (OUTSIDE, "no target"),
        (["--provider-cmd", "serve {host}"], "--provider-cmd: unknown placeholder {host}"),
        (["--provider-cmd", SERVE, "--target", "{host}:1"], "--target: unknown placeholder {host}"),
        (["--provider-cmd", SERVE, "--target", "unix:/s"], "--provider-cmd uses {port}, and --target has no port"),
        (["--provider-cmd", SERVE, "--start-timeout", "soon"], "soon"),
    ],
)
def test_options_that_contradict_each_other_are_a_usage_error(arguments: list[str], problem: str) -> None:
    with pytest.raises(UsageError) as raised:
        settings(*arguments)
    assert problem in raised.value.message


def configured(directory: Path, text: str, *arguments: str) -> Settings:
    """Returns the settings of a run with this configuration file."""
    path = directory / "conformance.toml"
    path.write_text(text)
    return parse_run(["--config", str(path), *arguments])


def test_the_command_line_takes_precedence_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    serve, target = f"provider-cmd = '{SERVE}'\n", "target = '10.0.0.7:9000'\n"
    assert configured(tmp_path, serve).control.provider is not None
    assert configured(tmp_path, serve, "--target", "a:1").control.provider is None
    assert configured(tmp_path, serve, "--target", "a:{port}").control.provider is not None
    assert configured(tmp_path, serve, "--fake").target is None
    assert isinstance(configured(tmp_path, serve, "--replica-cmd", SERVE).control.provider, ReplicaCommand)
    assert configured(tmp_path, f"replica-cmd = '{SERVE}'\n", "--target", "a:1").control.provider is None
    started = configured(tmp_path, target, "--provider-cmd", SERVE)
    assert started.target is not None
    assert started.target.address.startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("hosts-cmd = 'a {b}'", "conformance.toml:1: hosts-cmd: --hosts-cmd: unknown placeholder {b}"),
        ("stop-timeout = 'x'", "conformance.toml:1: stop-timeout"),
    ],
)
def test_an_error_in_the_file_names_the_line(line: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        configured(tmp_path, line)
    assert problem in raised.value.message


def test_free_ports_are_not_those_of_clients() -> None:
    assert all(10_000 <= free_port() < 32_768 for _ in range(20))
