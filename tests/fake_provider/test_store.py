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


def test_a_state_file_is_used_by_one_process_at_a_time(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    with pytest.raises(StateFileError, match="in use"):
        SqliteStore(tmp_path / "state.db")
    store.close()
    SqliteStore(tmp_path / "state.db").close()


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
    with pytest.raises(StateFileError, match="cannot be opened"):
        SqliteStore(tmp_path / "missing" / "state.db")


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SqliteStore(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StateFileError, match="format 99"):
        SqliteStore(path)
