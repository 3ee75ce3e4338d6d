"""The checked options of a run, as one frozen value for all front ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

from conformance import lanes
from conformance.core.errors import UsageError
from conformance.engine.options import FAKE as FAKE
from conformance.engine.options import Options
from conformance.fleet.control import ControlOptions

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.lanes.protocol import Lane
    from conformance.results.report import Report
    from conformance.results.waivers import Waiver
    from conformance.rpc.target import Target

DISTRIBUTION = "capacity-provider-conformance"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFailures:
    """The failures that a run may tolerate: those of an earlier run, and those with a waiver."""

    baseline: Report | None = None
    """An earlier run, which this one is compared with."""
    baseline_name: str = ""
    only_new: bool = False
    """True if failures that the baseline has too do not change the exit code."""
    waivers: tuple[Waiver, ...] = ()
    waivers_file: str = ""
    """The file that the waivers were read from; empty without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A run as requested. `target` None means the embedded fake."""

    target: Target | None
    control: ControlOptions = field(default_factory=ControlOptions)
    """The commands that start, stop and kill the provider, and that ask its backend."""
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    report_dir: Path | None = None
    quiet: bool = False
    verbose: bool = False
    color: bool | None = None
    """None to detect it from the terminal."""
    config: Path | None = None
    """The configuration file that was read, if any."""
    known_failures: KnownFailures = field(default_factory=KnownFailures)
    lane: Lane[Any] = field(default_factory=lanes.default)
    lane_settings: Any = None
    """The frozen settings that the lane has made from its own options."""

    def ledger_at(self, run: str) -> Path:
        """Returns the path of the run's ledger: in the report directory, or else in the user's state directory."""
        if self.report_dir is not None:
            return self.report_dir / "ledger.ndjson"
        return state_directory() / f"{run}.ndjson"


def version() -> str:
    """Returns the installed kit's version."""
    return metadata.version(DISTRIBUTION)


def state_directory() -> Path:
    """Returns the directory for ledgers of runs without a report directory: below the user's state directory.

    Raises UsageError if the user has no home directory.
    """
    import platformdirs

    try:
        return platformdirs.user_state_path(DISTRIBUTION, appauthor=False) / "ledgers"
    except RuntimeError:
        raise UsageError(
            "cannot store the ledger: the user has no home directory", hint="add --report-dir, or set XDG_STATE_HOME"
        ) from None


def check_report_dir(directory: Path) -> None:
    """Creates the directory and checks that the files can be written there. Raises UsageError.

    A ledger with machines that an earlier run left running is not overwritten: it must be swept first.
    """
    from conformance.core import file_lock
    from conformance.core.text import quantity
    from conformance.fleet import ledger
    from conformance.reporters.report_dir import FORMATS, LOG

    path = directory / "ledger.ndjson"
    try:
        if path.exists() and path.stat().st_size:
            # Before all other files: they stay unchanged while machines are left, or while another run writes here.
            with path.open("a", encoding="utf-8") as file:
                file_lock.lock(file, f"the ledger {path}")
            left = ledger.read(path).entries
            if left:
                raise UsageError(
                    f"{path} lists {quantity(len(left), 'machine')} that an earlier run left running",
                    hint=f"clean up first: conformance sweep {path} --target HOST:PORT",
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
