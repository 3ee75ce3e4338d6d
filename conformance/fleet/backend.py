"""Asks the provider's backend for the hosts that it really runs (contract §14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from conformance.fleet.commands import run_command

if TYPE_CHECKING:
    from collections.abc import Sequence


class Backend(Protocol):
    """The backend of a provider."""

    async def hosts(self) -> frozenset[str]:
        """Returns the refs of the hosts that run. Raises TargetError if that cannot be found out."""


class CommandBackend:
    """A backend that is asked by the command of `--hosts-cmd`, which prints one ref a line."""

    def __init__(self, words: Sequence[str], *, timeout: float) -> None:
        self._words, self._timeout = words, timeout

    async def hosts(self) -> frozenset[str]:
        """Returns the refs of the hosts that run. Raises TargetError if the command fails or is too slow."""
        output = await run_command(self._words, option="--hosts-cmd", timeout=self._timeout)
        return frozenset(ref for line in output.splitlines() if (ref := line.strip()))
