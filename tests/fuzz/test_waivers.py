"""Any content of a waivers file is accepted, or is a usage error."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from conformance.core import catalogue
from conformance.results import waivers
from conformance.results.result import Status
from tests.fuzz.search import SEARCH, TEXT, refused, typeable
from tests.fuzz.toml import VALUES, damaged, quoted, written
from tests.results.test_waivers import ENTRY
from tests.values import a_result

if TYPE_CHECKING:
    from pathlib import Path

KEYS = st.sampled_from(["reason", "owner", "expires", "fingerprint", "failure"]) | st.text("abc", max_size=3)
IDS = st.sampled_from(["FEN-3a", "fen-3A", "FEN-3", "*", "XYZ-1a"]) | st.text(max_size=6)


@SEARCH
@given(st.dictionaries(IDS, st.dictionaries(KEYS, VALUES, max_size=6), max_size=3))
def test_any_entries_are_accepted_or_a_usage_error(tmp_path: Path, entries: dict[str, dict[str, object]]) -> None:
    path = tmp_path / "conformance-waivers.toml"
    whole = {"reason": "r", "owner": "o", "expires": date(2031, 1, 1), "fingerprint": "1:0123456789ab"}
    lines = []
    for name, given_body in entries.items():
        lines.append(f"[waiver.{quoted(name)}]")
        lines += [f"{quoted(key)} = {written(value)}" for key, value in (whole | given_body).items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    if not refused(waivers.load, path):
        judged = waivers.check_waivers(
            waivers.load(path),
            [a_result(Status.FAILED, "FEN-3a", reason="r")],
            catalogue.load(),
            today=date(2031, 1, 1),
        )
        assert len(judged) == len(entries)
        assert all(each.waiver.terms for each in judged)


@SEARCH
@given(damaged(ENTRY))
def test_a_file_of_any_bytes_is_accepted_or_a_usage_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "conformance-waivers.toml"
    path.write_bytes(content)
    refused(waivers.load, path)
    refused(waivers.raw, path)


@SEARCH
@given(TEXT.filter(typeable))
def test_any_path_is_accepted_or_a_usage_error(tmp_path: Path, name: str) -> None:
    refused(waivers.load, tmp_path / name)
