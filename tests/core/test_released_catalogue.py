from __future__ import annotations

import tomllib

from tools.released import RELEASED, ROOT, broken, promises, read, texts

BEFORE = {"TST-1a": ("MUST", "0.1.0"), "TST-1b": ("SHOULD", "0.1.0")}


def test_every_released_behaviour_is_kept_with_its_level() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    now = promises(texts())
    assert broken(read(RELEASED.read_text(encoding="utf-8")), now, version=version) == []


def test_a_removed_behaviour_breaks_the_promise() -> None:
    assert broken(BEFORE, {"TST-1a": ("MUST", "0.1.0")}, version="0.2.0") == [
        "TST-1b was removed: mark it as `retired` instead"
    ]


def test_a_changed_level_breaks_the_promise() -> None:
    now = {**BEFORE, "TST-1b": ("MUST", "0.1.0")}
    assert broken(BEFORE, now, version="0.2.0") == [
        "TST-1b was SHOULD since 0.1.0, and is MUST since 0.1.0: use a new id"
    ]


def test_a_new_behaviour_names_the_current_release() -> None:
    now = {**BEFORE, "TST-1c": ("MUST", "0.1.0")}
    assert broken(BEFORE, now, version="0.2.0") == ["TST-1c is new in 0.2.0, but has since = 0.1.0"]


def test_a_retired_behaviour_keeps_its_promise() -> None:
    before = texts()
    retired = [text.replace("[behaviour.FEN-1a]\n", '[behaviour.FEN-1a]\nretired = "9.9: test"\n') for text in before]
    assert retired != before
    assert promises(retired)["FEN-1a"] == promises(before)["FEN-1a"]
