from __future__ import annotations

import asyncio
import fcntl
import json
import os
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from conformance.core.errors import NotWritten, UsageError
from conformance.core.fencing import Token
from conformance.core.lifecycle import State, Verb
from conformance.fleet import ledger
from conformance.fleet.ledger import Ledger, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def opened(path: Path, *, run: str = "cpc-1") -> Iterator[Ledger]:
    ledger_file = Ledger(path, run=run, target="host:1")
    try:
        yield ledger_file
    finally:
        ledger_file.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "ledger.ndjson"


async def intend(
    ledger_file: Ledger,
    machine: str = "m",
    verb: Verb = Verb.CREATE,
    *,
    shard: str = "s",
    epoch: int = 1,
    seen: State = State.SPECULATIVE,
    home: State = State.SPECULATIVE,
) -> None:
    await ledger_file.write_intent(machine, verb, Token(shard, epoch, 1), home=home, seen=seen)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def intents(path: Path) -> list[tuple[str, str]]:
    return [(line["machine"], line["intend"]) for line in lines(path) if "intend" in line]


def test_an_intent_is_on_disk_before_the_call_may_be_sent(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, on_disk = os.fdatasync, list[list[tuple[str, str]]]()

    def fdatasync(descriptor: int) -> None:
        on_disk.append(intents(path))
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)

    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file)
            assert on_disk == [[("m", "Create")]]
            await intend(ledger_file, "n")
            assert on_disk[1:] == [[("m", "Create"), ("n", "Create")]]

    asyncio.run(go())


def test_a_failing_disk_prevents_calls(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fdatasync(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fdatasync)

    async def go() -> None:
        with opened(path) as ledger_file:
            with pytest.raises(NotWritten, match="Input/output error"):
                await intend(ledger_file)
            with pytest.raises(NotWritten, match="Input/output error"):
                await intend(ledger_file)

    asyncio.run(go())


def test_a_ledger_that_is_not_durable_does_not_wait_for_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fdatasync(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fdatasync)

    async def go() -> None:
        with closing(Ledger(path, run="cpc-1", target="host:1", durable=False)) as ledger_file:
            await intend(ledger_file)
            assert intents(path) == [("m", "Create")]

    asyncio.run(go())


def test_concurrent_intents_share_an_fsync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = os.fdatasync, 0

    def fdatasync(descriptor: int) -> None:
        nonlocal count
        count += 1
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)

    async def go() -> None:
        with opened(path) as ledger_file:
            await asyncio.gather(*(intend(ledger_file, f"m{number}") for number in range(100)))

    asyncio.run(go())
    assert len(intents(path)) == 100
    assert count <= 3


