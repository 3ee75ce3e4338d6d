"""`python -m selftest.deletions [LINES] [SEED]`: whether the self-test notices that a line of the suite is gone.

Takes lines at random that state a fact (`expect…`), deletes one at a time in a copy of the kit, and runs what the
self-test runs for that file's behaviours there: the reference must pass, and every mutant must still be found.
"""

from __future__ import annotations

import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITE = Path("conformance/suite")
PACKAGES = ("conformance", "fake_provider", "selftest", "tests", "proto", "buf.yaml", "pyproject.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A statement of a behaviour that states a fact and does nothing else."""

    path: Path
    first: int
    last: int
    indent: int

    def without(self, text: str) -> str:
        """The file with `pass` in the statement's place."""
        lines = text.splitlines(keepends=True)
        return "".join([*lines[: self.first - 1], " " * self.indent + "pass\n", *lines[self.last :]])


def facts(root: Path) -> list[Line]:
    """Every such line of the suite under `root`."""
    found = []
    for path in sorted((root / SUITE).glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Expr) and _states_a_fact(node.value):
                last = node.end_lineno or node.lineno
                found.append(Line(path=path.relative_to(root), first=node.lineno, last=last, indent=node.col_offset))
    return found


def _states_a_fact(value: ast.expr) -> bool:
    call = value.value if isinstance(value, ast.Await) else value
    return (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "expect"
    )


def noticed(line: Line) -> str:
    """What the self-test says where the line is gone; empty where it does not notice.

    Raises RuntimeError where it does not run.
    """
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for name in PACKAGES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        target = copy / line.path
        target.write_text(line.without(target.read_text(encoding="utf-8")), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{copy / 'proto'}"}
        done = subprocess.run(
            [sys.executable, "-m", "selftest.bites", line.path.stem],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    said = done.stdout.strip()
    if done.returncode not in (0, 1) or bool(said) != bool(done.returncode):
        raise RuntimeError(f"{line.path}:{line.first}: {' '.join((said, done.stderr.strip()))}")
    return said


def main(arguments: list[str]) -> int:
    """Delete line after line; 1 where one was not noticed."""
    count, seed = int(arguments[0]) if arguments else 30, int(arguments[1]) if len(arguments) > 1 else 0
    chosen = random.Random(seed).sample(facts(ROOT), count)
    survivors = 0
    for line in chosen:
        said = noticed(line)
        survivors += not said
        text = (ROOT / line.path).read_text(encoding="utf-8").splitlines()[line.first - 1].strip()
        print(f"{'noticed ' if said else 'SURVIVED'} {line.path.name}:{line.first} {text}")
        print(f"         {said.splitlines()[0][:160] if said else 'nothing in the self-test minds'}", flush=True)
    print(f"{count - survivors} of {count} deletions noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
