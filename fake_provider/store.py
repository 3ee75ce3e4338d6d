"""What outlives the process: what changed is written before the ack (contract section 10)."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from fake_provider.errors import StateFileError
from fake_provider.fence import Token
from fake_provider.machine import CapacityType, Host, Machine, Operation, State, Verb

MarkKey = tuple[str, str]
"""What a mark is kept under: a shard, and a machine where the scope says so (FEN-13)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a core knows, or the part of it that changed; the counters are always whole."""

    origin: int
    operations: int
    revision: int
    machines: Mapping[str, Machine] = field(default_factory=dict)
    marks: Mapping[MarkKey, Token] = field(default_factory=dict)


class Store(Protocol):
    """Where snapshots go."""

    def load(self) -> Snapshot | None:
        """Everything that was saved; None where nothing ever was."""

    def save(self, change: Snapshot) -> None:
        """Write a change; it is safe from a kill when this returns."""

    def close(self) -> None:
        """Let go of what the store holds open."""


class MemoryStore:
    """Outlives a core, but not the process."""

    def __init__(self) -> None:
        self._machines: dict[str, Machine] = {}
        self._marks: dict[MarkKey, Token] = {}
        self._last: Snapshot | None = None

    def load(self) -> Snapshot | None:
        """Everything that was saved; None where nothing ever was."""
        return self._last and replace(self._last, machines=dict(self._machines), marks=dict(self._marks))

    def save(self, change: Snapshot) -> None:
        """Lay the change over what was saved."""
        self._machines.update(change.machines)
        self._marks.update(change.marks)
        self._last = change

    def close(self) -> None:
        """Let go of nothing: there is nothing held."""


_APPLICATION = 0x42464650  # "BFFP", in the file's header: this is a fake provider's
_FORMAT = 1
_SCHEMA = """
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE machines (id BLOB PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE marks (shard BLOB, machine BLOB, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
                    PRIMARY KEY (shard, machine));
"""


class SqliteStore:
    """Outlives the process: a SQLite file of our own, written ahead, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; raises StateFileError where it cannot be used."""
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=0.2)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise
        except sqlite3.OperationalError as error:
            why = "is in use by another process" if "locked" in str(error) else f"cannot be opened: {error}"
            raise StateFileError(f"state file {path} {why}") from error
        except sqlite3.DatabaseError as error:
            raise StateFileError(f"state file {path} is not a fake provider's: {error}") from error

    def _open(self) -> None:
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if application != _APPLICATION and (tables or application):
            raise StateFileError(f"state file {self.path} is another program's")
        if application == _APPLICATION and version != _FORMAT:
            raise StateFileError(f"state file {self.path} has format {version}; this program reads {_FORMAT}")
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing; a power cut may
        self._db.execute("BEGIN IMMEDIATE")  # takes the lock, and keeps it
        if application != _APPLICATION:
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._db.execute(f"PRAGMA user_version = {_FORMAT}")
        self._db.execute("COMMIT")

    def load(self) -> Snapshot | None:
        """Everything that was saved; raises StateFileError where it cannot be read."""
        try:
            counters: dict[str, int] = dict(self._db.execute("SELECT name, value FROM counters"))
            if not counters:
                return None
            machines = (_machine(json.loads(body)) for (body,) in self._db.execute("SELECT body FROM machines"))
            marks = {
                (shard.decode(), machine.decode()): Token(shard=shard.decode(), epoch=epoch, sequence=sequence)
                for shard, machine, epoch, sequence in self._db.execute(
                    "SELECT shard, machine, epoch, sequence FROM marks"
                )
            }
            return Snapshot(**counters, machines={machine.id: machine for machine in machines}, marks=marks)
        except (sqlite3.DatabaseError, ValueError, TypeError, KeyError) as error:
            raise StateFileError(f"state file {self.path} is damaged: {error}") from error

    def save(self, change: Snapshot) -> None:
        """Write a change, all of it or nothing."""
        counters = {"origin": change.origin, "operations": change.operations, "revision": change.revision}
        machines = [(each.id.encode(), json.dumps(asdict(each))) for each in change.machines.values()]
        marks = [
            (shard.encode(), machine.encode(), mark.epoch, mark.sequence)
            for (shard, machine), mark in change.marks.items()
        ]
        self._db.execute("BEGIN")
        try:
            self._db.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?)", counters.items())
            self._db.executemany("INSERT OR REPLACE INTO machines VALUES (?, ?)", machines)
            self._db.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?)", marks)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def _machine(body: dict[str, Any]) -> Machine:
    host, operation = body.pop("host"), body.pop("operation")
    if operation:
        operation = Operation(**operation | {"verb": Verb(operation["verb"])})
    return Machine(
        **body
        | {
            "state": State(body["state"]),
            "capacity_type": CapacityType(body["capacity_type"]),
            "host": Host(**host) if host else None,
            "operation": operation,
        }
    )
