"""The README's transcripts: what the real commands print, with the long middle left out.

`python -m tests.transcripts` writes them anew; `test_readme.py` holds that the commands still print such lines.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

README = Path(__file__).resolve().parent.parent / "README.md"
ADDRESS = "127.0.0.1:9000"
"""What the transcripts call the provider, whatever port it had."""

PASS = (("-m", "fake_provider", "serve", "--port", "0", "--latency", "200ms"), ())
FAILURE = (("-m", "selftest.serve", "EitherNumberWillDo"), ("--select", "FEN-3a"))
TRANSCRIPTS = {"pass": PASS, "failure": FAILURE}


@contextmanager
def provider(arguments: Sequence[str]) -> Iterator[str]:
    """The address of a provider in a process of its own, which ends with the context."""
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()


def transcript(name: str) -> list[str]:
    """The command line, and what it printed; of the lines that passed all but the first three left out."""
    serve, options = TRANSCRIPTS[name]
    kit = str(Path(sys.executable).with_name("conformance-run"))
    with provider(serve) as address:
        command = [kit, "--target", address, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    typed = " ".join(("conformance-run --target", ADDRESS, *options))
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
    return [f"$ {typed}", *shown, f"$ echo $?\n{done.returncode}"]


def normalised(line: str) -> str:
    """A line without what differs from run to run."""
    line = re.sub(r"cpc-[0-9a-f]{8}", "cpc-R", line)
    line = re.sub(r"\b(i-|op-|claim-)[0-9a-f-]+", r"\1X", line)
    line = re.sub(r"machine-\d+", "machine-N", line)
    return re.sub(r"\d+(\.\d+)?", "0", line).strip()


def blocks(text: str) -> dict[str, str]:
    """The transcripts in a document, by name."""
    found = re.findall(r"<!-- transcript: (\w+) -->\n```console\n(.*?)```\n<!-- end -->", text, flags=re.DOTALL)
    return dict(found)


def main() -> None:
    """Write the README's transcripts anew."""
    text = README.read_text(encoding="utf-8")
    for name in TRANSCRIPTS:
        head = f"<!-- transcript: {name} -->\n```console\n"
        body = "\n".join(transcript(name)) + "\n"
        before, _, rest = text.partition(head)
        text = before + head + body + rest[rest.index("```\n<!-- end -->") :]
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
