"""What the user asked for, checked: one frozen value for both front doors."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING

from conformance.errors import UsageError
from conformance.run_options import Options

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.report import Report
    from conformance.scale.lane import Asking
    from conformance.target import Target
    from conformance.waiver import Waiver

DISTRIBUTION = "capacity-provider-conformance"
FAKE = "the embedded fake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A run as it was asked for. `target` None means the embedded fake."""

    target: Target | None
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    report_dir: Path | None = None
    quiet: bool = False
    verbose: bool = False
    color: bool | None = None
    """None: as the terminal is."""
    config: Path | None = None
    """The file that some of this comes from."""
    baseline: Report | None = None
    """An earlier run, which this one is held against."""
    baseline_name: str = ""
    only_new: bool = False
    """Whether what failed before already leaves the exit code alone."""
    scale: Asking | None = None
    """What the scale lane is asked for; None for the conformance lane."""
    waivers: tuple[Waiver, ...] = ()
    waivers_file: str = ""
    """Where the waivers were read; empty where none were."""

    def ledger_at(self, run: str) -> Path:
        """Where the run's ledger lies: with its report, or else in the user's state directory."""
        if self.report_dir is not None:
            return self.report_dir / "ledger.ndjson"
        return state_directory() / f"{run}.ndjson"


def version() -> str:
    """The installed kit's version."""
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
    """Make the directory, and see that the files can be written there. Raises UsageError before anything is started.

    A ledger that names machines left by an earlier run is not overwritten: it is swept first.
    """
    from conformance import ledger
    from conformance.reporters.files import FORMATS, LOG

    path = directory / "ledger.ndjson"
    try:
        if path.exists() and path.stat().st_size:
            # First of all: what lies here is not touched while its machines are away, or its run lives.
            with path.open("a", encoding="utf-8") as file:
                ledger.lock(file, f"the ledger {path}")
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
            f"--report-dir {directory} cannot be written: {error.strerror}", hint="give a directory that can"
        ) from error
