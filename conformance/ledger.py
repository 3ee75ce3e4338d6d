"""What the kit may have started, on disk before it is asked for. `sweep` reads it after the run has died.

One JSON object a line: a header, then what happened to which machine. A machine is *open* from its first
intent until a line says that it is home, or that it was lost to somebody else.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import math
import os
import time
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from conformance.errors import UsageError
from conformance.lifecycle import EDGES, State, Verb
from conformance.text import clip

if TYPE_CHECKING:
    from collections.abc import Callable, Set
    from pathlib import Path

    from conformance.token import Token

FORMAT = 1


class Ledger:
    """An append-only file that is locked for as long as the run lives."""

    def __init__(
        self, path: Path, *, run: str, target: str, hide: Callable[[str], str] = clip, durable: bool = True
    ) -> None:
        """Open `path`, to be told of nothing that `hide` changes. What is not `durable` need not outlive this process.

        Raises UsageError where it cannot be written or another run holds it.
        """
        self.path = path
        self.hide = hide
        self._open: dict[str, dict[tuple[Verb, str, int], int]] = {}
        """Of each open machine what is intended, and how far the file must be on disk for it."""
        self._synced: float = 0 if durable else math.inf
        self._written = 0
        self._sync: asyncio.Task[None] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
            try:
                lock(self._file, path)
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise UsageError(
                f"the ledger {path} cannot be written: {error.strerror}",
                hint="the kit starts no machine that it has not written down; give another --report-dir",
            ) from error
        self._write({"ledger": FORMAT, "run": run, "target": target, "at": _now()})
        os.fsync(self._file.fileno())

    async def intend(self, machine_id: str, verb: Verb, token: Token, *, home: State, seen: State) -> None:
        """Return when it is on disk that `verb` may start something on the machine, last seen in state `seen`.

        A call that can start nothing, because the machine rests where `verb` has no edge, needs no line of its own.
        """
        intents = self._open.get(machine_id)
        if intents is not None and (verb, token.shard, token.epoch) in intents:
            await self._on_disk(intents[verb, token.shard, token.epoch])
            return
        if intents is not None and seen.stable and seen is not EDGES[verb].source:
            return
        self._open.setdefault(machine_id, {})[verb, token.shard, token.epoch] = self._written + 1
        self._write(
            {
                "intend": verb.value,
                "machine": machine_id,
                "home": home.name,
                "shard": token.shard,
                "epoch": token.epoch,
                "at": _now(),
            }
        )
        await self._on_disk(self._written)

    def seen(self, machine_id: str, state: State, *, host: str) -> None:
        """A transition settled: what was intended on the way there is done."""
        if self._open.get(machine_id):
            self._open[machine_id].clear()
            self._write({"seen": state.name, "machine": machine_id, "host": self.hide(host)})

    def home(self, machine_id: str) -> None:
        """The machine is as it was found."""
        if self._open.pop(machine_id, None) is not None:
            self._write({"home": machine_id, "at": _now()})

    def lost(self, machine_id: str) -> None:
        """The machine is somebody else's: it is not for us to touch."""
        if self._open.pop(machine_id, None) is not None:
            self._write({"lost": machine_id, "at": _now()})

    def adopt(self, record: Record) -> None:
        """Go on where a dead run left off: its open machines are open here."""
        for entry in record.entries:
            self._open[entry.machine] = {}

    @property
    def open(self) -> Set[str]:
        """The machines that may not be home."""
        return self._open.keys()

    def close(self, *, forget: bool = False) -> None:
        """End the file; with `forget`, remove it where nothing is open: there is nothing to sweep."""
        if self._file.closed:
            return
        self._write({"end": _now(), "open": sorted(self._open)})
        os.fsync(self._file.fileno())
        if forget and not self._open:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()
        self._written += 1

    async def _on_disk(self, upto: int) -> None:
        """Wait until so many lines are on disk. Who comes meanwhile shares the next fsync."""
        while self._synced < upto:
            # A disk that failed once is not asked again: it may have forgotten what it could not write.
            if self._sync is None or (self._sync.done() and self._sync.exception() is None):
                self._sync = asyncio.create_task(self._fsync())
            await asyncio.shield(self._sync)

    async def _fsync(self) -> None:
        upto = self._written
        await asyncio.to_thread(os.fdatasync, self._file.fileno())
        self._synced = max(self._synced, upto)


def lock(file: IO[str], path: Path) -> None:
    """Take the ledger for this process. Raises UsageError where a run that still lives holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"the ledger {path} belongs to a run that still lives",
            hint="wait for it, or stop it: it brings all home",
        ) from error


@dataclass(slots=True, kw_only=True)
class Entry:
    """A machine that a dead run may have left away from home, and all that is known of it."""

    machine: str
    home: State
    shards: dict[str, int] = field(default_factory=dict)
    """The shards whose calls may still arrive, each with its newest epoch."""
    host: str | None = None
    """The host it was last seen with; None where none was seen."""
    resting: bool = False
    """Whether it was last seen SPECULATIVE, and nothing was intended since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A ledger as read back: which run wrote it, about which target, and what is open."""

    run: str
    target: str
    entries: tuple[Entry, ...]


def read(path: Path) -> Record:
    """Read a ledger, also one that was cut in the middle of its last line.

    Raises UsageError for a file that is not there or is no ledger.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UsageError(f"the ledger {path} cannot be read: {error.strerror}", hint="give a ledger.ndjson") from error
    parsed = [_parse(line) for line in lines]
    header = parsed[0] if parsed else None
    if header is None or header.get("ledger") != FORMAT:
        raise UsageError(f"{path} is no ledger", hint="give the ledger.ndjson that the run named at its start")
    entries: dict[str, Entry] = {}
    for line in parsed[1:]:
        match line:
            case {
                "intend": str(),
                "machine": str(machine),
                "home": str(home),
                "shard": str(shard),
                "epoch": int(epoch),
            }:
                known = State.__members__.get(home, State.UNSPECIFIED)
                entry = entries.setdefault(machine, Entry(machine=machine, home=known))
                entry.shards[shard] = max(epoch, entry.shards.get(shard, epoch))
                entry.resting = False
            case {"seen": str(state), "machine": str(machine), "host": str(host)} if machine in entries:
                entries[machine].host = host or None
                entries[machine].resting = state == State.SPECULATIVE.name
            case {"home": str(machine)} | {"lost": str(machine)}:
                entries.pop(machine, None)
            case _:
                pass
    return Record(run=str(header.get("run", "")), target=str(header.get("target", "")), entries=tuple(entries.values()))


def _parse(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _now() -> float:
    return round(time.time(), 3)
