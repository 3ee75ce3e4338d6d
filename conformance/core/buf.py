"""Runs buf on a copy of the contract's proto: lints it, or compares it with a baseline.

Both sides of a comparison are first built into images, in which the contract's files have the names that import
statements use. So the location of either copy does not matter, and a copy in another directory is not reported as a
deleted file. An image contains no rules: those always come from the project's own buf.yaml.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import bigfleet.v1alpha1

from conformance.core import enum_names
from conformance.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = "bigfleet.v1alpha1"
_ROOT = "bigfleet"
"""The contract's top directory, as import statements see it."""

RELEASED = Path(bigfleet.v1alpha1.__file__).with_name("released.binpb")
"""The last released contract: a FileDescriptorSet."""

PROTO_DIRECTORY = Path(bigfleet.v1alpha1.__file__).parents[2]
"""The directory that the project's own proto is imported from."""

CATEGORIES = ("FILE", "WIRE_JSON")
"""The categories of breaking changes that the project's buf.yaml forbids."""

INSTALL_HINT = "pip install 'capacity-provider-conformance[proto]'"
"""The command that installs buf. It is an extra, because a run does not need it."""

TIMEOUT_S = 60.0
"""Seconds that all runs of buf for one check may take together."""

_FINDINGS_STATUS = 100
"""buf's exit status if it ran and has findings. Every other status except 0 is a failure of buf itself."""

_IMAGE_SUFFIXES = (".bin", ".binpb", ".json", ".txtpb", ".yaml", ".gz", ".zst", ".tar", ".tgz", ".zip")
"""Suffixes from which buf detects a file's format. Files with others, such as protoc's .pb, are read as binary."""

_REMOVED_VARIABLES = re.compile(r"BUF_|GIT_(DIR|WORK_TREE|INDEX_FILE)$")
"""Environment variables that are not passed on: in a git hook, they would make buf or git read something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding of a rule. Lines and columns count from 1. A deleted file has no `path`."""

    rule: str
    message: str
    path: str | None
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The findings in `checked`; empty if it follows all rules."""

    checked: Path
    found: tuple[Finding, ...]


def lint(directory: Path | None = None, *, timeout: float = TIMEOUT_S) -> Findings:
    """Returns the findings of the project's lint rules in the contract under `directory`, by default the kit's own.

    Raises UsageError if there is no buf, no contract, or no result within `timeout` seconds.
    """
    directory = _relative_to_cwd(directory or PROTO_DIRECTORY)
    with _workspace(timeout) as workspace:
        candidate = workspace.candidate(directory)
        if isinstance(candidate, Findings):
            return candidate
        return workspace.check(directory, "lint", str(candidate))


def breaking(directory: Path | None = None, *, against: str | None = None, timeout: float = TIMEOUT_S) -> Findings:
    """Returns the changes in the contract under `directory` that break clients and providers built for the baseline.

    `against` is a descriptor set or buf image, a directory, or a git reference such as `.git#branch=main`;
    by default the released contract. A proto that does not compile is a finding (COMPILE) too, and so is an enum alias
    before the released name (ENUM_VALUE_FIRST_NAME), which buf does not report.

    Raises UsageError if there is no buf, no contract in `directory`, no baseline at `against`, or no result within
    `timeout` seconds.
    """
    directory = _relative_to_cwd(directory or PROTO_DIRECTORY)
    with _workspace(timeout) as workspace:
        candidate = workspace.candidate(directory)
        if isinstance(candidate, Findings):
            return candidate
        baseline = workspace.baseline(str(RELEASED) if against is None else against, directory)
        findings = workspace.check(directory, "breaking", str(candidate), "--against", str(baseline))
        renamed = enum_names.renamed_values(baseline.read_bytes(), candidate.read_bytes())
        return replace(findings, found=(*findings.found, *(_renamed_value(directory, each) for each in renamed)))


def _renamed_value(directory: Path, value: enum_names.RenamedValue) -> Finding:
    return Finding(
        rule=enum_names.RULE,
        message=value.message,
        path=str(directory / value.file),
        line=value.line,
        column=value.column,
        end_line=value.end_line,
        end_column=value.end_column,
    )


def find_buf() -> str:
    """Returns the path of buf: the one that is installed beside this Python, else the one in PATH.

    Raises UsageError if buf is not installed.
    """
    found = shutil.which("buf", path=str(Path(sys.executable).parent)) or shutil.which("buf")
    if found is None:
        raise UsageError("buf is not installed", hint=INSTALL_HINT)
    return found


def rules_file() -> Path:
    """Returns the path of the project's buf.yaml: in the package in a wheel, at the top in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for path in (package / "buf.yaml", package.parent / "buf.yaml"):
        if path.is_file():
            return path
    raise UsageError("the kit's buf.yaml is missing", hint="reinstall capacity-provider-conformance")


