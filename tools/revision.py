"""Installs a git revision of the kit, or the current tree, with its dependencies, in an environment of its own."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def commit_of(revision: str) -> str:
    """The full hash of the commit that a revision names. Exits if there is none."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"error: {revision!r} is not a git revision of this repository")
    return done.stdout.strip()


def install_commit(commit: str) -> Path:
    """The programs of that commit: installed on first use, and kept in the user's cache."""
    home = _cache() / commit
    ready, source = home / "ready", home / "source"
    if not ready.exists():
        shutil.rmtree(home, ignore_errors=True)  # an installation that was interrupted
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tree:
            tree.extractall(source, filter="data")
        _install(source, home / "venv")
        ready.touch()
    return home / "venv" / "bin"


def install_current() -> Path:
    """The programs of the current tree with its uncommitted changes: installed again at each call.

    The developers' environment would not do: with the many more packages in it each start takes longer.
    """
    home = _cache() / f"tree-{sha256(bytes(ROOT)).hexdigest()[:12]}"
    _install(ROOT, home / "venv")
    return home / "venv" / "bin"


def _install(source: Path, environment: Path) -> None:
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", str(source)], env=clean_environment(), check=True)


def clean_environment() -> dict[str, str]:
    """The environment without PYTHONPATH, which would put a source tree before an installed kit."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "capacity-provider-conformance" / "revisions"
