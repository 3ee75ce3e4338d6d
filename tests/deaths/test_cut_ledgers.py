"""A ledger that is truncated at any byte, for example by a power failure, still names all started machines."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from conformance.core.fencing import Shard
from conformance.core.lifecycle import State, Verb
from conformance.fleet import ledger
from conformance.fleet.sweep import sweep
from conformance.results.report import Home
from conformance.rpc.target import Target
from fake_provider.core import Core
from fake_provider.fleet import fleet
from fake_provider.server import serving
from tests.provider_process import ROUNDS
from tests.runs import SHORT, connected, states_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.rpc.client import Client

pytestmark = pytest.mark.timeout(150)

BYTES_BETWEEN_CUTS = 1 if ROUNDS > 4 else 29
"""The long form cuts after every byte."""
RUN = "cpc-dead"
CALLS = (
    ("a", Verb.CREATE),
    ("b", Verb.CREATE),
    ("a", Verb.CONFIGURE),
    ("b", Verb.DELETE),
    ("c", Verb.CREATE),
    ("a", Verb.DRAIN),
    ("a", Verb.DELETE),
    ("b", Verb.CREATE),
)
"""The calls of the killed run, in order: each is in the ledger before it is sent and after it has settled."""
AFTER = {
    Verb.CREATE: State.IDLE,
    Verb.CONFIGURE: State.CONFIGURED,
    Verb.DRAIN: State.IDLE,
    Verb.DELETE: State.SPECULATIVE,
}


def ledger_lines() -> list[tuple[bytes, tuple[str, Verb] | None]]:
    """Returns the lines of the ledger, each with the call that is sent when the line is on disk."""

    def line(**fields: object) -> bytes:
        return json.dumps(fields).encode() + b"\n"

    lines: list[tuple[bytes, tuple[str, Verb] | None]] = [(line(ledger=1, run=RUN, target="somewhere:1", at=1.0), None)]
    for name, verb in CALLS:
        intent = line(intend=verb.value, machine=name, home="SPECULATIVE", shard=f"{RUN}-{name}", epoch=1, at=2.0)
        settled = AFTER[verb]
        lines += [(intent, (name, verb)), (line(seen=settled.name, machine=name, host=""), None)]
        if settled is State.SPECULATIVE:
            lines.append((line(home=name, at=3.0), None))
    return [*lines, (line(end=4.0, open=["b", "c"]), None)]


async def call(client: Client, shard: Shard, name: str, verb: Verb) -> None:
    """Sends a call of the killed run."""
    match verb:
        case Verb.CREATE:
            done = await client.create(name, shard.next())
        case Verb.CONFIGURE:
            done = await client.configure(name, shard.next(), cluster=f"{RUN}-x")
        case Verb.DRAIN:
            done = await client.drain(name, shard.next())
        case Verb.DELETE:
            done = await client.delete(name, shard.next())
    assert done.ok, done.outcome()


async def swept(ledger_at: Callable[[bytes], Path], cut: int) -> tuple[Home, dict[str, str]]:
    """Sweeps the first `cut` bytes of the ledger; returns the result and the machines that were not returned."""
    core = Core([replace(machine, id=name) for name, machine in zip("abcd", fleet(4), strict=True)])
    async with serving(core) as address, connected(address) as client:
        left, content, shards = cut, b"", {name: Shard(f"{RUN}-{name}") for name in "abc"}
        for line, sent in ledger_lines():
            content += line[:left]
            left -= len(line)
            if left < 0:
                break
            if sent is not None:
                await call(client, shards[sent[0]], *sent)
        waits: dict[str, Any] = {"patience": SHORT, "rpc_timeout": 5.0, "connect_timeout": 5.0}
        home = await sweep(ledger_at(content), Target(address=address), any_target=True, **waits)
    return home, states_of(core)


@pytest.mark.timeout(150 + 30 * ROUNDS)
def test_a_ledger_cut_after_any_byte_returns_all_machines_started_until_then(tmp_path: Path) -> None:
    path = tmp_path / "ledger.ndjson"

    def ledger_at(content: bytes) -> Path:
        path.write_bytes(content)
        return path

    async def sweep_all() -> None:
        lines = [line for line, _ in ledger_lines()]
        header, whole = len(lines[0]), sum(map(len, lines))
        for cut in (*range(header, whole, BYTES_BETWEEN_CUTS), whole):
            home, away = await swept(ledger_at, cut)
            assert (home, away) == (Home(), {}), f"cut after {cut} bytes"
            assert ledger.read(path).entries == ()

    asyncio.run(sweep_all())