@dataclass(frozen=True, slots=True, kw_only=True)
class _BufResult:
    status: int
    stdout: str
    stderr: str

    @property
    def findings(self) -> str:
        return self.stdout if self.stdout.strip() else self.stderr

    @property
    def error_line(self) -> str:
        """The most useful line of the error output: git's own if git failed, else buf's first."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()] or ["no error message"]
        by_git = [line for line in lines if line.startswith(("fatal:", "error:"))]
        return (by_git or lines)[0].removeprefix("Failure: ")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workspace:
    """A temporary directory with the rules and, under the module name in buf.yaml, a link to the checked directory."""

    root: Path
    buf: str
    timeout: float
    deadline: float

    def candidate(self, directory: Path) -> Path | Findings:
        """Builds the checked directory into an image and returns its path; returns findings if it does not compile."""
        if not directory.is_dir():
            raise UsageError(f"no such directory: {directory}", hint="--proto takes a directory of .proto files")
        if not any((directory / _ROOT).rglob("*.proto")):
            raise UsageError(
                f"{directory} does not contain {_ROOT}/v1alpha1/*.proto",
                hint=f"--proto takes the directory that contains {_ROOT}/",
            )
        image, answer = self._build_directory(directory, "candidate")
        if answer.status == _FINDINGS_STATUS:
            return _findings(directory, answer)
        if answer.status:
            raise UsageError(f"buf cannot read {directory}: {answer.error_line}")
        return image

    def baseline(self, against: str, directory: Path) -> Path:
        """Builds `against` into an image of only the contract and the files that it imports; returns its path."""
        location, _, options = against.partition("#")
        if not location.strip():
            raise UsageError(
                "--against is empty",
                hint="give a descriptor set, a directory, or a git reference such as .git#branch=main",
            )
        path = Path(location)
        if _is_git(location, options):
            image, answer = self._build(_git_reference(location, options, directory), "baseline")
        elif "://" in location:
            raise UsageError(f"cannot compare with {against}: it is not a git reference", hint="download it first")
        elif not path.exists():
            raise UsageError(
                f"cannot compare with {against}: no such file or directory",
                hint="a git reference looks like .git#branch=main",
            )
        elif path.suffix == ".proto":
            raise UsageError(
                f"cannot compare with {against}: it is a single .proto file",
                hint=f"give the directory that contains {_ROOT}/",
            )
        elif (path / _ROOT).is_dir():
            image, answer = self._build_directory(path, "baseline")
        elif path.is_file() and not options and path.suffix not in _IMAGE_SUFFIXES:
            image, answer = self._build(f"{path.resolve()}#format=binpb", "baseline")
        else:
            image, answer = self._build(f"{path.resolve()}{'#' if options else ''}{options}", "baseline")
        if answer.status:
            why, hint = _why_no_baseline(answer)
            raise UsageError(f"cannot compare with {against}: {why}", hint=hint)
        _require_contract(image, against)
        only, answer = self._build(str(image), "contract", "--path", _ROOT)
        if answer.status:
            raise UsageError(f"cannot compare with {against}: {answer.error_line}")
        return only

    def check(self, directory: Path, *arguments: str) -> Findings:
        """Runs a check with the project's rules."""
        answer = self._run(*arguments, "--config", str(self.root / "buf.yaml"), "--error-format", "json")
        if answer.status not in (0, _FINDINGS_STATUS):
            raise UsageError(f"buf {arguments[0]} failed: {answer.error_line}")
        return _findings(directory, answer)

    def _build_directory(self, directory: Path, name: str) -> tuple[Path, _BufResult]:
        # The link is at the module path in buf.yaml. `--path` keeps buf from compiling other files beside the contract,
        # such as a provider's own protos or a whole site-packages.
        module = self.root / "proto"
        module.symlink_to(directory.resolve(), target_is_directory=True)
        try:
            return self._build(".", name, "--path", f"proto/{_ROOT}")
        finally:
            module.unlink()

    def _build(self, source: str, name: str, *arguments: str) -> tuple[Path, _BufResult]:
        image = self.root / f"{name}.binpb"
        return image, self._run("build", source, "-o", str(image), "--error-format", "json", *arguments)

    def _run(self, *arguments: str) -> _BufResult:
        environment = {name: value for name, value in os.environ.items() if not _REMOVED_VARIABLES.match(name)}
        environment |= {
            "BUF_CACHE_DIR": str(self.root / "cache"),  # no home directory is needed ...
            "BUF_CONFIG_DIR": str(self.root / "config"),  # ... or read
            "GIT_TERMINAL_PROMPT": "0",  # git must fail instead of asking for a password
            "LC_ALL": "C",  # error messages are parsed below
        }
        try:
            process = subprocess.Popen(
                [self.buf, *arguments, "--timeout", "0s"],
                cwd=self.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # its own process group, so that a git started by buf is killed with it
            )
        except OSError as error:
            raise UsageError(f"cannot run {self.buf}: {error.strerror}", hint=INSTALL_HINT) from error
        with process:
            try:
                stdout, stderr = process.communicate(timeout=max(0.0, self.deadline - time.monotonic()))
            except BaseException as error:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise UsageError(
                        f"buf {arguments[0]} did not finish within {self.timeout:g} s",
                        hint="raise --timeout",
                    ) from None
                raise
        return _BufResult(status=process.returncode, stdout=stdout, stderr=stderr)


