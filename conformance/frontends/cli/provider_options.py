"""The options for a provider that the kit may start, stop and kill, and for the backend behind it."""

from __future__ import annotations

import errno
import random
import socket
from typing import TYPE_CHECKING, Any, Final

import click

from conformance.core.errors import UsageError

if TYPE_CHECKING:
    from conformance.core.command_line import CommandLine
    from conformance.fleet.control import ControlOptions, OutsideCommands, ReplicaCommand

PROVIDER_OPTIONS: Final = (
    click.option(
        "--provider-cmd",
        metavar="CMD",
        help="Start the provider with this command, instead of --target: 'my-provider --port {port} --state {dir}'. "
        "The kit restarts it where a lane needs that, and ends it with the run. {port} is a free port, {dir} a "
        "directory for its state. Split as in a shell, but run without one.",
    ),
    click.option(
        "--replica-cmd",
        metavar="CMD",
        help="Start several replicas of the provider with this command, instead of --provider-cmd: 'my-provider --port "
        "{port} --state {dir}'. Each has a {port} of its own; all share one {dir}. The kit's own TCP balancer is in "
        "front of them: a new connection goes to the next replica that serves.",
    ),
    click.option(
        "--replicas",
        type=click.IntRange(2, 16),
        default=3,
        show_default=True,
        help="Number of replicas that --replica-cmd starts.",
    ),
    click.option(
        "--replica-ports",
        metavar="PORT,PORT,…",
        help="The ports of the replicas, if your own balancer is in front of them: give its address with --target. "
        "There are as many replicas as ports.",
    ),
    click.option(
        "--start-cmd",
        metavar="CMD",
        help="For a provider at --target that runs elsewhere: start it with this command, such as 'systemctl start "
        "my-provider'. Requires --stop-cmd and --kill-cmd.",
    ),
    click.option("--stop-cmd", metavar="CMD", help="Stop that provider in an orderly way: 'systemctl stop …'."),
    click.option("--kill-cmd", metavar="CMD", help="Kill that provider: 'systemctl kill --signal=KILL …'."),
    click.option(
        "--next-cmd",
        metavar="CMD",
        help="Start a newer version of the provider with this command, on the state of the older one and at the same "
        "port: 'my-provider-2.0 --port {port} --state {dir}'. It replaces --provider-cmd, or --start-cmd, from the "
        "upgrade on (ROL-3).",
    ),
    click.option(
        "--hosts-cmd",
        metavar="CMD",
        help="List the hosts that the backend really runs, one ref a line. The kit compares them with what the "
        "provider shows (HST-1, HST-2).",
    ),
    click.option(
        "--repair-cmd",
        metavar="CMD",
        help="Clean a FAILED machine up, so that it is SPECULATIVE or IDLE again: 'my-cloud repair {machine}'. The kit "
        "runs it at the end for each machine that it has left in FAILED.",
    ),
    click.option(
        "--start-timeout",
        default="30s",
        show_default=True,
        metavar="D",
        help="How long to wait until a started provider serves.",
    ),
    click.option(
        "--stop-timeout",
        default="10s",
        show_default=True,
        metavar="D",
        help="How long to wait until a provider that was asked to stop has ended.",
    ),
    click.option(
        "--cmd-timeout",
        default="60s",
        show_default=True,
        metavar="D",
        help="How long one of these commands may take, --provider-cmd excepted.",
    ),
)

COMMANDS: Final = (
    *("provider-cmd", "replica-cmd", "start-cmd", "stop-cmd", "kill-cmd", "next-cmd"),
    *("hosts-cmd", "repair-cmd"),
)
DURATIONS: Final = ("start-timeout", "stop-timeout", "cmd-timeout")

_PORTS: Final = range(10_000, 32_768)
"""Ports that no system gives to clients: a client's port would be taken while the provider is down."""


def placeholders_of(name: str) -> tuple[str, ...]:
    """Returns the placeholders that the command of an option may have."""
    from conformance.core.command_line import PLACEHOLDERS

    return (*PLACEHOLDERS, "machine") if name == "repair-cmd" else PLACEHOLDERS


