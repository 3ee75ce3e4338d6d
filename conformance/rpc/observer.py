"""The observer of a run's calls: told before each call is sent and when it ends, over every connection of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from conformance.rpc.call import Call


class CallObserver(Protocol):
    """An observer of every attempt at every call."""

    def sending(self, rpc: str, request: Any) -> Any:
        """Notes that a call is about to be sent; returns a ticket for `ended`."""

    def ended(self, ticket: Any, call: Call | None) -> None:
        """Notes how the call has ended; None if its caller was cancelled."""


class NoObserver:
    """An observer that notes nothing."""

    def sending(self, rpc: str, request: Any) -> None:
        """Does nothing."""

    def ended(self, ticket: Any, call: Call | None) -> None:
        """Does nothing."""
