"""The target of a run, with its provider if the kit starts it: for one run, or kept for several."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from conformance.fleet.control import Control, controlled
from conformance.rpc.target import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from types import TracebackType

    from conformance.frontends.settings import Settings

T = TypeVar("T")

FAKE_LATENCY_S = 0.2
"""Duration of a transition of the embedded fake, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provided:
    """The target, and the control of its provider and its backend."""

    target: Target
    control: Control


@asynccontextmanager
async def provided(settings: Settings, *, directory: Path | None) -> AsyncIterator[Provided]:
    """Yields the target of some settings. Its provider is not started yet, and ends when the body ends.

    Its state and its output go to `directory`. Raises UsageError if they cannot be written.
    """
    async with AsyncExitStack() as stack:
        target = settings.target or Target(address=await stack.enter_async_context(serve_fake()))
        control = await stack.enter_async_context(controlled(settings.control, target, report_dir=directory))
        yield Provided(target=target, control=control)


class SharedProvider:
    """One target for several runs, each in the same event loop: a provider that one has started serves the next one.

    A context manager: the provider ends when the body ends.
    """

    def __init__(self, settings: Settings, *, directory: Path | None) -> None:
        self._settings, self._directory = settings, directory
        self._runner, self._stack = asyncio.Runner(), AsyncExitStack()
        self._provided: Provided | None = None

    def __enter__(self) -> SharedProvider:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self._stack.aclose())
        finally:
            self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs one of the runs to its end."""
        return self._runner.run(work)

    async def get(self) -> Provided:
        """Returns the target. Raises UsageError if the provider's state cannot be written."""
        if self._provided is None:
            self._provided = await self._stack.enter_async_context(provided(self._settings, directory=self._directory))
        return self._provided

    @property
    def down(self) -> bool:
        """True if there is a provider that the kit starts, and it does not run."""
        provider = self._provided.control.provider if self._provided is not None else None
        return provider is not None and not provider.running


def serve_fake() -> AbstractAsyncContextManager[str]:
    """Serves the embedded fake while the context lasts, and yields its address."""
    from fake_provider.core import Core
    from fake_provider.faults import Faults
    from fake_provider.fleet import fleet
    from fake_provider.latency import Latency
    from fake_provider.server import serving

    return serving(Core(fleet(61, faulty=3), latency=Latency.every(FAKE_LATENCY_S), faults=Faults()))
