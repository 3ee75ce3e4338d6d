"""Any content of conformance.toml is either accepted or a usage error, and a run uses the accepted values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.frontends.cli import config_file
from conformance.frontends.cli.commands.run import parse_run
from conformance.frontends.cli.options import configurable
from tests.fuzz.search import SEARCH, TEXT, refused, typeable
from tests.fuzz.toml import VALUES, damaged, written

if TYPE_CHECKING:
    from pathlib import Path

KEYS = st.sampled_from(sorted(configurable())) | st.text("abc-", min_size=1, max_size=12)
WHOLE = """\
# The nightly run.
target = "127.0.0.1:9000"
select = ["FEN-*", "LIF"]
patience = "create=20m"
max-machines = 8
strict = true
"""


@SEARCH
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_value_is_accepted_or_a_usage_error(tmp_path: Path, values: dict[str, object]) -> None:
    path = tmp_path / "conformance.toml"
    path.write_text("".join(f"{key} = {written(value)}\n" for key, value in values.items()), encoding="utf-8")
    if not refused(config_file.read, path, configurable()):
        assert config_file.read(path, configurable()).values.keys() == values.keys()
    # A run may still reject values that the reader of the file accepts, but also with a usage error.
    refused(parse_run, ["--config", str(path)])


@SEARCH
@pytest.mark.parametrize("name", ["conformance.toml", "pyproject.toml"])
@given(data=st.data())
def test_a_file_of_any_bytes_is_accepted_or_a_usage_error(tmp_path: Path, name: str, data: st.DataObject) -> None:
    (tmp_path / ".git").mkdir(exist_ok=True)
    path = tmp_path / name
    head = "[tool.conformance]\n" if name == "pyproject.toml" else ""
    path.write_bytes(data.draw(damaged(head + WHOLE)))
    refused(config_file.read, path, configurable())
    refused(config_file.find, tmp_path)


@SEARCH
@given(data=st.data())
def test_any_path_is_accepted_or_a_usage_error(tmp_path: Path, data: st.DataObject) -> None:
    refused(config_file.read, tmp_path / data.draw(TEXT.filter(typeable)), configurable())
