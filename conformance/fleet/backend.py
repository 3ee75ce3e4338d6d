"""The backend's own word: the hosts that run."""

from __future__ import annotations

from typing import Protocol


class Backend(Protocol):
    """A command or a service that knows which hosts run."""

    async def hosts(self) -> frozenset[str]:
        """Returns the refs of the hosts that run. Raises TargetError if it fails or is too slow."""
