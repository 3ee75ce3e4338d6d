"""Runs every command of the README and the documents, and compares the transcripts with the output."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.provider_process import serving
from tools import transcripts
from tools.transcripts import DOCUMENTS, MARKS, ROOT

BIN = Path(sys.executable).parent

RUN_ELSEWHERE = {
    "make test": "runs this test",
    "conformance-run --target provider.example:443 --tls-ca ca.pem --tls-cert shard.pem --tls-key shard.key": (
        "needs certificates: tests/zoo, selftest/test_security.py"
    ),
    'conformance-run --target "$PROVIDER" --report-dir out --baseline main/report.json --fail-on new': (
        "needs an earlier run: tests/frontends/cli/test_diff.py"
    ),
    "conformance-run --target 127.0.0.1:9000 --baseline main/report.json --fail-on new": (
        "needs an earlier run: tests/frontends/cli/test_diff.py"
    ),
    "conformance diff main out": "needs two runs: tests/frontends/cli/test_diff.py",
    'conformance waive --from out/report.json --reason PROV-12 --owner "fleet team"': (
        "needs a failure: tests/frontends/cli/test_waive.py"
    ),
    'conformance-run --target "$PROVIDER" --waivers conformance-waivers.toml': (
        "needs complete waivers: tests/frontends/cli/test_waive.py"
    ),
    "conformance proto breaking --proto ../my-provider/proto --format github-actions": (
        "needs another copy: tests/frontends/cli/test_proto.py"
    ),
    "conformance selftest": (
        "judges what make selftest judges: tests/frontends/cli/test_selftest.py runs it for two providers"
    ),
    "conformance-run --lane durability --target 10.0.0.7:9000 --kill-cmd 'systemctl kill -s KILL my-provider'"
    " --start-cmd 'systemctl start my-provider' --stop-cmd 'systemctl stop my-provider'": (
        "needs systemd: tests/deaths/test_provider_commands.py"
    ),
    "make stacks": "takes minutes, and needs toolchains: tests/stacks",
    "python -m tests.stacks.observe grpc-go": "takes a minute, and writes into the checkout",
    "make generate": "writes into the checkout: make fresh checks its result",
    "make mutants": "takes an hour; tests/documents/test_kit_mutants.py checks its configuration",
    "make soak": "takes five minutes; tests/lanes/test_scale_runs.py has short runs",
    "CONFORMANCE_OPERATIONS=20000 pytest selftest/test_scale.py": "takes an hour; CI makes 100 operations",
    "pip install .": "downloads packages; make installs the kit in the same way",
}
"""The commands that are not run here, with the reason."""


HEADS = (
    *("target", "fleet", "delete", "TLS", "plan", "ledger", "FAILED", "clause", "wanted", "got", "more"),
    *("verdict", "bill", "time", "home", "$"),
)
"""The first words of the lines of a transcript that are the same in every run."""


class Command(NamedTuple):
    """A command line, and its document."""

    document: Path
    line: str


def commands() -> list[Command]:
    """Returns the lines after a prompt in the documents' console blocks, except in transcripts."""
    found = []
    for document in DOCUMENTS:
        text = MARKS.sub("", document.read_text(encoding="utf-8"))
        for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
            lines = [line[2:].partition("  #")[0].strip() for line in block.splitlines() if line.startswith("$ ")]
            found += [Command(document, line) for line in lines]
    return found


def files(document: Path) -> dict[str, str]:
    """Returns the files that a document shows, by name: blocks whose first line is a comment with the name."""
    blocks = re.findall(r"```\w+\n# (\S+\.\w+)\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    return dict(blocks)


def with_address(text: str, address: str) -> str:
    """Returns the text with the address of a real provider."""
    for placeholder in ("127.0.0.1:9000", "host:port"):
        text = text.replace(placeholder, address)
    return text


def prepare(command: Command, directory: Path, address: str) -> None:
    """Creates what a reader of the document has at this point: its files, and the output of earlier commands."""
    for name, content in files(command.document).items():
        if name == "conformance.toml" and "--provider-cmd" in command.line:
            continue  # it describes a provider that runs elsewhere
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(with_address(content, address), encoding="utf-8")
    if " out/" in command.line:
        run = [str(BIN / "conformance-run"), "--no-config", "--target", address, "--select", "FEN-1a,FEN-3a"]
        run += ["--report-dir", str(directory / "out"), *(["--keep"] if "sweep" in command.line else [])]
        subprocess.run(run, check=True, capture_output=True)
    if "--baseline" in command.line:
        # Failures in the baseline that pass now.
        report = directory / "out" / "report.json"
        report.write_text(report.read_text(encoding="utf-8").replace('"passed"', '"failed"'), encoding="utf-8")


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "command",
    [c for c in commands() if c.line not in RUN_ELSEWHERE],
    ids=lambda command: f"{command.document.stem}: {command.line}",
)
def test_a_command_of_the_documents_works(command: Command, tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "CONFORMANCE"))}
    env |= {"PATH": f"{BIN}:{env['PATH']}", "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    with serving("--latency", "10ms") as provider:
        prepare(command, tmp_path, provider.address)
        line = with_address(command.line, provider.address)
        cwd = ROOT if line.startswith("make ") or " proto " in line else tmp_path
        if line.startswith("fake-provider "):
            code, output = started_and_stopped(line.replace("--port 9000", "--port 0"), env)
        else:
            shell = ["bash", "-c", line]
            env |= {"PROVIDER": provider.address}
            done = subprocess.run(shell, cwd=cwd, env=env, capture_output=True, text=True, timeout=170, check=False)
            code, output = done.returncode, done.stdout + done.stderr
    assert code == 0, output


def started_and_stopped(line: str, env: dict[str, str]) -> tuple[int, str]:
    """Starts a provider and stops it; returns its exit code and its first line."""
    with subprocess.Popen(["bash", "-c", f"exec {line}"], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first_line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        return process.wait(30), first_line


def test_excluded_commands_are_in_the_documents() -> None:
    assert set(RUN_ELSEWHERE) <= {command.line for command in commands()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_no_link_between_the_documents_is_broken(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [target for target in targets if target and not (document.parent / target).exists()]
    assert missing == []


def test_every_page_is_reached_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in DOCUMENTS[1:] if f"(docs/{path.name})" not in text] == []


def test_every_transcript_is_in_a_document() -> None:
    assert set(transcripts.blocks()) == set(transcripts.TRANSCRIPTS)


@pytest.mark.timeout(transcripts.LIMIT + 20)
@pytest.mark.parametrize("name", transcripts.TRANSCRIPTS)
def test_a_transcript_matches_the_output(name: str) -> None:
    fresh = {transcripts.normalised(line) for text in transcripts.transcript(name) for line in text.splitlines()}
    # Skipped behaviours and the number of polls depend on the speed of the machine, so only these lines are compared.
    shown = transcripts.blocks()[name].splitlines()
    lines = [line for line in shown if line.split(None, 1)[:1] and line.split(None, 1)[0] in HEADS]
    stale = [line for line in lines if transcripts.normalised(line) not in fresh]
    assert len(lines) >= 6
    assert stale == []
