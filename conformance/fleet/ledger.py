"""The ledger: the machines that a run may start, on disk before each call is sent. `sweep` reads it after a crash.

One JSON object per line: a header, then one event of one machine per line. A machine is *open* from its first intent
until a line states that it was cleaned up (`home`), or that another client owns it (`lost`).
"""

from __future__ import annotations

import asyncio
import errno
import json
import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from conformance.core import background
from conformance.core.errors import NotWritten, UsageError
from conformance.core.file_lock import lock
from conformance.core.lifecycle import EDGES, State, Verb
from conformance.core.open_files import explain
from conformance.core.text import clip

if TYPE_CHECKING:
    from collections.abc import Callable, Set
    from pathlib import Path

    from conformance.core.fencing import Token

FORMAT = 1


class Ledger:
    """An append-only file that is locked while the run lives."""

    def __init__(
        self, path: Path, *, run: str, target: str, hide: Callable[[str], str] = clip, durable: bool = True
    ) -> None:
        """Opens `path`. `hide` redacts the host names. If not `durable`, the file need not survive a crash.

        Raises UsageError if the file cannot be written, or if another run holds it.
        """
        self.path = path
        self.hide = hide
        self.write_error: str | None = None
        """The reason why the file can no longer be written, or None. Then no machine is started; cleanup continues."""
        self._open: dict[str, dict[tuple[Verb, str, int], int]] = {}
        """For each open machine its intents, each with the number of lines that must be on disk before it is sent."""
        self._identifying_lines: dict[str, int] = {}
        """For each open machine the number of lines that must be on disk for a sweep to know of it."""
        self._synced: float = 0 if durable else math.inf
        self._written = 0
        self._closed = False
        self._sync: asyncio.Task[None] | None = None
        self._file = _open_locked(path)
        try:
            end = os.fstat(self._file).st_size
            if end and os.pread(self._file, 1, end - 1) != b"\n":
                os.write(self._file, b"\n")  # the last line is incomplete: start a new one
            self._append({"ledger": FORMAT, "run": run, "target": target, "at": _now()})
            os.fsync(self._file)
        except OSError as error:
            os.close(self._file)
            raise _write_failed(path, error) from error

    async def write_intent(self, machine_id: str, verb: Verb, token: Token, *, home: State, seen: State) -> None:
        """Writes that `verb` may start a transition of the machine, last seen in state `seen`; returns once on disk.

        A call that cannot start one, because the machine rests in a state where `verb` has no edge, needs no line.
        Raises NotWritten if the line cannot be written, except if the machine is on disk already and the call is not
        a Create: then a sweep has the information it needs, and the machine can still be cleaned up.
        """
        try:
            await self._write_intent(machine_id, verb, token, home=home, seen=seen)
        except NotWritten:
            if verb is Verb.CREATE or self._identifying_lines.get(machine_id, self._written) > self._synced:
                raise

    async def _write_intent(self, machine_id: str, verb: Verb, token: Token, *, home: State, seen: State) -> None:
        intents = self._open.get(machine_id)
        if intents is not None and (verb, token.shard, token.epoch) in intents:
            await self._on_disk(intents[verb, token.shard, token.epoch])
            return
        if intents is not None and seen.stable and seen is not EDGES[verb].source:
            return
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
        self._check()
        self._identifying_lines.setdefault(machine_id, self._written)
        self._open.setdefault(machine_id, {})[verb, token.shard, token.epoch] = self._written
        await self._on_disk(self._written)

    def note_settled(self, machine_id: str, state: State, *, host: str) -> None:
        """Notes that the machine has settled in `state`, which completes its earlier intents."""
        if self._open.get(machine_id):
            self._open[machine_id].clear()
            self._write({"seen": state.name, "machine": machine_id, "host": self.hide(host)})

    def note_cleaned_up(self, machine_id: str) -> None:
        """Notes that the machine is in the state in which it was found."""
        if self._close_machine(machine_id):
            self._write({"home": machine_id, "at": _now()})

    def note_lost(self, machine_id: str) -> None:
        """Notes that no sweep can return the machine: another client owns it, or it rests in FAILED."""
        if self._close_machine(machine_id):
            self._write({"lost": machine_id, "at": _now()})

    def _close_machine(self, machine_id: str) -> bool:
        self._identifying_lines.pop(machine_id, None)
        return self._open.pop(machine_id, None) is not None

    def adopt(self, record: Record) -> None:
        """Continues the ledger of a dead run: its open machines are open here."""
        for entry in record.entries:
            self._open[entry.machine] = {}
            self._identifying_lines[entry.machine] = 0

    @property
    def open(self) -> Set[str]:
        """The machines that may not have been cleaned up."""
        return self._open.keys()

    def close(self, *, forget: bool = False) -> None:
        """Ends the file. With `forget`, removes it if no machine is open, because then there is nothing to sweep."""
        if self._closed:
            return
        self._closed = True
        self._write({"end": _now(), "open": sorted(self._open)})
        self.write_error = self.write_error or "it is closed"  # the operating system may reuse the file descriptor
        with suppress(OSError):
            os.fsync(self._file)
        if forget and not self._open:
            self.path.unlink(missing_ok=True)
        os.close(self._file)

    def _write(self, line: dict[str, Any]) -> None:
        """Appends a line, unless an earlier write failed: after a missing line, later ones would mislead a sweep."""
        if self.write_error is not None:
            return
        try:
            self._append(line)
        except OSError as error:
            self.write_error = explain(error)
        else:
            self._written += 1

    def _append(self, line: dict[str, Any]) -> None:
        """Appends a whole line or nothing: after half a line, the next one could not be parsed."""
        size_before = os.fstat(self._file).st_size
        data = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, size_before)
            raise

    def _check(self) -> None:
        if self.write_error is not None:
            raise NotWritten(f"the ledger {self.path} cannot be written: {self.write_error}")

    async def _on_disk(self, line_count: int) -> None:
        """Waits until `line_count` lines are on disk. Concurrent callers share one fsync. Raises NotWritten."""
        while self._synced < line_count:
            # No retry after a failed fsync: the kernel may have dropped the data that it could not write.
            self._check()
            if self._sync is None or self._sync.done():
                self._sync = background.start(self._fsync())
            await background.wait(self._sync)

    async def _fsync(self) -> None:
        line_count = self._written
        try:
            await asyncio.to_thread(_sync_to_disk, self._file)
        except OSError as error:
            self.write_error = self.write_error or explain(error)
        else:
            self._synced = max(self._synced, line_count)


