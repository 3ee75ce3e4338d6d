"""Keeps the state of a fleet in a file, so that it survives a kill.

Each change is appended to the file, and synced, before its call is answered. The file is never compacted.
"""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from fleet import Fleet, Machine, State, Token

FAULTY = os.environ.get("JOURNAL", "")
"""A faulty journal, for tests of the kit: `unflushed` keeps entries in a buffer of the process, neither written nor
synced before the answer; `ack-first` writes them 2 s after the answer."""


class JournaledFleet(Fleet):
    """A fleet with a journal. Not thread-safe: the caller must serialise the calls."""

    def __init__(self, directory: Path, machines: int, latency: float, defect: str = "") -> None:
        super().__init__(machines, latency, defect)
        path = directory / "journal"
        path.touch()
        whole = 0  # the length without a last entry that a kill cut off: its call was never answered
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                self._apply(json.loads(line))
                whole += len(line)
        os.truncate(path, whole)
        self._file = path.open("ab", buffering=1 << 20)

    def create(self, machine_id: str, token: Token) -> tuple[str, Machine]:
        with self._keeping(machine_id, token):
            return super().create(machine_id, token)

    def configure(
        self, machine_id: str, token: Token, cluster: str, blob: bytes, metadata: dict[str, str]
    ) -> tuple[str, Machine]:
        with self._keeping(machine_id, token):
            return super().configure(machine_id, token, cluster, blob, metadata)

    def drain(self, machine_id: str, token: Token, grace: int) -> tuple[str, Machine]:
        with self._keeping(machine_id, token):
            return super().drain(machine_id, token, grace)

    def delete(self, machine_id: str, token: Token) -> tuple[str, Machine]:
        with self._keeping(machine_id, token):
            return super().delete(machine_id, token)

    @contextmanager
    def _keeping(self, machine_id: str, token: Token) -> Iterator[None]:
        """Writes what the call may have changed; a refused one is kept too, since it may have raised a mark."""
        try:
            yield
        finally:
            machine, mark = self.machines.get(machine_id), self.marks.get((token.shard, machine_id))
            entry = {
                "machine": machine and asdict(machine),
                "mark": mark and [token.shard, machine_id, *mark],
                "operations": self.operations,
            }
            line = json.dumps(entry).encode() + b"\n"
            if FAULTY == "ack-first":
                threading.Timer(2.0, self._write, [line]).start()
            else:
                self._write(line)

    def _write(self, line: bytes) -> None:
        self._file.write(line)
        if FAULTY != "unflushed":
            self._file.flush()
            os.fsync(self._file.fileno())

    def _apply(self, entry: dict) -> None:  # type: ignore[type-arg]
        if entry["machine"]:
            machine = Machine(**entry["machine"] | {"state": State(entry["machine"]["state"])})
            self.machines[machine.id] = machine
        if entry["mark"]:
            shard, machine_id, epoch, sequence = entry["mark"]
            self.marks[shard, machine_id] = (epoch, sequence)
        self.operations = entry["operations"]
