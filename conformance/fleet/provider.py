"""A provider that the kit may stop and start again."""

from __future__ import annotations

from typing import Protocol


class Provider(Protocol):
    """A provider that the kit may stop and start again, always at the same address. Its state outlives it."""

    @property
    def address(self) -> str:
        """The address at which it serves."""

    @property
    def running(self) -> bool:
        """True if it was started and has not ended."""

    async def start(self, *, wait: bool = True) -> None:
        """Starts it; with `wait`, returns when it serves: it answers List or says SERVING.

        Raises TargetError, with its last output, if it ends or does not serve in time.
        """

    async def kill(self) -> None:
        """Ends it at once, as SIGKILL does; returns when it is gone."""

    async def stop(self) -> float:
        """Asks it to stop, waits, and returns the seconds that it took.

        Raises TargetError if it is still there after the timeout; it is killed then.
        """

    async def close(self) -> None:
        """Ends it, if it runs, and releases its resources."""
