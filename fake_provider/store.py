"""Stores, which keep the provider's state after a restart: changes are saved before the ack (contract section 10)."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from fake_provider.errors import StateFileError
from fake_provider.fence import Token
from fake_provider.machine import CapacityType, Host, InstanceType, Machine, Operation, State, Verb

MarkKey = tuple[str, str]
"""The key of a mark: the shard, and the machine if the scope is per machine (FEN-13)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of a core, or the changed part of it; always with all counters."""

    origin: int
    operations: int
    revision: int
    machines: Mapping[str, Machine] = field(default_factory=dict)
    marks: Mapping[MarkKey, Token] = field(default_factory=dict)


class Store(Protocol):
    """Saves and loads snapshots."""

    def load(self) -> Snapshot | None:
        """Returns everything that was saved; None if nothing was saved yet."""

    def save(self, change: Snapshot) -> None:
        """Saves a change; it survives kill -9 as soon as this returns."""

    def close(self) -> None:
        """Releases the resources of the store."""


class MemoryStore:
    """A store in memory, which survives a core but not the process."""

    def __init__(self) -> None:
        self._machines: dict[str, Machine] = {}
        self._marks: dict[MarkKey, Token] = {}
        self._last: Snapshot | None = None

    def load(self) -> Snapshot | None:
        """Returns everything that was saved; None if nothing was saved yet."""
        return self._last and replace(self._last, machines=dict(self._machines), marks=dict(self._marks))

    def save(self, change: Snapshot) -> None:
        """Merges the change into the saved state."""
        self._machines.update(change.machines)
        self._marks.update(change.marks)
        self._last = change

    def close(self) -> None:
        """Does nothing: there are no resources to release."""


_APPLICATION_ID = 0x42464650  # "BFFP": marks the file as the state of a fake provider
_FORMAT = 2
_SCHEMA = """
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE machines (id BLOB PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE marks (shard BLOB, machine BLOB, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
                    PRIMARY KEY (shard, machine));
"""


class SqliteStore:
    """A store in a SQLite file with a write-ahead log, which survives the process; used by one process at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises StateFileError if it cannot be used."""
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=0.2)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise
        except sqlite3.OperationalError as error:
            reason = "is in use by another process" if "locked" in str(error) else f"cannot be opened: {error}"
            raise StateFileError(f"state file {path} {reason}") from error
        except sqlite3.DatabaseError as error:
            raise StateFileError(f"state file {path} is not a fake-provider state file: {error}") from error

    def _open(self) -> None:
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if application != _APPLICATION_ID and (tables or application):
            raise StateFileError(f"state file {self.path} belongs to another program")
        if application == _APPLICATION_ID and version != _FORMAT:
            raise StateFileError(f"state file {self.path} has format {version}; this version reads format {_FORMAT}")
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # a kill loses nothing; a power failure may lose changes
        self._db.execute("BEGIN IMMEDIATE")  # takes the lock, which EXCLUSIVE mode keeps
        if application != _APPLICATION_ID:
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {_FORMAT}")
        self._db.execute("COMMIT")

    def load(self) -> Snapshot | None:
        """Returns everything that was saved; None if nothing was saved yet. Raises StateFileError if it is damaged."""
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
        """Saves a change in one transaction."""
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
        """Closes the file."""
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
            "instance_type": InstanceType(**body["instance_type"]),
            "operation": operation,
        }
    )
