"""The documents' transcripts: what the real commands print, with the long middle left out.

`python -m tools.transcripts` writes them anew; `test_readme.py` holds that the commands still print such lines.
"""

from __future__ import annotations

import json
import re
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
"""What the transcripts call the provider, whatever port it had."""

MARKS = re.compile(r"(<!-- transcript: ([\w-]+) -->\n```console\n)(.*?)(```\n<!-- end -->)", flags=re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A provider in a process of its own, and `conformance-run` on it with these options."""

    serve: tuple[str, ...]
    options: tuple[str, ...] = ()
    provider: str = ""
    """How the document starts the provider; empty where it does not say."""


BARE_METAL = (
    *("serve", "--no-delete", "--no-revisions", "--capacity-type", "bare-metal"),
    *("--machines", "12", "--idle", "12", "--latency", "200ms"),
)
TRANSCRIPTS = {
    "pass": Transcript(serve=("fake_provider", "serve", "--port", "0", "--latency", "200ms")),
    "failure": Transcript(serve=("selftest.serve", "EitherNumberWillDo"), options=("--select", "FEN-3a")),
    "bare-metal": Transcript(
        serve=("fake_provider", *BARE_METAL, "--port", "0"),
        options=("--use-idle", "--quiet"),
        provider=" ".join(("fake-provider", *BARE_METAL, "&")),
    ),
}


@contextmanager
def provider(arguments: tuple[str, ...]) -> Iterator[str]:
    """The address of a provider in a process of its own, which ends with the context."""
    with subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()


def transcript(name: str) -> list[str]:
    """The command line, and what it printed; of the lines that passed all but the first three left out."""
    wanted = TRANSCRIPTS[name]
    kit = str(Path(sys.executable).with_name("conformance-run"))
    with provider(wanted.serve) as address:
        command = [kit, "--no-config", "--target", address, *wanted.options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    typed = " ".join(("conformance-run --target", ADDRESS, *wanted.options))
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
    """A line without what differs from run to run."""
    line = re.sub(r"cpc-[0-9a-f]{8}", "cpc-R", line)
    line = re.sub(r"\b(i-|op-|claim-)[0-9a-f-]+", r"\1X", line)
    line = re.sub(r"machine-\d+", "machine-N", line)
    return re.sub(r"\d+(\.\d+)?", "0", line).strip()


def blocks() -> dict[str, str]:
    """The transcripts in all documents, by name."""
    return {name: body for path in DOCUMENTS for _, name, body, _ in MARKS.findall(path.read_text(encoding="utf-8"))}


def main() -> None:
    """Write the documents' transcripts anew."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        path.write_text(MARKS.sub(lambda m: m[1] + "\n".join(transcript(m[2])) + "\n" + m[4], text), encoding="utf-8")


if __name__ == "__main__":
    main()
