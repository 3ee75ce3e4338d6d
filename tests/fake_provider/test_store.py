import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_provider.core import Core
from fake_provider.errors import StateFileError
from fake_provider.faults import Faults
from fake_provider.fence import Token
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.machine import State
from fake_provider.store import MemoryStore, Snapshot, SqliteStore, Store
from tests.fake_provider.driver import IDLE, OTHER, SLOT, Driver, fenced, refused, small_fleet

ODD = {"": "", "k\0": "\x01", "Ä": "A\u0308", "emoji": "\U0001f9ff"}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "state.db")
    yield made
    made.close()


def start(store: Store, *, seconds: float = 1.0, **options: object) -> Driver:
    """Starts a provider on the store; on a store that was used before, this simulates a restart after kill -9."""
    drive = Driver(Core(small_fleet(), store=store, latency=Latency.every(seconds), **options))  # type: ignore[arg-type]
    drive.sequence = 1000 * len(drive.core.inventory.marks)
    return drive


def test_a_restart_restores_machines_and_marks(store: Store) -> None:
    first = start(store)
    first.settled(first.create())
    first.bound(SLOT, metadata=ODD)
    first.bound(IDLE)
    second = start(store)
    assert second.core.machines == first.core.machines
    assert second.core.inventory.marks == first.core.inventory.marks


def test_the_saved_fleet_replaces_the_given_one(store: Store) -> None:
    start(store)
    assert Core([], store=store).machines.keys() == {SLOT, IDLE, OTHER}


def test_marks_survive_a_restart_and_a_new_shard_starts_without_one(store: Store) -> None:
    mark = Token(shard="sh\0ard", epoch=2**63 - 1, sequence=2**63 - 1)
    start(store).create(token=mark)
    second = start(store)
    with fenced():
        second.create(token=mark)
    assert second.create(token=Token(shard="new", epoch=0, sequence=0)).operation_id


def test_the_mark_of_a_refused_call_survives_a_restart(store: Store) -> None:
    mark = Token(shard="shard", epoch=1, sequence=1)
    with refused():
        start(store).create("nobody", mark)
    with fenced():
        start(store).create("nobody", mark)


def test_operation_ids_survive_a_restart_and_new_ones_differ(store: Store) -> None:
    first = start(store)
    ack = first.create()
    first.wait()
    second = start(store)
    assert second.create().operation_id == ack.operation_id
    assert second.create(OTHER).operation_id != ack.operation_id


def test_cursors_stay_valid_after_a_restart(store: Store) -> None:
    first = start(store)
    first.create()
    cursor = first.list().revision
    second = start(store)
    assert second.ids(since=cursor) == set()
    second.wait()
    assert second.ids(since=cursor) == {SLOT}


def test_a_transition_continues_after_a_restart(store: Store) -> None:
    first = start(store)
    first.configure(metadata=ODD)
    second = start(store)
    second.now += 0.5
    second.core.resume(second.now)
    assert second.state(IDLE) is State.CONFIGURING
    second.wait(0.5)
    assert second.state(IDLE) is State.CONFIGURED
    assert second.get(IDLE).shard_metadata == ODD


def test_no_transition_gets_stuck_if_the_clock_was_set_back(store: Store) -> None:
    start(store, seconds=0.5).create()
    second = start(store, seconds=0.5)
    second.now = 5.0
    second.core.resume(second.now)
    assert second.core.next_due() == 5.5
    second.wait()
    assert second.state(SLOT) is State.IDLE


def test_a_restart_keeps_due_times_that_are_not_too_late(store: Store) -> None:
    first = start(store, faults=Faults(timeout=3.0))
    first.create()
    first.configure(cluster="fault-timeout")
    second = start(store, faults=Faults(timeout=3.0))
    second.core.resume(second.now)
    assert second.core.machines == first.core.machines
    second.wait(1.0)
    assert second.core.next_due() == first.now + 3.0


def test_a_failing_transition_still_fails_after_a_restart(store: Store) -> None:
    start(store, faults=Faults()).configure(cluster="fault-slow-ok")
    second = start(store)
    second.core.resume(second.now)
    second.wait(99.0)
    assert second.state(IDLE) is State.FAILED


def test_changes_that_cannot_be_saved_are_undone() -> None:
    class Full(MemoryStore):
        full = False

        def save(self, change: Snapshot) -> None:
            if self.full:
                raise OSError("no space left")
            super().save(change)

    store = Full()
    drive = start(store)
    drive.configure()
    store.full = True
    mark = Token(shard="shard", epoch=1, sequence=1)
    with pytest.raises(OSError, match="no space"):
        drive.create(token=mark)
    drive.now += 1
    with pytest.raises(OSError, match="no space"):
        drive.core.advance(drive.now)
    assert drive.core.machines[SLOT].state is State.SPECULATIVE
    store.full = False
    assert drive.state(IDLE) is State.CONFIGURED
    assert drive.create(token=mark).machine.state is State.CREATING


