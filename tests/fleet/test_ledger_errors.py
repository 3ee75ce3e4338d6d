"""Tests the ledger on a disk that fails: no more machines are started, and the lines on disk stay valid."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from conformance.core.errors import NotWritten, UsageError
from conformance.core.lifecycle import State, Verb
from conformance.fleet.ledger import Ledger, read
from tests.fleet.test_ledger import intend, opened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REAL = os.write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.ndjson"


@pytest.fixture
def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Returns a function that limits the space left on the disk to a number of bytes."""
    room: list[int] = []

    def write(file: int, data: bytes) -> int:
        if not room:
            return REAL(file, data)
        if room[0] == 0:
            raise OSError(28, "No space left on device")
        written = REAL(file, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", write)
    return room.append


def content(path: Path) -> bytes:
    return path.read_bytes()


def remove(path: Path) -> None:
    path.unlink()


def test_an_incomplete_line_is_removed(path: Path, fill_disk: Callable[[int], None]) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file, "m")
            before = content(path)
            fill_disk(20)
            with pytest.raises(NotWritten, match="No space left on device"):
                await intend(ledger_file, "n")
            assert content(path) == before
            assert ledger_file.open == {"m"}
            assert ledger_file.write_error == "No space left on device"

    asyncio.run(go())
    assert [entry.machine for entry in read(path).entries] == ["m"]


def test_on_a_full_disk_known_machines_can_be_cleaned_up_and_none_can_be_started(
    path: Path, fill_disk: Callable[[int], None]
) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file, "m")
            ledger_file.note_settled("m", State.IDLE, host="h")
            fill_disk(0)
            await intend(ledger_file, "m", Verb.DELETE, seen=State.IDLE)
            with pytest.raises(NotWritten):
                await intend(ledger_file, "m", Verb.CREATE, epoch=2)
            with pytest.raises(NotWritten):
                await intend(ledger_file, "n", Verb.CONFIGURE, seen=State.IDLE)
            ledger_file.note_cleaned_up("m")
            assert not ledger_file.open

    asyncio.run(go())
    # The ledger still names the machine, so a sweep checks it once more.
    assert [entry.machine for entry in read(path).entries] == ["m"]


def test_a_machine_that_is_not_on_disk_is_not_driven(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fdatasync(file: int) -> None:
        raise OSError(5, "Input/output error")

    async def go() -> None:
        with opened(path) as ledger_file:
            monkeypatch.setattr(os, "fdatasync", fdatasync)
            for _ in range(2):
                with pytest.raises(NotWritten):
                    await intend(ledger_file, "m", Verb.CONFIGURE, seen=State.IDLE)

    asyncio.run(go())


def test_a_removed_ledger_prevents_calls(path: Path) -> None:
    async def go() -> None:
        with opened(path) as ledger_file:
            remove(path)
            with pytest.raises(NotWritten, match="it has been removed"):
                await intend(ledger_file)

    asyncio.run(go())


def test_a_full_disk_is_reported_before_the_run(path: Path, fill_disk: Callable[[int], None]) -> None:
    fill_disk(0)
    with pytest.raises(UsageError, match="cannot be written: No space left on device"):
        Ledger(path, run="cpc-1", target="host:1")


def test_an_incomplete_line_does_not_damage_the_next_one(path: Path) -> None:
    async def go(machine: str) -> None:
        with opened(path) as ledger_file:
            await intend(ledger_file, machine)

    asyncio.run(go("m"))
    lines = content(path).splitlines()
    path.write_bytes(b"\n".join(lines[:2]))  # the last line lacks its line break
    asyncio.run(go("n"))
    assert [entry.machine for entry in read(path).entries] == ["m", "n"]
