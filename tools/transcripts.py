"""The transcripts in the documents: the output of real commands, without the long middle part.

`python -m tools.transcripts` updates them; `tests/documents/test_readme.py` checks that the commands still print these
lines.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
ADDRESS = "127.0.0.1:9000"
"""The address of the provider in the transcripts; its real port differs."""

LIMIT = 280
"""The most seconds of a run."""

MARKS = re.compile(r"(<!-- transcript: ([\w-]+) -->\n```console\n)(.*?)(```\n<!-- end -->)", flags=re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A provider in another process, and the options of `conformance-run`."""

    serve: tuple[str, ...] = ()
    """The module of the provider and its arguments; empty if the kit starts it by an option."""
    options: tuple[str, ...] = ()
    provider: str = ""
    """The command with which the document starts the provider; empty if it is not shown."""


BARE_METAL = (
    *("serve", "--no-delete", "--no-revisions", "--capacity-type", "bare-metal"),
    *("--machines", "12", "--idle", "12", "--latency", "200ms"),
)
FAKE = "fake-provider"
STARTED = ("--provider-cmd", f"{FAKE} serve --port {{port}} --state {{dir}} --latency 200ms --hosts-log {{dir}}/hosts")
TRANSCRIPTS = {
    "pass": Transcript(serve=("fake_provider", "serve", "--port", "0", "--latency", "200ms")),
    "failure": Transcript(serve=("selftest.serve", "EitherNumberWillDo"), options=("--select", "FEN-3a")),
    "bare-metal": Transcript(
        serve=("fake_provider", *BARE_METAL, "--port", "0"),
        options=("--use-idle", "--quiet"),
        provider=" ".join((FAKE, *BARE_METAL, "&")),
    ),
    "scale": Transcript(
        serve=("fake_provider", "serve", "--port", "0", "--latency", "200ms"),
        options=("--lane", "scale", "--soak", "40ops", "--max-machines", "4", "--max-creates", "10"),
    ),
    "faults": Transcript(
        serve=("fake_provider", "serve", "--port", "0", "--latency", "200ms"), options=("--lane", "faults")
    ),
    "durability": Transcript(options=("--lane", "durability", *STARTED)),
    "rollout": Transcript(options=("--lane", "rollout", *STARTED)),
    "all": Transcript(options=("--lane", "all", *STARTED, "--hosts-cmd", "cat {dir}/hosts")),
}


@contextmanager
def provider(arguments: tuple[str, ...]) -> Iterator[str]:
    """Starts a provider in another process until the context ends, and yields its address."""
    with subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()


def run(options: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Runs `conformance-run`, with the programs of this environment."""
    here = Path(sys.executable)
    words = [option.replace(FAKE, str(here.with_name(FAKE)), 1) for option in options]
    command = [str(here.with_name("conformance-run")), "--no-config", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)


def transcript(name: str) -> list[str]:
    """Returns the command line and its output, of which only the first three PASSED lines are shown."""
    wanted = TRANSCRIPTS[name]
    if wanted.serve:
        with provider(wanted.serve) as address:
            done = run(("--target", address, *wanted.options))
        typed = f"conformance-run --target {ADDRESS} {shlex.join(wanted.options)}".rstrip()
    else:
        done = run(wanted.options)
        typed = f"conformance-run {shlex.join(wanted.options)}"
        address = next((line.split()[1] for line in done.stdout.splitlines() if line.startswith("target ")), ADDRESS)
    printed = done.stdout.replace(address, ADDRESS).splitlines()
    printed = [re.sub(r"/\S+/(cpc-\w+\.ndjson)", r"~/.local/state/…/\1", line) for line in printed]
    shown: list[str] = []
    passed = 0
    for line in printed:
        passed += line.startswith("PASSED")
        if line.startswith(("PASSED", "SKIPPED")) and passed > 3:
            if shown[-1] != "…":
                shown.append("…")
            continue
        shown.append(line)
    started = [f"$ {wanted.provider}"] if wanted.provider else []
    return [*started, f"$ {typed}", *shown, f"$ echo $?\n{done.returncode}"]


def normalised(line: str) -> str:
    """Returns a line without the values that differ from run to run."""
    line = re.sub(r"cpc-[0-9a-f]{8}", "cpc-R", line)
    line = re.sub(r"\b(i-|op-|claim-)[0-9a-f-]+", r"\1X", line)
    line = re.sub(r"machine-\d+", "machine-N", line)
    return re.sub(r"\d+(,\d{3})*(\.\d+)?", "0", line).strip()


def blocks() -> dict[str, str]:
    """Returns the transcripts in all documents, by name."""
    return {name: body for path in DOCUMENTS for _, name, body, _ in MARKS.findall(path.read_text(encoding="utf-8"))}


def main() -> None:
    """Updates the transcripts in the documents."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        path.write_text(MARKS.sub(lambda m: m[1] + "\n".join(transcript(m[2])) + "\n" + m[4], text), encoding="utf-8")


if __name__ == "__main__":
    main()
