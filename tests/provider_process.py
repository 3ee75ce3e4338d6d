"""Real processes for tests: the fake provider and the kit's commands. Each one is always killed at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb
from bigfleet.v1alpha1 import provider_pb2_grpc

from conformance.rpc.env_proxy import NO_ENV_PROXY

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator

ROUNDS = int(os.environ.get("CONFORMANCE_ROUNDS", "4"))
"""The number of rounds of a random test: 4 by default, 20 before a release."""
SOME = ("--select", "FEN-1a,FEN-3a,LIF-1a,MET-*")
"""Selects a few behaviours, for tests for which any will do."""
SELECT = SOME if ROUNDS <= 4 else ()
"""Selects a few behaviours by default, and all of them before a release."""
LIMIT = 100.0
"""The maximum seconds of a test's process; on a shared computer, one second of work may take twenty."""

SPECULATIVE = pb.MACHINE_STATE_SPECULATIVE
IDLE = pb.MACHINE_STATE_IDLE


class Provider:
    """A running `fake-provider serve`, and a client that reads its fleet independently of the kit."""

    def __init__(self, process: subprocess.Popen[str], hello: dict[str, Any]) -> None:
        self.process = process
        self.address: str = hello["address"]
        self.port = int(self.address.rpartition(":")[2])
        self._channel = grpc.insecure_channel(self.address, options=NO_ENV_PROXY)
        self.stub: Any = provider_pb2_grpc.CapacityProviderStub(self._channel)  # type: ignore[no-untyped-call]

    def machines(self) -> dict[str, pb.Machine]:
        """Returns the fleet by id, as List shows it now."""
        listing = self.stub.List(pb.ListFilter(), timeout=10, wait_for_ready=True)
        return {machine.id: machine for machine in listing.machines}

    def states(self) -> dict[str, int]:
        """Returns the number of machines by the name of their state."""
        names = (pb.MachineState.Name(m.state).removeprefix("MACHINE_STATE_") for m in self.machines().values())
        return dict(Counter(names))

    def away(self) -> dict[str, str]:
        """Returns the machines that are not SPECULATIVE, each with a short description: those that a run has left."""
        return {i: f"{m.state} {m.host.ref} {m.cluster}" for i, m in self.machines().items() if m.state != SPECULATIVE}

    def kill(self) -> None:
        """Kills the process, as a power failure would."""
        self.process.kill()
        self.process.wait(10)

    def close(self) -> None:
        """Ends the process in any state."""
        self._channel.close()
        self.process.kill()
        self.process.communicate()


@contextmanager
def serving(*options: str, port: int = 0) -> Iterator[Provider]:
    """Runs a fake provider in its own process, on a free port unless one is given."""
    with _started("fake_provider", "serve", "--port", str(port), *options) as provider:
        yield provider


@contextmanager
def serving_mutant(name: str) -> Iterator[Provider]:
    """Runs a mutant of `selftest/mutants` in its own process."""
    with _started("selftest.serve", name) as provider:
        yield provider


@contextmanager
def _started(module: str, *arguments: str) -> Iterator[Provider]:
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"no provider: {process.communicate()[1]}")
    provider = Provider(process, json.loads(line))
    try:
        yield provider
    finally:
        provider.close()


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a command that has ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Both output streams; neither may contain a traceback."""
        return f"{self.out}\n{self.err}"

    @property
    def verdict(self) -> str:
        """The line with the verdict, if any."""
        return next((line for line in self.out.splitlines() if line.startswith("verdict")), "")


class Kit:
    """A running command of the kit."""

    def __init__(self, *command: str, state: Path | None = None) -> None:
        program = str(Path(sys.executable).with_name(command[0]))
        env = os.environ | {"PYTHONUNBUFFERED": "1"} | ({"XDG_STATE_HOME": str(state)} if state else {})
        self.process = subprocess.Popen(
            [program, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )

    def ends_within(self, seconds: float) -> bool:
        """Waits for at most `seconds`; returns whether the command has ended."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def says(self, start: str) -> str:
        """Reads the output up to the first line that starts with `start`; returns it, or an empty string at the end."""
        assert self.process.stdout
        return next((line for line in self.process.stdout if line.startswith(start)), "")

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, which has no effect if the command has ended."""
        self.process.send_signal(number)

    def done(self, limit: float = LIMIT) -> Done:
        """Waits for the end of the command. Kills it and raises TimeoutExpired after `limit` seconds."""
        try:
            out, err = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return Done(self.process.returncode, out, err)


@contextmanager
def running(*command: str, state: Path | None = None) -> Iterator[Kit]:
    """Starts a command of the kit, and kills it at the end if it still runs."""
    kit = Kit(*command, state=state)
    try:
        yield kit
    finally:
        kit.process.kill()
        kit.process.communicate()


def run(*command: str, limit: float = LIMIT, state: Path | None = None) -> Done:
    """Runs a command of the kit to its end."""
    with running(*command, state=state) as kit:
        return kit.done(limit)


def judge(provider: Provider, *options: str, directory: Path, limit: float = LIMIT) -> Done:
    """Runs `conformance-run` on a provider, with its report in `directory`."""
    return run("conformance-run", "--target", provider.address, "--report-dir", str(directory), *options, limit=limit)


def sweep(provider: Provider, ledger: Path, *options: str) -> Done:
    """Runs `conformance sweep` with a ledger."""
    return run("conformance", "sweep", str(ledger), "--target", provider.address, *options)