def control_from(given: dict[str, Any]) -> tuple[str | None, ControlOptions]:
    """Returns the target's address, with its placeholders filled, and how the kit may control it. Raises UsageError.

    Without a target, the address is that of the provider that the kit will start.
    """
    from conformance.core.command_line import check_placeholders, parse_command
    from conformance.core.timeouts import parse_duration
    from conformance.fleet.control import ControlOptions
    from conformance.fleet.process import ProviderTimeouts

    lines = {
        name: parse_command(text, f"--{name}", placeholders=placeholders_of(name))
        for name in COMMANDS
        if (text := given[name.replace("-", "_")])
    }
    replica = lines.get("replica-cmd")
    own, hosts = lines.get("provider-cmd", replica), lines.get("hosts-cmd")
    if "provider-cmd" in lines and replica is not None:
        raise UsageError("--provider-cmd and --replica-cmd exclude each other", hint="remove one of them")
    if replica is not None and not replica.uses("port"):
        raise UsageError("--replica-cmd without {port}", hint="each replica needs a port of its own: --port {port}")
    ports = _ports(given["replica_ports"])
    if ports and replica is None:
        raise UsageError("--replica-ports without --replica-cmd", hint="--replica-cmd is the command of one replica")
    if ports and not given["target"]:
        raise UsageError("--replica-ports without --target", hint="give the address of the balancer with --target")
    outside = _outside({name: lines[name] for name in ("start-cmd", "stop-cmd", "kill-cmd") if name in lines})
    if own is not None and outside is not None:
        raise UsageError(f"{own.option} and --start-cmd exclude each other", hint="remove one of them")
    if given["fake"] and lines:
        raise UsageError(f"--{next(iter(lines))} and --fake exclude each other", hint="remove one of them")
    if "next-cmd" in lines and own is None and outside is None:
        raise UsageError(
            "--next-cmd without a provider that the kit may restart", hint="add --provider-cmd, or --start-cmd"
        )
    address: str | None = given["target"]
    if own is not None:
        address = address or "127.0.0.1:{port}"
        check_placeholders(address, "--target", ("port",))
    port = str(free_port()) if own is not None and address and "{port}" in address else _port_of(address)
    if own is not None and address:
        address = address.format(port=port)
    for line in lines.values():
        if line.uses("port") and not port:
            raise UsageError(f"{line.option} uses {{port}}, and --target has no port", hint="give it the port itself")
    timeouts = ProviderTimeouts(
        start=parse_duration(given["start_timeout"]),
        stop=parse_duration(given["stop_timeout"]),
        command=parse_duration(given["cmd_timeout"]),
    )
    return address, ControlOptions(
        provider=_replicas(replica, given["replicas"], ports, port) if replica is not None else own or outside,
        next_version=lines.get("next-cmd"),
        hosts=hosts,
        repair=lines.get("repair-cmd"),
        port=port,
        timeouts=timeouts,
    )


def _ports(text: str | None) -> tuple[str, ...]:
    """Returns the ports of the replicas behind a balancer of the user; empty without one. Raises UsageError."""
    from conformance.core.text import cut

    if text is None:
        return ()
    ports = tuple(port.strip() for port in text.split(","))
    if any(not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536) for port in ports):
        raise UsageError(f"--replica-ports {cut(text, 60)}: not a list of ports", hint="such as 9001,9002,9003")
    if len(set(ports)) != len(ports) or len(ports) < 2:
        raise UsageError(f"--replica-ports {cut(text, 60)}: give two different ports or more", hint="9001,9002,9003")
    return ports


def _replicas(line: CommandLine, count: int, ports: tuple[str, ...], balancer: str) -> ReplicaCommand:
    """Returns the command with a port for each replica; `balancer` is the port that they share."""
    from conformance.fleet.control import ReplicaCommand

    if ports:
        return ReplicaCommand(line=line, ports=ports, balanced=True)
    free: list[str] = []
    while len(free) < count:
        if (port := str(free_port())) not in (balancer, *free):
            free.append(port)
    return ReplicaCommand(line=line, ports=tuple(free))


def given_commands(given: dict[str, Any]) -> tuple[str, ...]:
    """Returns the options whose commands were given."""
    return tuple(name for name in COMMANDS if given[name.replace("-", "_")])


def _outside(lines: dict[str, Any]) -> OutsideCommands | None:
    from conformance.fleet.control import OutsideCommands

    if not lines:
        return None
    missing = [name for name in ("start-cmd", "stop-cmd", "kill-cmd") if name not in lines]
    if missing:
        raise UsageError(
            f"--{next(iter(lines))} without --{missing[0]}",
            hint="give all three of --start-cmd, --stop-cmd and --kill-cmd",
        )
    return OutsideCommands(start=lines["start-cmd"], stop=lines["stop-cmd"], kill=lines["kill-cmd"])


def _port_of(address: str | None) -> str:
    """Returns the port of an address; empty for a Unix socket, or without an address."""
    port = (address or "").rpartition(":")[2]
    return port if port.isdigit() else ""


def free_port() -> int:
    """Returns a port that is free on this computer, and that no client is given while the provider is down."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        if _is_free(port):
            return port
    raise UsageError("no free port was found", hint="name one: --target 127.0.0.1:PORT")


def _is_free(port: int) -> bool:
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family) as taken:
                if family is socket.AF_INET6:
                    taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                taken.bind((host, port))
        except OSError as error:  # a computer without IPv6 is fine
            if error.errno == errno.EADDRINUSE:
                return False
    return True