@contextmanager
def _workspace(timeout: float) -> Iterator[_Workspace]:
    buf = find_buf()
    with tempfile.TemporaryDirectory(prefix="conformance-proto-", ignore_cleanup_errors=True) as name:
        root = Path(name)
        shutil.copyfile(rules_file(), root / "buf.yaml")
        yield _Workspace(root=root, buf=buf, timeout=timeout, deadline=time.monotonic() + timeout)


def _relative_to_cwd(directory: Path) -> Path:
    """Returns `directory` relative to the working directory if it is below: CI systems annotate files by such paths."""
    here = Path.cwd()
    return directory.relative_to(here) if directory.is_relative_to(here) else directory


def _findings(directory: Path, answer: _BufResult) -> Findings:
    found = []
    for line in answer.findings.splitlines():
        if line.strip():
            try:
                entry = json.loads(line)
            except ValueError:
                raise UsageError(f"cannot parse buf's output: {line}") from None
            path = entry.get("path")
            found.append(
                Finding(
                    rule=entry["type"],
                    message=entry["message"],
                    path=None if path is None else str(directory / path.removeprefix("proto/")),
                    line=entry.get("start_line", 1),
                    column=entry.get("start_column", 1),
                    end_line=entry.get("end_line", 1),
                    end_column=entry.get("end_column", 1),
                )
            )
    if answer.status and not found:
        # The status says that there are findings, so an empty output must not count as a success.
        raise UsageError("buf reported a failure without details")
    return Findings(checked=directory, found=tuple(found))


def _is_git(location: str, options: str) -> bool:
    return location.endswith(".git") or "format=git" in options.split(",") or location.startswith(("git://", "ssh://"))


def _git_reference(location: str, options: str, directory: Path) -> str:
    """Returns the full reference: an absolute path, with the subdirectory of `directory` if it is in the repository."""
    path = Path(location)
    if "://" in location or (not path.exists() and "@" in location):
        return f"{location}#{options}" if options else location
    if not path.exists():
        raise UsageError(
            f"cannot compare with {location}{'#' if options else ''}{options}: no such git repository",
            hint="give the path of the repository's .git, as in .git#branch=main or ../.git#branch=main",
        )
    given = options.split(",") if options else []
    top = path.resolve().parent if path.name == ".git" else path.resolve()
    if not any(option.startswith("subdir=") for option in given) and directory.resolve().is_relative_to(top):
        place = directory.resolve().relative_to(top).as_posix()
        given += [f"subdir={place}"] if place != "." else []
    return f"{path.resolve()}#{','.join(given)}" if given else str(path.resolve())


def _why_no_baseline(answer: _BufResult) -> tuple[str, str | None]:
    text = answer.stderr
    if answer.status == _FINDINGS_STATUS:
        first = _findings(Path(), answer).found[0]
        return f"it does not compile: {first.path}:{first.line}: {first.message}", None
    if '"git"' in text and "not found" in text:
        return "git is not installed", "install git, or give a descriptor set"
    if "find remote ref" in text or "did not match any" in text:
        return (
            "the repository has no such branch, tag or commit",
            "fetch it first: git fetch origin main:main",
        )
    if "does not appear to be a git repository" in text or "not a git repository" in text:
        return "it is not a git repository", "give the path of the repository's .git, as in .git#branch=main"
    if "had no .proto files" in text:
        return (
            "it contains no .proto files",
            f"give the directory that contains {_ROOT}/; in git, add subdir=DIR",
        )
    if "unmarshal" in text or "image contains no files" in text:
        return "it is not a descriptor set", "create one with buf build -o FILE.binpb"
    return answer.error_line, None


def _require_contract(image: Path, against: str) -> None:
    """Raises UsageError for a baseline without the contract at its own path: all its files would look deleted."""
    # Imported here because it is slow, and `--help` and most commands do not need it.
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.message import DecodeError

    try:
        files = FileDescriptorSet.FromString(image.read_bytes()).file
    except DecodeError:
        raise UsageError(f"cannot compare with {against}: it is not a descriptor set") from None
    names = [file.name for file in files if file.package == _PACKAGE]
    if not names:
        raise UsageError(f"cannot compare with {against}: it does not contain {_PACKAGE}")
    if not any(name.startswith(f"{_ROOT}/") for name in names):
        raise UsageError(
            f"cannot compare with {against}: it contains the contract as {names[0]}, not as {_ROOT}/...",
            hint=f"give the directory that contains {_ROOT}/; in git, add subdir=DIR",
        )
