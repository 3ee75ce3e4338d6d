"""Real processes for tests: the fake provider and the kit's own commands, each reaped whatever happens."""

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

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator

ROUNDS = int(os.environ.get("CONFORMANCE_ROUNDS", "4"))
"""How often what is random is tried: 4 for every day, 20 for a release."""
SOME = ("--select", "FEN-1a,FEN-3a,LIF-1a,MET-*")
"""What is judged where it does not matter what."""
SELECT = SOME if ROUNDS <= 4 else ()
"""What is judged where all of it matters when there is time."""
LIMIT = 100.0
"""Seconds. No process of a test lives longer; on a machine that others use too, a second's work may take twenty."""

SPECULATIVE = pb.MACHINE_STATE_SPECULATIVE
IDLE = pb.MACHINE_STATE_IDLE


class Provider:
    """A `fake-provider serve` that was started, and an eye on its fleet that is not the kit's."""

    def __init__(self, process: subprocess.Popen[str], hello: dict[str, Any]) -> None:
        self.process = process
        self.address: str = hello["address"]
        self.port = int(self.address.rpartition(":")[2])
        self._channel = grpc.insecure_channel(self.address)
        self.stub: Any = provider_pb2_grpc.CapacityProviderStub(self._channel)  # type: ignore[no-untyped-call]

    def machines(self) -> dict[str, pb.Machine]:
        """The fleet by id, as List shows it now."""
        listing = self.stub.List(pb.ListFilter(), timeout=10, wait_for_ready=True)
        return {machine.id: machine for machine in listing.machines}

    def states(self) -> dict[str, int]:
        """How many machines are in which state, by the state's name."""
        names = (pb.MachineState.Name(m.state).removeprefix("MACHINE_STATE_") for m in self.machines().values())
        return dict(Counter(names))

    def away(self) -> dict[str, str]:
        """The machines that are not SPECULATIVE, in a few words each: what a run has left, where it left anything."""
        return {i: f"{m.state} {m.host.ref} {m.cluster}" for i, m in self.machines().items() if m.state != SPECULATIVE}

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(10)

    def close(self) -> None:
        """End it, however it is."""
        self._channel.close()
        self.process.kill()
        self.process.communicate()


@contextmanager
def serving(*options: str, port: int = 0) -> Iterator[Provider]:
    """A fake provider in a process of its own, on a free port unless one is given."""
    with _started("fake_provider", "serve", "--port", str(port), *options) as provider:
        yield provider


@contextmanager
def serving_mutant(name: str) -> Iterator[Provider]:
    """A broken provider in a process of its own: one of those in `selftest/mutants`."""
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
    """How a command ended, and all that it said."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Both streams: neither may hold a traceback."""
        return f"{self.out}\n{self.err}"

    @property
    def verdict(self) -> str:
        """The verdict's line; empty where there is none."""
        return next((line for line in self.out.splitlines() if line.startswith("verdict")), "")


class Kit:
    """A command of the kit that runs."""

    def __init__(self, *command: str, state: Path | None = None) -> None:
        program = str(Path(sys.executable).with_name(command[0]))
        env = os.environ | {"PYTHONUNBUFFERED": "1"} | ({"XDG_STATE_HOME": str(state)} if state else {})
        self.process = subprocess.Popen(
            [program, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )

    def ends_within(self, seconds: float) -> bool:
        """Wait until the command has ended, or for `seconds`; whether it has."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def says(self, start: str) -> str:
        """Read its output up to the first line that begins so, and return that line; empty where it never comes."""
        assert self.process.stdout
        return next((line for line in self.process.stdout if line.startswith(start)), "")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens where it has ended already."""
        self.process.send_signal(number)

    def done(self, limit: float = LIMIT) -> Done:
        """Wait for its end. Raises TimeoutExpired, after killing it, where that does not come."""
        try:
            out, err = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return Done(self.process.returncode, out, err)


@contextmanager
def running(*command: str, state: Path | None = None) -> Iterator[Kit]:
    """A command of the kit, killed at the end where it still lives."""
    kit = Kit(*command, state=state)
    try:
        yield kit
    finally:
        kit.process.kill()
        kit.process.communicate()


def run(*command: str, limit: float = LIMIT, state: Path | None = None) -> Done:
    """A command of the kit from its start to its end."""
    with running(*command, state=state) as kit:
        return kit.done(limit)


def judge(provider: Provider, *options: str, directory: Path, limit: float = LIMIT) -> Done:
    """`conformance-run` on a provider, with its report in `directory`."""
    return run("conformance-run", "--target", provider.address, "--report-dir", str(directory), *options, limit=limit)


def sweep(provider: Provider, ledger: Path, *options: str) -> Done:
    """`conformance sweep` of a ledger."""
    return run("conformance", "sweep", str(ledger), "--target", provider.address, *options)
