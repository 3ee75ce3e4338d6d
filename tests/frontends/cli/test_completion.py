"""Completion in real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conformance import lanes
from conformance.core import catalogue

BIN = Path(sys.executable).parent

SHELLS = {
    # The same as the Tab key: sets the words and the position of the cursor, and calls the completion function.
    "bash": """
        source <(conformance completion bash)
        complete -p "$1" > /dev/null || exit 9
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        f=$(complete -p "$1" | sed -E 's/.*-F ([^ ]+) .*/\\1/')
        "$f" "$1"; printf '%s\\n' "${COMPREPLY[@]}"
    """,
    "zsh": """
        autoload -Uz compinit; compinit -u -D
        source <(conformance completion zsh)
        [[ -n $_comps[$1] ]] || exit 9
        _describe() { print -l -- ${(P)3%%:*} }
        compadd() { print -l -- ${(P)@[-1]} }
        words=("$@"); CURRENT=$#
        $_comps[$1]
    """,
    "fish": """
        conformance completion fish | source
        complete -C (string join ' ' -- $argv) | string replace -r '\\t.*' ''; or true
    """,
}


def offered(shell: str, *words: str) -> list[str]:
    """Returns the completions that `shell` offers for these words, the last of which is incomplete."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    quiet = {"bash": ["--norc", "-c"], "zsh": ["-f", "-c"], "fish": ["--no-config", "-c"]}[shell]
    rest = words if shell == "fish" else (shell, *words)
    env = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": "/nonexistent", "TERM": "dumb"}
    ran = subprocess.run(
        [program, *quiet, SHELLS[shell], *rest], capture_output=True, text=True, timeout=50, env=env, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_options_and_behaviours_are_offered(shell: str) -> None:
    ids = [entry.id for entry in catalogue.load().entries]
    assert offered(shell, "conformance", "sw") == ["sweep"]
    assert "--max-machines" in offered(shell, "conformance-run", "--max-m")
    assert offered(shell, "conformance", "show", "fen-3") == [i for i in ids if i.startswith("FEN-3")]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_selection_is_completed_after_each_comma(shell: str) -> None:
    found = offered(shell, "conformance-run", "--select", "LIF-1a,FEN-1")
    assert {"LIF-1a,FEN-1", "LIF-1a,FEN-1a"} <= set(found)
    assert all(each.startswith("LIF-1a,FEN-1") for each in found)
    assert {"FEN", "LIF"} <= set(offered(shell, "conformance", "list", "--select", ""))


@pytest.mark.parametrize("shell", SHELLS)
def test_list_offers_the_clauses_that_no_behaviour_judges_and_a_run_does_not(shell: str) -> None:
    unjudged = {"ROL"}
    assert unjudged <= set(offered(shell, "conformance", "list", "--select", ""))
    assert {"ROL-1", "ROL-2"} <= set(offered(shell, "conformance", "list", "--select", "ROL-"))
    assert not unjudged & set(offered(shell, "conformance-run", "--select", ""))


@pytest.mark.parametrize("shell", SHELLS)
def test_show_offers_the_behaviours_of_all_lanes(shell: str) -> None:
    ids = [entry.id for entry in lanes.entries()]
    assert set(offered(shell, "conformance", "show", "LIF-3")) == {i for i in ids if i.startswith("LIF-3")}


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_works_with_an_invalid_configuration(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conformance.toml").write_text("jbos = 1", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert "delete" in offered(shell, "conformance-run", "--require", "del")
