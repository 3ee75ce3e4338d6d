"""Stores, which keep the provider's state after a restart: changes are saved before the ack (contract section 10).

Several providers, called replicas, can serve one fleet from one store (contract section 13).
"""

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
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
    stopped: bool = False
    """True if nothing has changed since a provider stopped in an orderly way."""
    machines: Mapping[str, Machine] = field(default_factory=dict)
    marks: Mapping[MarkKey, Token] = field(default_factory=dict)


class Store(Protocol):
    """Saves and loads snapshots. A store that only one provider uses inherits `changes` and `exclusive`."""

    @property
    def shared(self) -> bool:
        """True if other replicas may use the store at the same time."""
        return False

    def load(self) -> Snapshot | None:
        """Returns everything that was saved; None if nothing was saved yet."""

    def save(self, change: Snapshot) -> None:
        """Saves a change; it survives kill -9 as soon as this returns."""

    def close(self) -> None:
        """Releases the resources of the store."""

    def changes(self) -> Snapshot | None:
        """Returns what other replicas have saved since the last call; None if they have saved nothing."""
        return None

    def exclusive(self) -> AbstractContextManager[None]:
        """Keeps other replicas from saving until the body saves, or ends."""
        return nullcontext()


class MemoryStore(Store):
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


FILE_NAME = "fleet.db"
"""The name of the file in a state directory."""

_APPLICATION_ID = 0x42464650  # "BFFP": marks the file as the state of a fake provider
_FORMAT = 3
_LOCK_TIMEOUT_S = 5.0
"""The maximum time to wait for the lock on the file, in seconds; a replica needs it for milliseconds."""

_STEPS = {
    0: f"""
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE machines (id BLOB PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE marks (shard BLOB, machine BLOB, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
                    PRIMARY KEY (shard, machine));
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = 2
""",
    # The number of the save that wrote a row: `changes` reads only the rows of later saves.
    2: """
ALTER TABLE machines ADD COLUMN save INTEGER NOT NULL DEFAULT 0;
ALTER TABLE marks ADD COLUMN save INTEGER NOT NULL DEFAULT 0;
CREATE INDEX machines_by_save ON machines (save);
CREATE INDEX marks_by_save ON marks (save);
PRAGMA user_version = 3
""",
}
"""The statements that turn a file of one format into the next one; 0 is an empty file."""


