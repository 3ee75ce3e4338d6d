"""Every command in the README and the documents is run here, and the transcripts still are what is printed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import transcripts
from tests.provider_process import serving

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

RUN_ELSEWHERE = {
    "make test": "it is what runs this",
    "conformance-run --target provider.example:443 --tls-ca ca.pem --tls-cert shard.pem --tls-key shard.key": (
        "test_targets and selftest/test_security.py dial TLS with certificates of their own"
    ),
    "conformance proto breaking --proto ../my-provider/proto --format github-actions": "test_proto_command.py",
    "make mutants": "it takes an hour; tests/test_kit_mutants.py sees that what it names is there",
    "pip install .": "make sets .venv up by it; it would fetch packages",
}


HEADS = (
    *("target", "fleet", "delete", "TLS", "plan", "ledger", "FAILED", "clause", "wanted", "got", "more"),
    *("verdict", "bill", "time", "home", "$"),
)
"""What the lines of a transcript begin with that are the same at every run."""


def commands() -> list[str]:
    """The lines after a prompt in the documents' console blocks, transcripts left out."""
    found = []
    for document in DOCUMENTS:
        text = re.sub(r"<!-- transcript: .*?<!-- end -->", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
        for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
            found += [line[2:].partition("  #")[0].strip() for line in block.splitlines() if line.startswith("$ ")]
    return found


def typed(command: str, address: str) -> list[str]:
    """The command with a provider that is there, and the programs of this environment."""
    for placeholder in ("127.0.0.1:9000", "host:port", '"$PROVIDER"'):
        command = command.replace(placeholder, address)
    words = shlex.split(command)
    return words if words[0] == "make" else [str(BIN / words[0]), *words[1:]]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("command", [c for c in commands() if c not in RUN_ELSEWHERE])
def test_a_command_of_the_documents_works(command: str, tmp_path: Path) -> None:
    with serving("--latency", "10ms") as provider:
        if "sweep" in command:
            run = ["conformance-run", "--target", provider.address, "--report-dir", str(tmp_path / "out"), "--keep"]
            subprocess.run(typed(shlex.join([*run, "--select", "FEN-1a"]), ""), check=True, capture_output=True)
        words = typed(command, provider.address)
        where = ROOT if words[0] == "make" or "proto" in words else tmp_path
        done = subprocess.run(words, cwd=where, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_run_elsewhere_still_stands_in_the_documents() -> None:
    assert set(RUN_ELSEWHERE) <= set(commands())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", transcripts.TRANSCRIPTS)
def test_a_transcript_is_what_is_printed(name: str) -> None:
    shown = transcripts.blocks((ROOT / "README.md").read_text(encoding="utf-8"))[name]
    fresh = {transcripts.normalised(line) for text in transcripts.transcript(name) for line in text.splitlines()}
    # What is skipped, and how often a machine is looked at, differs with the speed of the moment.
    lines = [line for line in shown.splitlines() if line.split(None, 1)[:1] and line.split(None, 1)[0] in HEADS]
    stale = [line for line in lines if transcripts.normalised(line) not in fresh]
    assert len(lines) >= 10
    assert stale == []
