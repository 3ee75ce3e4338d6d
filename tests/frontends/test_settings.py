from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conformance.core.errors import UsageError
from conformance.frontends.settings import Settings, state_directory

NAME = "capacity-provider-conformance"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have directories of their own")
@pytest.mark.parametrize(
    ("state_home", "directory"),
    [("/some/state", "/some/state"), ("", "/home/me/.local/state"), (None, "/home/me/.local/state")],
)
def test_ledgers_without_a_report_are_in_the_state_directory(
    state_home: str | None, directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    if state_home is not None:
        monkeypatch.setenv("XDG_STATE_HOME", state_home)
    assert Settings(target=None).ledger_at("cpc-1") == Path(directory, NAME, "ledgers", "cpc-1.ndjson")


def test_the_ledger_is_in_the_report_directory(tmp_path: Path) -> None:
    assert Settings(target=None, report_dir=tmp_path).ledger_at("cpc-1") == tmp_path / "ledger.ndjson"


def test_a_user_without_a_home_directory_gets_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(*names: object, **options: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_state_path", homeless)
    with pytest.raises(UsageError, match=r"the user has no home directory; add --report-dir, or set XDG_STATE_HOME"):
        state_directory()
