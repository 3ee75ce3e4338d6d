"""Installs a git revision of the kit, or the current tree, with its dependencies, in a separate environment."""

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
    """Returns the full hash of a revision's commit. Exits if the revision is unknown."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"error: {revision!r} is not a git revision of this repository")
    return done.stdout.strip()


def install_commit(commit: str) -> Path:
    """Returns the directory of that commit's programs, which are installed on first use in the user's cache."""
    directory = _cache() / commit
    ready, source = directory / "ready", directory / "source"
    if not ready.exists():
        shutil.rmtree(directory, ignore_errors=True)  # an interrupted installation
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tree:
            tree.extractall(source, filter="data")
        _install(source, directory / "venv")
        ready.touch()
    return directory / "venv" / "bin"


def install_current() -> Path:
    """Returns the directory of the programs of the current tree, which is installed again at each call.

    The developers' environment is not used: it has many more packages, so each start takes longer.
    """
    directory = _cache() / f"tree-{sha256(bytes(ROOT)).hexdigest()[:12]}"
    _install(ROOT, directory / "venv")
    return directory / "venv" / "bin"


def _install(source: Path, environment: Path) -> None:
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", str(source)], env=clean_environment(), check=True)


def clean_environment() -> dict[str, str]:
    """Returns the environment without PYTHONPATH, with which a source tree would hide the installed kit."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "capacity-provider-conformance" / "revisions"
