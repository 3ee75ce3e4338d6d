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


def test_an_intent_is_on_disk_before_the_call_may_go_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_disk_that_fails_lets_no_call_go_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_ledger_of_what_ends_with_this_process_waits_for_no_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fdatasync(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fdatasync)

    async def go() -> None:
        with closing(Ledger(path, run="cpc-1", target="host:1", durable=False)) as ledger_file:
            await intend(ledger_file)
            assert intents(path) == [("m", "Create")]

    asyncio.run(go())


def test_many_intents_at_once_share_an_fsync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_an_intent_that_comes_during_an_fsync_waits_for_one_of_its_own(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, seen = threading.Event(), threading.Event(), list[int]()

    def fdatasync(descriptor: int) -> None:
        seen.append(len(intents(path)))
        begun.set()
        go_on.wait(10)

    monkeypatch.setattr(os, "fdatasync", fdatasync)

    async def go() -> None:
        with opened(path) as ledger_file:
            first = asyncio.create_task(intend(ledger_file, "m"))
            await asyncio.to_thread(begun.wait, 10)
            second = asyncio.create_task(intend(ledger_file, "n"))
            await asyncio.sleep(0)
            go_on.set()
            await first
            await second

    asyncio.run(go())
    assert seen == [1, 2]


def test_a_second_call_like_the_first_waits_for_the_first_ones_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def fdatasync(descriptor: int) -> None:
        begun.set()
        go_on.wait(10)

    monkeypatch.setattr(os, "fdatasync", fdatasync)

    async def go() -> None:
        with opened(path) as ledger_file:
            first = asyncio.create_task(intend(ledger_file))
            await asyncio.to_thread(begun.wait, 10)
            second = asyncio.create_task(intend(ledger_file))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not second.done()
            go_on.set()
            await asyncio.gather(first, second)

    asyncio.run(go())
    assert intents(path) == [("m", "Create")]


def test_who_is_cancelled_while_it_waits_takes_no_one_else_along(path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            first = asyncio.create_task(intend(ledger_file, "m"))
            second = asyncio.create_task(intend(ledger_file, "n"))
            await asyncio.sleep(0)
            first.cancel()
            await second

    asyncio.run(go())
    assert ("n", "Create") in intents(path)


def test_a_retry_of_one_shard_needs_no_second_line_and_another_shards_call_does(path: Path) -> None:
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
def test_of_an_open_machine_only_a_call_that_may_start_something_needs_a_line(
    path: Path, verb: Verb, seen: State, needed: bool
) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file, verb=Verb.CREATE)
            ledger_file.note_settled("m", State.IDLE, host="i-1")
            await intend(ledger_file, verb=verb, seen=seen)

    asyncio.run(go())
    assert len(intents(path)) == 1 + needed


def test_the_first_call_of_a_machine_has_a_line_whatever_it_is(path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file, verb=Verb.DRAIN, seen=State.SPECULATIVE)

    asyncio.run(go())
    assert intents(path) == [("m", "Drain")]


def test_after_a_settling_the_same_call_starts_something_new(path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file, verb=Verb.CREATE)
            ledger_file.note_settled("m", State.SPECULATIVE, host="")
            await intend(ledger_file, verb=Verb.CREATE)

    asyncio.run(go())
    assert intents(path) == [("m", "Create")] * 2


def test_what_is_read_back_is_what_is_open(path: Path) -> None:
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


def test_a_machine_that_left_home_again_is_open_again(path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file)
            ledger_file.note_settled("m", State.IDLE, host="i-1")
            ledger_file.note_cleaned_up("m")
            await intend(ledger_file, epoch=2)

    asyncio.run(go())
    assert read(path).entries == (ledger.Entry(machine="m", home=State.SPECULATIVE, shards={"s": 2}),)


def test_who_was_never_open_is_not_written_down_as_home(path: Path) -> None:
    with opened(path) as ledger_file:
        ledger_file.note_cleaned_up("m")
        ledger_file.note_lost("m")
        ledger_file.note_settled("m", State.IDLE, host="")
    assert [set(line) for line in lines(path)] == [{"ledger", "run", "target", "at"}, {"end", "open"}]


def test_a_cut_last_line_loses_only_what_was_never_promised(path: Path) -> None:
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


def test_a_cut_in_the_middle_of_a_character_can_be_read(path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file, "m")
            await intend(ledger_file, "mächine")

    asyncio.run(go())
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index("ä".encode()) + 1])
    assert [entry.machine for entry in read(path).entries] == ["m"]


@pytest.mark.parametrize("content", ["", "\n", "hello", "[]", '{"ledger": 2}', '{"format": 1}', "\x00\x01"])
def test_what_is_no_ledger_is_refused(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match="is no ledger"):
        read(path)


def test_a_ledger_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(UsageError, match=r"ledger\.ndjson cannot be read: No such file"):
        read(path)


def test_lines_that_nobody_knows_are_passed_over(path: Path) -> None:
    path.parent.mkdir()
    strange = ['{"intend": 1}', '{"home": ["m"]}', '{"seen": "IDLE", "machine": "x", "host": ""}', '"text"', "{"]
    path.write_text("\n".join(['{"ledger": 1}', *strange]), encoding="utf-8")
    assert read(path).entries == ()


def test_an_unknown_home_in_a_damaged_line_is_passed_over(path: Path) -> None:
    path.parent.mkdir()
    line = {"intend": "Create", "machine": "m", "home": "NOWHERE", "shard": "s", "epoch": 1}
    path.write_text('{"ledger": 1}\n' + json.dumps(line), encoding="utf-8")
    assert [entry.home for entry in read(path).entries] == [State.UNSPECIFIED]


def test_a_second_run_cannot_have_the_ledger_of_one_that_lives(path: Path) -> None:
    with opened(path), pytest.raises(UsageError, match="belongs to a run that still lives"):
        Ledger(path, run="cpc-2", target="host:1")
    assert [line["run"] for line in lines(path) if "run" in line] == ["cpc-1"]


def test_the_ledger_of_a_run_that_ended_is_free(path: Path) -> None:
    with opened(path):
        pass
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_ledger_that_cannot_be_written_is_said_before_anything_is_started(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot be written: (Not a directory|File exists)") as caught:
        Ledger(tmp_path / "file" / "ledger.ndjson", run="cpc-1", target="host:1")
    assert caught.value.hint is not None
    assert "starts no machine" in caught.value.hint


def test_a_sweep_goes_on_where_the_dead_run_left_off(path: Path) -> None:
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


def test_closing_twice_is_closing_once_and_a_forgotten_ledger_is_gone_where_nothing_is_open(path: Path) -> None:
    ledger_file = Ledger(path, run="cpc-1", target="host:1")
    ledger_file.close(forget=True)
    ledger_file.close()
    assert not path.exists()


def test_a_ledger_with_a_machine_in_it_is_not_forgotten(path: Path) -> None:
    async def go() -> None:
        ledger_file = Ledger(path, run="cpc-1", target="host:1")
        await intend(ledger_file)
        ledger_file.close(forget=True)

    asyncio.run(go())
    assert [entry.machine for entry in read(path).entries] == ["m"]


def test_what_is_closed_is_not_written_to_and_nothing_more_is_started(path: Path, tmp_path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file)
        other = tmp_path / "other"
        with other.open("w", encoding="utf-8"):  # its number may be the one that the ledger had
            ledger_file.note_cleaned_up("m")
            with pytest.raises(NotWritten, match="it is closed"):
                await intend(ledger_file, "n")
        assert other.read_text(encoding="utf-8") == ""

    asyncio.run(go())