def test_a_killed_process_loses_no_accepted_call(tmp_path: Path) -> None:
    code = """
import sys
from collections.abc import Iterator
from pathlib import Path
from fake_provider.store import SqliteStore
from tests.fake_provider.test_store import start

drive = start(SqliteStore(Path(sys.argv[1])))
drive.settled(drive.create())
print(drive.configure("slot", metadata={"a": "b"}).operation_id, flush=True)
sys.stdin.read()
"""
    path = tmp_path / "state.db"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        operation_id = process.stdout.readline().strip()
        assert operation_id
        os.kill(process.pid, signal.SIGKILL)
    store = SqliteStore(path)
    drive = start(store)
    drive.now += 1
    assert drive.state(SLOT) is State.CONFIGURING
    with fenced():
        drive.configure(SLOT, token=Token(shard="driver", epoch=1, sequence=2))
    ack = drive.configure(SLOT)
    assert ack.operation_id == operation_id
    assert drive.settled(ack).shard_metadata == {"a": "b"}
    assert drive.create(OTHER).operation_id != operation_id
    store.close()


def test_a_locked_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fake_provider.store._LOCK_TIMEOUT_S", 0.01)
    path = tmp_path / "state.db"
    first, second = SqliteStore(path), SqliteStore(path)
    with first.exclusive():
        for use in (second.exclusive().__enter__, lambda: start(second), lambda: SqliteStore(path)):
            with pytest.raises(StateFileError, match="is locked by another process"):
                use()
    start(second)
    first.close()
    second.close()


def test_a_file_is_created_whole(tmp_path: Path) -> None:
    path = tmp_path / "new"
    SqliteStore.at(path).close()
    assert [file.name for file in path.iterdir()] == ["fleet.db"]
    assert (path / "fleet.db").stat().st_size
    SqliteStore.at(path / "fleet.db").close()


def test_an_empty_file_becomes_a_new_fleet_but_not_in_a_state_directory(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    path.touch()
    with pytest.raises(StateFileError, match="damaged: it is empty"):
        SqliteStore.at(tmp_path)
    assert path.stat().st_size == 0
    SqliteStore.at(path).close()
    SqliteStore.at(tmp_path).close()


def test_a_file_of_format_2_is_upgraded_and_has_everything(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    first = start(store)
    first.configure(metadata=ODD)
    store.close()
    db = sqlite3.connect(path)
    for table in ("machines", "marks"):
        db.execute(f"DROP INDEX {table}_by_save")
        db.execute(f"ALTER TABLE {table} DROP COLUMN save")
    db.execute("DELETE FROM counters WHERE name IN ('save', 'stopped')")
    db.execute("PRAGMA user_version = 2")
    db.commit()
    db.close()
    stores = [SqliteStore(path), SqliteStore(path)]
    for each in stores:
        second = start(each)
        assert second.core.machines == first.core.machines
        assert second.core.inventory.marks == first.core.inventory.marks
    for each in stores:
        each.close()


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_torn_file_is_an_error_and_not_changed(tmp_path: Path, share: float) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    Core(fleet(400), store=store)
    store.close()
    torn = path.read_bytes()[: int(path.stat().st_size * share)]
    path.write_bytes(torn)
    with pytest.raises(StateFileError, match="is damaged"):
        SqliteStore(path).load()
    assert path.read_bytes() == torn


def test_a_full_disk_is_said_in_words_and_nothing_is_lost(tmp_path: Path) -> None:
    class Full(SqliteStore):
        def pages(self, most: int) -> None:
            self._db.execute(f"PRAGMA max_page_count = {most}")

    store = Full(tmp_path / "state.db")
    drive = start(store)
    store.pages(1)
    mark = Token(shard="shard", epoch=1, sequence=1)
    with pytest.raises(StateFileError, match="cannot be written: database or disk is full"):
        drive.configure(metadata={"much": "x" * 100_000}, token=mark)
    assert drive.state(IDLE) is State.IDLE
    store.pages(1_000_000)
    assert drive.configure(metadata={"much": "x" * 100_000}, token=mark).machine.state is State.CONFIGURING
    assert start(store).core.machines == drive.core.machines
    store.close()


def test_a_file_of_another_program_is_refused_and_not_changed(tmp_path: Path) -> None:
    text, database = tmp_path / "text", tmp_path / "other.db"
    text.write_text("dear diary")
    db = sqlite3.connect(database)
    db.execute("CREATE TABLE songs (title)")
    db.close()
    before = database.read_bytes()
    with pytest.raises(StateFileError, match="not a fake-provider state file"):
        SqliteStore(text)
    with pytest.raises(StateFileError, match="belongs to another program"):
        SqliteStore(database)
    assert text.read_text() == "dear diary"
    assert database.read_bytes() == before


@pytest.mark.parametrize("body", ["{}", "nonsense", '{"host": null, "operation": null, "color": "red"}'])
def test_a_damaged_file_is_an_error(tmp_path: Path, body: str) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    start(store)
    store.close()
    db = sqlite3.connect(path)
    db.execute("UPDATE machines SET body = ?", (body,))
    db.commit()
    db.close()
    store = SqliteStore(path)
    with pytest.raises(StateFileError, match="damaged"):
        store.load()
    store.close()


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StateFileError, match="cannot be created: No such file"):
        SqliteStore(tmp_path / "missing" / "state.db")


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SqliteStore(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StateFileError, match="format 99"):
        SqliteStore(path)
