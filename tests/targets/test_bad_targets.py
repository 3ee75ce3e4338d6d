"""A sweep of a target that does not exist; for runs against bad targets see `tests/zoo`."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tests.provider_process import run

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUTS = ("--connect-timeout", "1s", "--rpc-timeout", "1s")


def free_port() -> int:
    """Returns a port without a server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_sweep_of_an_unreachable_target_is_an_error_and_keeps_the_ledger(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    ledger = tmp_path / "ledger.ndjson"
    ledger.write_text(
        f'{{"ledger": 1, "run": "cpc-dead", "target": "{address}"}}\n'
        '{"intend": "Create", "machine": "a", "home": "SPECULATIVE", "shard": "cpc-dead-m1", "epoch": 1}\n',
        encoding="utf-8",
    )
    before = ledger.read_text(encoding="utf-8")
    done = run("conformance", "sweep", str(ledger), "--target", address, *TIMEOUTS)
    assert done.code == 3
    assert done.err.splitlines()[0] == f"error: target {address} refuses connections"
    assert ledger.read_text(encoding="utf-8").startswith(before)
