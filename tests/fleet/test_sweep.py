"""What a sweep brings home, where it is disturbed in that, and what is at home there."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from conformance.core.fencing import Token
from conformance.fleet import ledger
from conformance.fleet.sweep import sweep
from conformance.rpc.target import Target
from fake_provider.server import serving
from tests.runs import SHORT, connected, provider, states_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.results.report import Home
    from fake_provider.core import Core


def written(path: Path, lines: list[dict[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def swept(core: Core, path: Path, *, home: str = "SPECULATIVE", living: int, say: Callable[[str], None]) -> Home:
    """What comes of a sweep after a run that died when so many of the fleet's machines lived."""

    async def go() -> Home:
        async with serving(core) as address:
            lines: list[dict[str, object]] = [{"ledger": 1, "run": "cpc-dead", "target": address}]
            async with connected(address) as client:
                for number, machine in enumerate(list(core.machines)):
                    token = Token(f"cpc-dead-m{number}", 1, 1)
                    if number < living:
                        await client.create(machine, token)
                    lines.append(
                        {"intend": "Create", "machine": machine, "home": home, "shard": token.shard, "epoch": 1}
                    )
            written(path, lines)
            return await sweep(
                path, Target(address=address), patience=SHORT, rpc_timeout=5.0, connect_timeout=5.0, say=say
            )

    return asyncio.run(go())


def test_who_reads_no_more_keeps_no_machine_from_coming_home(tmp_path: Path) -> None:
    def gone(line: str) -> None:
        raise BrokenPipeError

    core, path = provider(4, latency=0.1), tmp_path / "ledger.ndjson"
    assert swept(core, path, living=3, say=gone).clean  # the fourth is home at once, and that is said first
    assert states_of(core) == {}
    assert ledger.read(path).entries == ()


def test_a_bug_of_ours_about_one_machine_keeps_no_other_from_coming_home(tmp_path: Path) -> None:
    def stumbles(line: str) -> None:
        if "machine-0004" in line:
            raise KeyError("oops")

    core = provider(4, latency=0.1)
    home = swept(core, tmp_path / "ledger.ndjson", living=3, say=stumbles)
    assert home.left == (("machine-0004", "the kit itself failed: KeyError: 'oops'"),)
    assert states_of(core) == {}


@pytest.mark.parametrize("deletes", [True, False])
def test_a_machine_that_a_provider_made_up_is_given_back_where_that_can_be(deletes: bool, tmp_path: Path) -> None:
    core, said = provider(1, deletes=deletes), list[str]()
    swept(core, tmp_path / "ledger.ndjson", home="UNSPECIFIED", living=1, say=said.append)
    assert states_of(core) == ({} if deletes else {"machine-0001": "IDLE"})
    assert said == ["machine-0001 was IDLE and is home"]
