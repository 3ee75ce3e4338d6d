"""Tests which machines a sweep cleans up, also after errors."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from conformance.core.fencing import Token
from conformance.fleet import ledger
from conformance.fleet.sweep import sweep
from conformance.rpc.target import Target
from fake_provider.core import Core
from fake_provider.server import serving
from tests.runs import SHORT, connected, provider, states_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.results.report import Home
    from fake_provider.machine import Verb


def written(path: Path, lines: list[dict[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def swept(core: Core, path: Path, *, home: str = "SPECULATIVE", living: int, write_line: Callable[[str], None]) -> Home:
    """Returns the result of a sweep after a run that died while `living` machines were alive."""

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
                path,
                Target(address=address),
                patience=SHORT,
                rpc_timeout=5.0,
                connect_timeout=5.0,
                write_line=write_line,
            )

    return asyncio.run(go())


def test_a_closed_output_does_not_prevent_the_cleanup(tmp_path: Path) -> None:
    def closed_output(line: str) -> None:
        raise BrokenPipeError

    core, path = provider(4, latency=0.1), tmp_path / "ledger.ndjson"
    assert swept(
        core, path, living=3, write_line=closed_output
    ).clean  # the fourth is clean at once, so its line is the first
    assert states_of(core) == {}
    assert ledger.read(path).entries == ()


def test_a_bug_in_the_kit_with_one_machine_does_not_prevent_the_cleanup_of_others(tmp_path: Path) -> None:
    def fails_once(line: str) -> None:
        if "machine-0004" in line:
            raise KeyError("oops")

    core = provider(4, latency=0.1)
    home = swept(core, tmp_path / "ledger.ndjson", living=3, write_line=fails_once)
    assert home.left == (("machine-0004", "the kit itself failed: KeyError: 'oops'"),)
    assert states_of(core) == {}


@pytest.mark.parametrize("deletes", [True, False])
def test_a_machine_that_the_provider_invented_is_deleted_if_possible(deletes: bool, tmp_path: Path) -> None:
    core, lines = provider(1, deletes=deletes), list[str]()
    swept(core, tmp_path / "ledger.ndjson", home="UNSPECIFIED", living=1, write_line=lines.append)
    assert states_of(core) == ({} if deletes else {"machine-0001": "IDLE"})
    assert lines == ["machine-0001 was IDLE and is cleaned up"]


class FencesDelete(Core):
    """Has no Delete, and says so only to calls that pass the fence."""

    def check_offered(self, verb: Verb) -> None:
        """Offers Delete to the fence."""

    def validate_id(self, verb: Verb | None, machine_id: str) -> None:
        if verb is not None:
            super().check_offered(verb)
        super().validate_id(verb, machine_id)


def test_a_second_sweep_finds_out_again_that_there_is_no_delete(tmp_path: Path) -> None:
    core, lines = provider(1, deletes=False, cls=FencesDelete), list[str]()
    for living in (1, 0):
        assert swept(core, tmp_path / "ledger.ndjson", living=living, write_line=lines.append).clean
    assert lines == ["machine-0001 was IDLE and is cleaned up"] * 2