def test_an_intent_written_during_an_fsync_waits_for_the_next_fsync(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, proceed, seen = threading.Event(), threading.Event(), list[int]()

    def fdatasync(descriptor: int) -> None:
        seen.append(len(intents(path)))
        started.set()
        proceed.wait(10)

    monkeypatch.setattr(os, "fdatasync", fdatasync)

    async def go() -> None:
        with opened(path) as ledger_file:
            first = asyncio.create_task(intend(ledger_file, "m"))
            await asyncio.to_thread(started.wait, 10)
            second = asyncio.create_task(intend(ledger_file, "n"))
            await asyncio.sleep(0)
            proceed.set()
            await first
            await second

    asyncio.run(go())
    assert seen == [1, 2]


def test_an_equal_second_call_waits_for_the_line_of_the_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, proceed = threading.Event(), threading.Event()

    def fdatasync(descriptor: int) -> None:
        started.set()
        proceed.wait(10)

    monkeypatch.setattr(os, "fdatasync", fdatasync)

    async def go() -> None:
        with opened(path) as ledger_file:
            first = asyncio.create_task(intend(ledger_file))
            await asyncio.to_thread(started.wait, 10)
            second = asyncio.create_task(intend(ledger_file))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not second.done()
            proceed.set()
            await asyncio.gather(first, second)

    asyncio.run(go())
    assert intents(path) == [("m", "Create")]


def test_a_cancelled_intent_does_not_cancel_others(path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            first = asyncio.create_task(intend(ledger_file, "m"))
            second = asyncio.create_task(intend(ledger_file, "n"))
            await asyncio.sleep(0)
            first.cancel()
            await second

    asyncio.run(go())
    assert ("n", "Create") in intents(path)


def test_only_a_call_of_another_shard_needs_a_second_line(path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file, shard="s")
            await intend(ledger_file, shard="s")
            await intend(ledger_file, shard="t")

    asyncio.run(go())
    assert intents(path) == [("m", "Create")] * 2


@pytest.mark.parametrize(
    ("verb", "seen", "needed"),
    [
        (Verb.DRAIN, State.CONFIGURED, True),
        (Verb.DRAIN, State.IDLE, False),
        (Verb.CREATE, State.IDLE, False),
        (Verb.CREATE, State.SPECULATIVE, True),
        (Verb.DELETE, State.IDLE, True),
        (Verb.DELETE, State.FAILED, False),
        (Verb.CONFIGURE, State.CREATING, True),
    ],
)
def test_a_call_on_an_open_machine_needs_a_line_only_if_it_may_start_a_transition(
    path: Path, verb: Verb, seen: State, needed: bool
) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file, verb=Verb.CREATE)
            ledger_file.note_settled("m", State.IDLE, host="i-1")
            await intend(ledger_file, verb=verb, seen=seen)

    asyncio.run(go())
    assert len(intents(path)) == 1 + needed


def test_the_first_call_of_a_machine_always_has_a_line(path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file, verb=Verb.DRAIN, seen=State.SPECULATIVE)

    asyncio.run(go())
    assert intents(path) == [("m", "Drain")]


def test_after_the_machine_has_settled_the_same_call_needs_a_new_line(path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file, verb=Verb.CREATE)
            ledger_file.note_settled("m", State.SPECULATIVE, host="")
            await intend(ledger_file, verb=Verb.CREATE)

    asyncio.run(go())
    assert intents(path) == [("m", "Create")] * 2


def test_reading_returns_the_open_machines(path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            for machine in ("home", "lost", "left"):
                await intend(ledger_file, machine)
            await intend(ledger_file, "left", shard="s", epoch=4)
            await intend(ledger_file, "left", Verb.CONFIGURE, shard="t", epoch=2, seen=State.CREATING)
            await intend(ledger_file, "idle", home=State.IDLE, verb=Verb.CONFIGURE)
            ledger_file.note_settled("left", State.IDLE, host="i-1")
            ledger_file.note_cleaned_up("home")
            ledger_file.note_lost("lost")
            assert list(ledger_file.open) == ["left", "idle"]

    asyncio.run(go())
    record = read(path)
    assert (record.run, record.target) == ("cpc-1", "host:1")
    assert record.entries == (
        ledger.Entry(machine="left", home=State.SPECULATIVE, shards={"s": 4, "t": 2}, host="i-1"),
        ledger.Entry(machine="idle", home=State.IDLE, shards={"s": 1}),
    )


def test_a_machine_that_is_used_after_its_cleanup_is_open_again(path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file)
            ledger_file.note_settled("m", State.IDLE, host="i-1")
            ledger_file.note_cleaned_up("m")
            await intend(ledger_file, epoch=2)

    asyncio.run(go())
    assert read(path).entries == (ledger.Entry(machine="m", home=State.SPECULATIVE, shards={"s": 2}),)


def test_only_open_machines_are_written_as_cleaned_up(path: Path) -> None:
    with opened(path) as ledger_file:
        ledger_file.note_cleaned_up("m")
        ledger_file.note_lost("m")
        ledger_file.note_settled("m", State.IDLE, host="")
    assert [set(line) for line in lines(path)] == [{"ledger", "run", "target", "at"}, {"end", "open"}]


def test_an_incomplete_last_line_loses_only_entries_that_were_not_confirmed(path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file, "m")
            await intend(ledger_file, "n")

    asyncio.run(go())
    whole = path.read_bytes()
    end = whole.index(b'{"end"')
    for cut in range(whole.index(b"\n") + 1, end):
        path.write_bytes(whole[:cut])
        complete = whole[:cut].count(b'"intend"', 0, whole.rindex(b"\n", 0, cut) + 1)
        assert len(read(path).entries) >= complete


def test_a_file_cut_in_the_middle_of_a_character_can_be_read(path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file, "m")
            await intend(ledger_file, "mächine")

    asyncio.run(go())
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index("ä".encode()) + 1])
    assert [entry.machine for entry in read(path).entries] == ["m"]


