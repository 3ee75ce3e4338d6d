"""The times at which the kit itself keeps the provider from answering: it has killed it, and starts it again."""

from __future__ import annotations


class Outages:
    """The outages of one run, on its clock. No call that meets one of them says anything about the provider."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._over: list[tuple[float, float]] = []

    @property
    def under_way(self) -> bool:
        """True during an outage."""
        return self._since is not None

    def begin(self, at: float) -> None:
        """Notes that an outage begins. Does nothing during one."""
        self._since = at if self._since is None else self._since

    def end(self, at: float) -> None:
        """Notes that the provider serves again."""
        if self._since is not None:
            self._over.append((self._since, at))
            self._since = None

    def meet(self, started: float, ended: float) -> bool:
        """Returns whether there was an outage at any time from `started` to `ended`."""
        if self._since is not None and ended >= self._since:
            return True
        return any(started <= end and ended >= begin for begin, end in self._over)
