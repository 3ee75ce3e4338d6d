"""The checked options of a run, as one frozen value for all front ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

from conformance import lanes
from conformance.core.errors import UsageError
from conformance.engine.options import Options

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.lanes.protocol import Lane
    from conformance.results.report import Report
    from conformance.results.waivers import Waiver
    from conformance.rpc.target import Target

DISTRIBUTION = "capacity-provider-conformance"
FAKE = "the embedded fake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A run as requested. `target` None means the embedded fake."""

    target: Target | None
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    report_dir: Path | None = None
    quiet: bool = False
    verbose: bool = False
    color: bool | None = None
    """None: depends on the terminal."""
    config: Path | None = None
    """The configuration file that was read, if any."""
    baseline: Report | None = None
    """An earlier run, which this one is compared with."""
    baseline_name: str = ""
    only_new: bool = False
    """Whether failures that the baseline has too leave the exit code alone."""
    lane: Lane[Any] = field(default_factory=lanes.default)
    lane_settings: Any = None
    """The frozen settings that the lane made of its own options."""
    waivers: tuple[Waiver, ...] = ()
    waivers_file: str = ""
    """The file that the waivers come from; empty if there are none."""

    def ledger_at(self, run: str) -> Path:
        """Returns the path of the run's ledger: in the report directory, or else in the user's state directory."""
        if self.report_dir is not None:
            return self.report_dir / "ledger.ndjson"
        return state_directory() / f"{run}.ndjson"


def version() -> str:
    """Returns the installed kit's version."""
    return metadata.version(DISTRIBUTION)


def state_directory() -> Path:
    """Returns the directory for ledgers of runs without a report: the operating system's, or `$XDG_STATE_HOME`.

    Raises UsageError if the user has no home directory.
    """
    import platformdirs

    try:
        return platformdirs.user_state_path(DISTRIBUTION, appauthor=False) / "ledgers"
    except RuntimeError:
        raise UsageError(
            "there is no home directory to keep the ledger in", hint="give --report-dir, or set XDG_STATE_HOME"
        ) from None


def check_report_dir(directory: Path) -> None:
    """Creates the directory and checks that the files can be written there. Raises UsageError.

    A ledger that names machines which an earlier run left is not overwritten: it has to be swept first.
    """
    from conformance.core import file_lock
    from conformance.fleet import ledger
    from conformance.reporters.report_dir import FORMATS, LOG

    path = directory / "ledger.ndjson"
    try:
        if path.exists() and path.stat().st_size:
            # First: nothing here is touched while machines are left, or while the run that writes here is alive.
            with path.open("a", encoding="utf-8") as file:
                file_lock.lock(file, f"the ledger {path}")
            left = ledger.read(path).entries
            if left:
                raise UsageError(
                    f"{path} names {len(left)} machines that an earlier run left",
                    hint=f"bring them home first: conformance sweep {path} --target …",
                )
            path.unlink()
        directory.mkdir(parents=True, exist_ok=True)
        for name in (LOG, *FORMATS):
            with (directory / name).open("a", encoding="utf-8"):
                pass
    except OSError as error:
        raise UsageError(
            f"--report-dir {directory} cannot be written: {error.strerror}", hint="choose a writable directory"
        ) from error