@pytest.mark.parametrize("content", ["", "\n", "hello", "[]", '{"ledger": 2}', '{"format": 1}', "\x00\x01"])
def test_a_file_that_is_not_a_ledger_is_rejected(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match="is not a ledger"):
        read(path)


def test_a_missing_ledger_is_an_error_with_its_path(path: Path) -> None:
    with pytest.raises(UsageError, match=r"ledger\.ndjson cannot be read: No such file"):
        read(path)


def test_unknown_lines_are_skipped(path: Path) -> None:
    path.parent.mkdir()
    unknown = ['{"intend": 1}', '{"home": ["m"]}', '{"seen": "IDLE", "machine": "x", "host": ""}', '"text"', "{"]
    path.write_text("\n".join(['{"ledger": 1}', *unknown]), encoding="utf-8")
    assert read(path).entries == ()


def test_an_unknown_home_state_is_read_as_unspecified(path: Path) -> None:
    path.parent.mkdir()
    line = {"intend": "Create", "machine": "m", "home": "NOWHERE", "shard": "s", "epoch": 1}
    path.write_text('{"ledger": 1}\n' + json.dumps(line), encoding="utf-8")
    assert [entry.home for entry in read(path).entries] == [State.UNSPECIFIED]


def test_a_second_run_cannot_open_the_ledger_of_a_running_one(path: Path) -> None:
    with opened(path), pytest.raises(UsageError, match="belongs to a run that is still active"):
        Ledger(path, run="cpc-2", target="host:1")
    assert [line["run"] for line in lines(path) if "run" in line] == ["cpc-1"]


def test_the_ledger_of_a_finished_run_is_unlocked(path: Path) -> None:
    with opened(path):
        pass
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_ledger_that_cannot_be_written_is_reported_before_any_machine_is_started(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot be written: (Not a directory|File exists)") as caught:
        Ledger(tmp_path / "file" / "ledger.ndjson", run="cpc-1", target="host:1")
    assert caught.value.hint is not None
    assert "starts no machine" in caught.value.hint


def test_an_adopted_record_continues_the_ledger_of_a_dead_run(path: Path) -> None:
    async def dead() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file, "m")
            await intend(ledger_file, "n")

    asyncio.run(dead())
    record = read(path)
    with opened(path) as ledger_file:
        ledger_file.adopt(record)
        assert list(ledger_file.open) == ["m", "n"]
        ledger_file.note_cleaned_up("m")
    assert [entry.machine for entry in read(path).entries] == ["n"]
    assert lines(path)[-1]["open"] == ["n"]


def test_closing_twice_is_allowed_and_removes_a_ledger_without_open_machines(path: Path) -> None:
    ledger_file = Ledger(path, run="cpc-1", target="host:1")
    ledger_file.close(forget=True)
    ledger_file.close()
    assert not path.exists()


def test_a_ledger_with_an_open_machine_is_not_removed(path: Path) -> None:
    async def go() -> None:
        ledger_file = Ledger(path, run="cpc-1", target="host:1")
        await intend(ledger_file)
        ledger_file.close(forget=True)

    asyncio.run(go())
    assert [entry.machine for entry in read(path).entries] == ["m"]


def test_a_closed_ledger_is_not_written_to_and_prevents_calls(path: Path, tmp_path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file)
        other = tmp_path / "other"
        with other.open("w", encoding="utf-8"):  # it may get the file descriptor that the ledger had
            ledger_file.note_cleaned_up("m")
            with pytest.raises(NotWritten, match="it is closed"):
                await intend(ledger_file, "n")
        assert other.read_text(encoding="utf-8") == ""

    asyncio.run(go())