def _sync_to_disk(file: int) -> None:
    """Syncs the file to disk. Raises OSError, also if the file was removed, because a sweep could not find it."""
    os.fdatasync(file)
    if os.fstat(file).st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, "it has been removed")


def _open_locked(path: Path) -> int:
    """Opens and locks a file for appending. Raises UsageError if it cannot be written, or if another run holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except (OSError, ValueError) as error:
        raise _write_failed(path, error) from error
    try:
        lock(file, f"the ledger {path}")
    except BaseException:
        os.close(file)
        raise
    return file


def _write_failed(path: Path, error: Exception) -> UsageError:
    return UsageError(
        f"the ledger {path} cannot be written: {explain(error) if isinstance(error, OSError) else error}",
        hint="the kit starts no machine that is not in its ledger; choose a writable --report-dir",
    )


@dataclass(slots=True, kw_only=True)
class Entry:
    """A machine that a dead run may not have cleaned up, and what the ledger says about it."""

    machine: str
    home: State
    shards: dict[str, int] = field(default_factory=dict)
    """The shards whose calls may still arrive, each with its newest epoch."""
    host: str | None = None
    """The host that it was last seen with, if any."""
    resting: bool = False
    """True if it was last seen SPECULATIVE, and no call was intended since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A parsed ledger: the run that wrote it, its target, and the open machines."""

    run: str
    target: str
    entries: tuple[Entry, ...]


def read(path: Path) -> Record:
    """Reads a ledger, even if its last line is incomplete.

    Raises UsageError if the file does not exist or is not a ledger.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UsageError(
            f"the ledger {path} cannot be read: {error.strerror}", hint="pass the path of a ledger.ndjson"
        ) from error
    parsed = [_parse(line) for line in lines]
    header = parsed[0] if parsed else None
    if header is None or header.get("ledger") != FORMAT:
        raise UsageError(f"{path} is not a ledger", hint="pass the ledger.ndjson that the run printed at its start")
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
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _now() -> float:
    return round(time.time(), 3)