class SqliteStore(Store):
    """A store in a SQLite file with a write-ahead log, which survives the process. Replicas may share the file."""

    def __init__(self, path: Path) -> None:
        """Opens the file; creates it if it is missing or empty. Raises StateFileError if it cannot be used."""
        self.path = path
        self._seen_version = 0
        """SQLite's number of the last save of another replica that was read."""
        self._seen_save = 0
        """The number of the last save that is known, in the counter `save`."""
        if not path.exists():
            self._create()
        with self._errors("opened"):
            self._db = sqlite3.connect(path, isolation_level=None, timeout=_LOCK_TIMEOUT_S)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    @classmethod
    def at(cls, path: Path) -> "SqliteStore":
        """Opens the store in a directory, which is created if it is missing, or in a file. Raises StateFileError."""
        if path.is_file():
            return cls(path)
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise StateFileError(f"state directory {path} cannot be created: {error.strerror}") from error
        path /= FILE_NAME
        if path.exists() and not path.stat().st_size:
            # A file gets its name together with its content, so this one has lost it: do not start a new fleet in it.
            raise StateFileError(f"state file {path} is damaged: it is empty")
        return cls(path)

    def _create(self) -> None:
        """Creates the file under another name first, so that a kill or another replica never leaves it half made."""
        try:
            with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".new-") as directory:
                path = Path(directory) / self.path.name
                path.touch()
                SqliteStore(path).close()
                with suppress(FileExistsError):  # another replica was first
                    os.link(path, self.path)
        except OSError as error:
            raise StateFileError(f"state file {self.path} cannot be created: {error.strerror}") from error

    def _open(self) -> None:
        self._format()  # before anything is written: the file may belong to another program
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # a kill loses nothing; a power failure may lose changes
        with self._writing():
            while (found := self._format()) != _FORMAT:
                for statement in _STEPS[found].split(";"):
                    self._db.execute(statement)

    def _format(self) -> int:
        application, version = self._pragma("application_id"), self._pragma("user_version")
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not application and not tables:
            return 0
        if application != _APPLICATION_ID:
            raise StateFileError(f"state file {self.path} belongs to another program")
        if version != _FORMAT and version not in _STEPS:
            raise StateFileError(f"state file {self.path} has format {version}; this version reads format {_FORMAT}")
        return version

    @property
    def shared(self) -> bool:
        """True: other replicas may use the file at the same time."""
        return True

    def load(self) -> Snapshot | None:
        """Returns everything that was saved; None if nothing was saved yet. Raises StateFileError if it is damaged."""
        with self._errors("read"), self._reading():
            (result,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if result != "ok":
                raise StateFileError(f"state file {self.path} is damaged: {result.splitlines()[-1]}")
            return self._read(since=-1)

    def changes(self) -> Snapshot | None:
        """Returns what other replicas have saved since the last call; None if they have saved nothing."""
        with self._errors("read"):
            if self._pragma("data_version") == self._seen_version:
                return None
            with self._reading():
                return self._read(since=self._seen_save)

    def save(self, change: Snapshot) -> None:
        """Saves a change in one transaction, with which an `exclusive` block ends."""
        with self._errors("written"), self._writing():
            number = self._counters().get("save", 0) + 1
            counters = {
                "origin": change.origin,
                "operations": change.operations,
                "revision": change.revision,
                "stopped": int(change.stopped),
                "save": number,
            }
            machines = [(each.id.encode(), json.dumps(asdict(each)), number) for each in change.machines.values()]
            marks = [
                (shard.encode(), machine.encode(), mark.epoch, mark.sequence, number)
                for (shard, machine), mark in change.marks.items()
            ]
            self._db.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?)", counters.items())
            self._db.executemany("INSERT OR REPLACE INTO machines VALUES (?, ?, ?)", machines)
            self._db.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?)", marks)
        if number == self._seen_save + 1:
            self._seen_save = number

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Locks the file until the body saves, or ends."""
        with self._errors("locked"):
            self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def _read(self, *, since: int) -> Snapshot | None:
        """Returns what the saves after `since` have written; runs in a transaction."""
        counters = self._counters()
        self._seen_version, self._seen_save = self._pragma("data_version"), counters.get("save", 0)
        if not counters:
            return None
        machines = self._db.execute("SELECT body FROM machines WHERE save > ?", (since,))
        marks = self._db.execute("SELECT shard, machine, epoch, sequence FROM marks WHERE save > ?", (since,))
        try:
            return Snapshot(
                origin=counters["origin"],
                operations=counters["operations"],
                revision=counters["revision"],
                stopped=bool(counters.get("stopped")),
                machines={machine.id: machine for machine in (_machine(json.loads(body)) for (body,) in machines)},
                marks={
                    (shard.decode(), machine.decode()): Token(shard=shard.decode(), epoch=epoch, sequence=sequence)
                    for shard, machine, epoch, sequence in marks
                },
            )
        except (ValueError, TypeError, KeyError) as error:
            raise StateFileError(f"state file {self.path} is damaged: {error}") from error

    def _counters(self) -> dict[str, int]:
        return dict(self._db.execute("SELECT name, value FROM counters"))

    def _pragma(self, name: str) -> int:
        (value,) = self._db.execute(f"PRAGMA {name}").fetchone()
        return int(value)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """All reads of the body see the same state."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """All writes of the body are saved, or none of them."""
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            reason = "is locked by another process" if "locked" in str(error) else f"cannot be {done}: {error}"
            raise StateFileError(f"state file {self.path} {reason}") from error
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                raise StateFileError(f"state file {self.path} is not a fake-provider state file: {error}") from error
            raise StateFileError(f"state file {self.path} is damaged: {error}") from error


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
