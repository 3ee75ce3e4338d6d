"""Any ledger content is read, skipping invalid lines, or is a usage error; a sweep of it ends without a traceback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.core.lifecycle import State
from conformance.fleet import ledger
from tests.fuzz.search import FEW, SEARCH, TEXT, near, refused
from tests.provider_process import serving, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.provider_process import Provider

HEADER = {"ledger": 1, "run": "cpc-dead", "target": "host:1", "at": 1.0}
VALUES = (
    TEXT | st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.lists(st.integers(), max_size=2)
)
MACHINES = st.sampled_from(["machine-0001", "machine-0002", "no-such"]) | VALUES
LINES = st.one_of(
    st.fixed_dictionaries(
        {
            "intend": st.sampled_from(["Create", "Configure", "Drain", "Delete"]) | VALUES,
            "machine": MACHINES,
            "home": st.sampled_from([*State.__members__]) | VALUES,
            "shard": st.sampled_from(["cpc-dead-m1", "cpc-dead-m2"]) | VALUES,
            "epoch": st.sampled_from([0, 1, -1, 2**31, 2**63 - 1, 2**63, -(2**63), 2**70]) | VALUES,
        }
    ),
    st.fixed_dictionaries(
        {"seen": st.sampled_from([*State.__members__]) | VALUES, "machine": MACHINES, "host": VALUES}
    ),
    st.fixed_dictionaries({"home": MACHINES}),
    st.fixed_dictionaries({"lost": MACHINES}),
    st.dictionaries(TEXT, VALUES, max_size=3),
)
LEDGERS = st.lists(LINES, max_size=8)


def written(lines: list[dict[str, Any]], header: object = HEADER) -> str:
    return "".join(json.dumps(line) + "\n" for line in (header, *lines))


WHOLE = written(
    [
        {"intend": "Create", "machine": "a", "home": "SPECULATIVE", "shard": "cpc-dead-m1", "epoch": 1},
        {"seen": "IDLE", "machine": "a", "host": "h"},
    ]
)


def check_ledger(path: Path) -> None:
    """Checks that the ledger is refused, or that all its entries are valid."""
    if not refused(ledger.read, path):
        for entry in ledger.read(path).entries:
            assert isinstance(entry.machine, str)
            assert entry.shards


@SEARCH
@given(LEDGERS, st.just(HEADER) | st.fixed_dictionaries({"ledger": VALUES, "run": VALUES, "target": VALUES}))
def test_any_lines_are_read_or_skipped(tmp_path: Path, lines: list[dict[str, Any]], header: dict[str, Any]) -> None:
    path = tmp_path / "ledger.ndjson"
    path.write_text(written(lines, header), encoding="utf-8")
    check_ledger(path)


@SEARCH
@given(near(WHOLE).map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=60))
def test_a_file_of_any_bytes_is_read_or_a_usage_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.ndjson"
    path.write_bytes(content)
    check_ledger(path)


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"a":' * 100_000, "9" * 100_000, "\0" * 4096])
def test_a_deeply_nested_or_very_long_line_is_skipped(deep: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger.ndjson"
    path.write_text(WHOLE + deep + "\n", encoding="utf-8")
    assert [entry.machine for entry in ledger.read(path).entries] == ["a"]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with serving("--machines", "4") as provider:
        yield provider


@pytest.mark.timeout(3600)
@FEW
@given(lines=LEDGERS)
def test_a_sweep_of_any_ledger_ends_without_traceback_and_changes_no_other_machine(
    tmp_path: Path, provider: Provider, lines: list[dict[str, Any]]
) -> None:
    path = tmp_path / "ledger.ndjson"
    path.write_text(written(lines, HEADER | {"target": provider.address}), encoding="utf-8")
    before = provider.machines()
    done = sweep(provider, path, "--patience", "500ms")
    assert "Traceback" not in done.text, (lines, done.text)
    assert done.code in (0, 4), (lines, done.text)
    assert provider.machines() == before
    assert all(line.isprintable() for line in done.out.splitlines())
