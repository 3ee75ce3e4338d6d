"""The state of a provider that an earlier run has started."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from conformance.core.command_line import parse_command
from conformance.fleet.control import ControlOptions, controlled, state_beside
from conformance.rpc.target import Target

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("directories", "found"),
    [
        ((), None),
        (("provider-state",), "provider-state"),
        (("provider-state", "provider-state-2", "provider-state-10"), "provider-state-10"),
        (("provider-state", "provider-state-old", "provider-states"), "provider-state"),
    ],
)
@pytest.mark.parametrize("place", ["ledger.ndjson", "scale/ledger.ndjson"])
def test_the_last_state_is_beside_the_ledger_or_above(
    place: str, directories: tuple[str, ...], found: str | None, tmp_path: Path
) -> None:
    for name in directories:
        (tmp_path / name).mkdir()
    assert state_beside(tmp_path / place) == (tmp_path / found if found else None)


def test_the_state_of_an_earlier_run_is_never_deleted(tmp_path: Path) -> None:
    state = tmp_path / "provider-state"
    state.mkdir()
    (state / "fleet.db").write_text("machines")
    line = parse_command("my-provider --state {dir}", "--provider-cmd")
    options = ControlOptions(provider=line, state=state)

    async def begin_and_end() -> None:
        async with controlled(options, Target(address="127.0.0.1:1"), report_dir=None) as control:
            assert control.state == state

    asyncio.run(begin_and_end())
    assert (state / "fleet.db").read_text() == "machines"
