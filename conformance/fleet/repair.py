"""The repair of FAILED machines: no call leads out of FAILED, so an operator has to do it (FLT-3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from conformance.fleet.commands import run_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.core.command_line import CommandLine


class Repair(Protocol):
    """An operator who repairs FAILED machines."""

    async def repair(self, machine_id: str) -> None:
        """Cleans one FAILED machine up. Raises TargetError if that fails."""


class CommandRepair:
    """The command of `--repair-cmd`, which is run once for each FAILED machine."""

    def __init__(self, line: CommandLine, values: Mapping[str, str], *, timeout: float) -> None:
        self._line, self._values, self._timeout = line, dict(values), timeout

    async def repair(self, machine_id: str) -> None:
        """Runs the command. Raises TargetError if it fails or is too slow."""
        words = self._line.filled(**self._values, machine=machine_id)
        await run_command(words, option="--repair-cmd", timeout=self._timeout)
