"""The protocol of a provider that the kit may stop and start again."""

from __future__ import annotations

from typing import Protocol


class Provider(Protocol):
    """A provider that the kit may stop and start again, always at the same address. Its state outlives it."""

    @property
    def address(self) -> str:
        """The address that clients connect to."""

    @property
    def running(self) -> bool:
        """True from its start until it has ended, whether it serves or not."""

    @property
    def death(self) -> str:
        """The way in which it ended by itself, with its last output; empty otherwise."""

    @property
    def can_upgrade(self) -> bool:
        """True if there is a newer version, and the next start would still be one of the older one."""

    def upgrade(self) -> None:
        """Makes every later start one of the newer version, on the same state and at the same address."""

    async def start(self, *, wait: bool = True) -> None:
        """Starts it, or does nothing if it runs. With `wait` returns when it serves.

        It serves if it answers List, or its health service says SERVING. Raises TargetError, with its last output, if
        it ends or does not serve in time.
        """

    async def kill(self) -> None:
        """Ends it at once (SIGKILL to its process group, or the user's --kill-cmd); returns when it is gone."""

    async def stop(self) -> float:
        """Asks it to stop (SIGTERM, or --stop-cmd), waits, and returns the seconds that it took.

        Raises StillRunning if it is still there after the timeout, when it is killed, and TargetError if it cannot be
        asked.
        """

    async def close(self) -> None:
        """Ends it for good, or leaves it as it was found if the kit did not start it."""
