"""Gives a run the control of its provider and the access to its backend that the user allows."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from conformance.core.errors import UsageError
from conformance.fleet.backend import CommandBackend
from conformance.fleet.process import CommandProvider, ProcessProvider, ProviderTimeouts
from conformance.fleet.repair import CommandRepair
from conformance.fleet.replicas import Replicas

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conformance.core.command_line import CommandLine
    from conformance.fleet.backend import Backend
    from conformance.fleet.provider import Provider
    from conformance.fleet.repair import Repair
    from conformance.rpc.target import Target

LOG: Final = "provider.log"
STATE: Final = "provider-state"
SWEEP_LOG: Final = "provider-sweep.log"
LOCAL: Final = "127.0.0.1"
"""The host of replicas behind a balancer of the user, which may run elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideCommands:
    """The commands that control a provider that runs elsewhere."""

    start: CommandLine
    stop: CommandLine
    kill: CommandLine


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCommand:
    """The command that is one replica of the provider, and the ports of all replicas."""

    line: CommandLine
    ports: tuple[str, ...]
    balanced: bool = False
    """True if a balancer of the user is in front of these ports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOptions:
    """The ways in which the kit may control the provider and ask its backend.."""

    provider: CommandLine | OutsideCommands | ReplicaCommand | None = None
    """The command that is the provider or one replica of it, or the commands for one that runs elsewhere."""
    next_version: CommandLine | None = None
    """The command that starts a newer version of the provider on the state of the older one."""
    hosts: CommandLine | None = None
    """The command that lists the hosts that the backend runs."""
    repair: CommandLine | None = None
    """The command that cleans one FAILED machine up."""
    state: Path | None = None
    """The state of an earlier run, with which the provider starts again; None for a new directory."""
    port: str = ""
    """The provider's port, for the placeholder; empty for a target without one."""
    timeouts: ProviderTimeouts = field(default_factory=ProviderTimeouts)


@dataclass(slots=True, kw_only=True)
class Control:
    """The provider and the backend of one run."""

    provider: Provider | None = None
    backend: Backend | None = None
    repair: Repair | None = None
    keep_state: bool = False
    """True if the state of the provider is needed after the run: machines are left, and a sweep asks it for them."""
    state: Path | None = None


@asynccontextmanager
async def controlled(options: ControlOptions, target: Target, *, report_dir: Path | None) -> AsyncIterator[Control]:
    """Yields the provider, which is not started yet, and the backend. Ends the provider when the body ends.

    The provider's state and output go to the report directory. Without one they go to a temporary directory, which is
    deleted at the end if the body succeeds, unless `keep_state`. The state of an earlier run is used in its place, and
    never deleted. Raises UsageError if they cannot be written.
    """
    if options.provider is None and options.hosts is None and options.repair is None:
        yield Control()
        return
    try:
        state, log = _places(report_dir) if options.state is None else _places_of_earlier(options.state)
    except OSError as error:
        raise UsageError(
            f"no directory for the provider's state: {error}", hint="choose a writable --report-dir"
        ) from None
    values = {"port": options.port, "dir": str(state)}
    control = Control(provider=_provider(options, target, values, log), state=state)
    if options.hosts is not None:
        control.backend = CommandBackend(options.hosts.filled(**values), timeout=options.timeouts.command)
    if options.repair is not None:
        control.repair = CommandRepair(options.repair, values, timeout=options.timeouts.command)
    try:
        yield control
    finally:
        if control.provider is not None:
            await control.provider.close()
    if report_dir is None and options.state is None and not control.keep_state:
        shutil.rmtree(state.parent, ignore_errors=True)


def _provider(options: ControlOptions, target: Target, values: dict[str, str], log: Path) -> Provider | None:
    next_words = () if options.next_version is None else options.next_version.filled(**values)
    match options.provider:
        case None:
            return None
        case OutsideCommands() as commands:
            return CommandProvider(
                target,
                start=commands.start.filled(**values),
                stop=commands.stop.filled(**values),
                kill=commands.kill.filled(**values),
                timeouts=options.timeouts,
                next_start=next_words,
            )
        case ReplicaCommand() as replica:
            return _replicas(options, replica, target, values, log)
        case command:
            return ProcessProvider(
                command.filled(**values), target, log=log, timeouts=options.timeouts, next_words=next_words
            )


def _replicas(
    options: ControlOptions, command: ReplicaCommand, target: Target, values: dict[str, str], log: Path
) -> Replicas:
    """Returns the replicas. The log of each has its number in its name."""
    members = []
    for number, port in enumerate(command.ports, 1):
        own = values | {"port": port}
        newer = () if options.next_version is None else options.next_version.filled(**own)
        path = log.with_stem(f"{log.stem}-{number}")
        path.write_bytes(b"")
        host = LOCAL if command.balanced else target.address.rpartition(":")[0]
        address = target.behind(f"{host}:{port}")
        members.append(
            ProcessProvider(command.line.filled(**own), address, log=path, timeouts=options.timeouts, next_words=newer)
        )
    return Replicas(members, target, start_timeout=options.timeouts.start, balanced=command.balanced)


def _places(report_dir: Path | None) -> tuple[Path, Path]:
    """Returns a new directory for the provider's state, and the file for its output."""
    if report_dir is None:
        directory = Path(tempfile.mkdtemp(prefix="conformance-"))
    else:
        directory = report_dir.resolve()
        directory.mkdir(parents=True, exist_ok=True)
    log = directory / LOG
    log.write_bytes(b"")
    # The user may still need the state of an earlier run, and the provider must not start with it.
    for number in count(1):
        state = directory / (STATE if number == 1 else f"{STATE}-{number}")
        try:
            state.mkdir()
        except FileExistsError:
            continue
        return state, log
    raise AssertionError("there is always another number")


def _places_of_earlier(state: Path) -> tuple[Path, Path]:
    """Returns the state of an earlier run, and the file for the output of a provider that starts with it."""
    log = state.resolve().parent / SWEEP_LOG
    log.write_bytes(b"")
    return state.resolve(), log


def state_beside(ledger: Path) -> Path | None:
    """Returns the state of the provider that the run with this ledger has started; None if it does not exist.

    It is in the report directory of the run, or, for a lane of several, in the directory above. The last one counts.
    """
    for directory in (ledger.resolve().parent, ledger.resolve().parent.parent):
        found = {number: path for path in directory.glob(f"{STATE}*") if (number := _number(path)) and path.is_dir()}
        if found:
            return found[max(found)]
    return None


def _number(path: Path) -> int:
    """Returns the number of a state's directory, from 1 on; 0 for another name."""
    rest = path.name.removeprefix(STATE)
    return 1 if not rest else int(rest[1:]) if rest.startswith("-") and rest[1:].isdecimal() else 0
