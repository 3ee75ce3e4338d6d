"""Providers that the kit starts, kills, stops and starts again: as a process of its own, or by the user's commands."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from conformance.core.errors import StillRunning, TargetError
from conformance.fleet import supervisor
from conformance.fleet.commands import how_it_ended, last_lines, run_command
from conformance.fleet.serving import ServingCheck
from conformance.results.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from conformance.rpc.target import Target

LOOK_EVERY_S: Final = 0.05
"""The pause between two looks whether a provider serves."""
GONE_S: Final = 15.0
"""The longest time until a killed process is gone."""
MAX_READ_BYTES: Final = 16384
"""The part of the output in which the last lines are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderTimeouts:
    """The longest times for the provider and for commands, in seconds."""

    start: float = 30.0
    """Until a started provider serves."""
    stop: float = 10.0
    """Until a provider that was asked to stop has ended."""
    command: float = 60.0
    """Until a command of the user has ended."""


class ProcessProvider:
    """A provider that runs as a process of the kit. It never outlives the kit: a supervisor process sees to that."""

    def __init__(
        self,
        words: Sequence[str],
        target: Target,
        *,
        log: Path,
        timeouts: ProviderTimeouts,
        next_words: Sequence[str] = (),
    ) -> None:
        """Prepares the provider; `log` receives the output of all its starts. `next_words` start a newer version."""
        self._words, self._target, self._log, self._timeouts = words, target, log, timeouts
        self._next_words = next_words
        self._serving, self._redact = ServingCheck(target), Redactor(target.headers).redact
        self._process: _SupervisedProcess | None = None
        self._asked_to_end = False
        self._starts = 0

    @property
    def address(self) -> str:
        """The address that clients connect to."""
        return self._target.dial_address

    @property
    def running(self) -> bool:
        """True from its start until it has ended, whether it serves or not."""
        return self._process is not None and not self._process.ended.is_set()

    @property
    def death(self) -> str:
        """The way in which it ended by itself, with its last output; empty otherwise."""
        if self._process is None or self.running or self._asked_to_end:
            return ""
        return f"the provider {self._process.how_it_ended}{self._last_output()}"

    @property
    def can_upgrade(self) -> bool:
        """True if there is a newer version, and the next start would still be one of the older one."""
        return bool(self._next_words)

    def upgrade(self) -> None:
        """Makes every later start one of the newer version."""
        self._words, self._next_words = self._next_words or self._words, ()

    async def start(self, *, wait: bool = True) -> None:
        """Starts it, or does nothing if it runs. With `wait` returns when it serves. Raises TargetError."""
        if not self.running:
            self._starts += 1
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"--- start {self._starts} of the provider, {datetime.now(UTC).isoformat()}\n")
            self._asked_to_end = False
            self._process = await _SupervisedProcess.start(self._words, self._log)
        if not wait:
            return
        try:
            async with asyncio.timeout(self._timeouts.start):
                await _until_it_serves(self._serving, self._check_alive)
        except TimeoutError:
            if await self._serving.answers():
                self._serving.health_is_wrong = True
                return
            said = self._last_output()
            await self.kill()
            raise TargetError(
                f"the provider does not serve at {self.address} within {self._timeouts.start:g} s{said}",
                hint=f"--start-timeout sets a longer limit; {self._where}",
            ) from None

    async def kill(self) -> None:
        """Ends it at once, with all processes that it has started; returns when it is gone."""
        await self._end(b"K", timeout=GONE_S)

    async def stop(self) -> float:
        """Sends SIGTERM to its process group, and returns the seconds until it ended. Raises TargetError."""
        began = time.monotonic()
        try:
            await self._end(b"T", timeout=self._timeouts.stop)
        except TimeoutError:
            await self.kill()
            raise StillRunning(
                f"the provider did not end within {self._timeouts.stop:g} s of SIGTERM, and was killed",
                hint="--stop-timeout sets a longer limit",
            ) from None
        return time.monotonic() - began

    async def close(self) -> None:
        """Stops it, and kills it if that takes too long."""
        try:
            with suppress(TargetError):
                await self.stop()
        finally:
            if self._process is not None:
                await self._process.abandon()

    async def _end(self, letter: bytes, *, timeout: float) -> None:
        if self._process is None or not self.running:
            return
        self._asked_to_end = True
        self._process.send(letter)
        async with asyncio.timeout(timeout):
            await self._process.ended.wait()

    def _check_alive(self) -> None:
        if not self.running:
            raise TargetError(self.death or "the provider was ended while it started", hint=self._where)

    def _last_output(self) -> str:
        """Returns the last output of the last start, in words that continue a sentence."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - MAX_READ_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        _, _, own = text.rpartition(f"--- start {self._starts} of the provider, ")
        said = last_lines(own.partition("\n")[2] if own != text else own, redact=self._redact)
        return f"; its last output: {said}" if said else "; it has written no output"

    @property
    def _where(self) -> str:
        return f"its whole output is in {self._log}"


class CommandProvider:
    """A provider that runs elsewhere and is controlled by the user's commands."""

    def __init__(
        self,
        target: Target,
        *,
        start: Sequence[str],
        stop: Sequence[str],
        kill: Sequence[str],
        timeouts: ProviderTimeouts,
        next_start: Sequence[str] = (),
    ) -> None:
        """`next_start` starts a newer version, instead of `start`."""
        self._target, self._timeouts = target, timeouts
        self._commands = {"--start-cmd": start, "--stop-cmd": stop, "--kill-cmd": kill, "--next-cmd": next_start}
        self._start_option = "--start-cmd"
        self._serving = ServingCheck(target)
        self._running = False
        self._ran_before: bool | None = None
        """True if it served when the kit looked first; None before that."""

    @property
    def address(self) -> str:
        """The address that clients connect to."""
        return self._target.address

    @property
    def running(self) -> bool:
        """True from its start until the kit has ended it."""
        return self._running

    @property
    def death(self) -> str:
        """Empty: the kit does not learn how a provider ends that runs elsewhere."""
        return ""

    @property
    def can_upgrade(self) -> bool:
        """True if there is a newer version, and the next start would still be one of the older one."""
        return bool(self._commands["--next-cmd"]) and self._start_option == "--start-cmd"

    def upgrade(self) -> None:
        """Makes every later start one with --next-cmd."""
        self._start_option = "--next-cmd" if self._commands["--next-cmd"] else "--start-cmd"

    async def start(self, *, wait: bool = True) -> None:
        """Runs --start-cmd, unless it runs. With `wait` returns when it serves. Raises TargetError."""
        if self._ran_before is None:
            self._ran_before = self._running = await self._serving.answers()
        if not self._running:
            await self._run(self._start_option)
            self._running = True
        if not wait:
            return
        try:
            async with asyncio.timeout(self._timeouts.start):
                await _until_it_serves(self._serving, lambda: None)
        except TimeoutError:
            if await self._serving.answers():
                self._serving.health_is_wrong = True
                return
            raise TargetError(
                f"the provider does not serve at {self.address} within {self._timeouts.start:g} s of"
                f" {self._start_option}",
                hint="--start-timeout sets a longer limit",
            ) from None

    async def kill(self) -> None:
        """Runs --kill-cmd, and returns when the provider does not answer any more. Raises TargetError."""
        await self._end("--kill-cmd", self._timeouts.stop)

    async def stop(self) -> float:
        """Runs --stop-cmd, waits, and returns the seconds until the provider does not answer. Raises TargetError."""
        began = time.monotonic()
        try:
            await self._end("--stop-cmd", self._timeouts.stop)
        except StillRunning:
            await self.kill()
            raise
        return time.monotonic() - began

    async def close(self) -> None:
        """Leaves the provider as it was found: starts it if it ran, and stops it if it did not. Raises TargetError."""
        if self._ran_before and not self._running:
            await self.start()
        elif self._ran_before is False and self._running:
            await self._end("--stop-cmd", self._timeouts.stop)

    async def _end(self, option: str, timeout: float) -> None:
        if not self._running:
            return
        await self._run(option)
        self._running = False
        try:
            async with asyncio.timeout(timeout):
                while True:
                    if not await self._serving.answers():
                        return
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            self._running = True
            raise StillRunning(
                f"the provider at {self.address} still answers {timeout:g} s after {option}",
                hint="--stop-timeout sets a longer limit",
            ) from None

    async def _run(self, option: str) -> None:
        await run_command(self._commands[option], option=option, timeout=self._timeouts.command)


async def _until_it_serves(serving: ServingCheck, check_alive: Callable[[], None]) -> None:
    """Returns when the provider serves. Calls `check_alive` before each look."""
    while True:
        check_alive()
        if await serving.serves():
            check_alive()  # another server may have answered, on a port that was not free
            return
        await asyncio.sleep(LOOK_EVERY_S)


class _SupervisedProcess:
    """One start of a provider: its supervisor, and how it ended."""

    def __init__(self, process: asyncio.subprocess.Process, pid: int) -> None:
        self._process, self._pid = process, pid
        self.ended = asyncio.Event()
        self.how_it_ended = ""
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, words: Sequence[str], log: Path) -> _SupervisedProcess:
        """Starts a provider below a supervisor. Raises TargetError if the program cannot be started."""
        # Without site and environment: the supervisor needs only the standard library, and starts fast.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", supervisor.__file__, str(log), *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the kit alone
        )
        assert process.stdout is not None
        assert process.stdin is not None
        kind, _, rest = (await process.stdout.readline()).decode().strip().partition(" ")
        if kind != "started":
            process.stdin.close()
            await process.wait()
            raise TargetError(f"the provider cannot be started: {words[0]}: {rest or 'its supervisor ended'}")
        return cls(process, int(rest))

    def send(self, letter: bytes) -> None:
        """Asks the supervisor to end the provider: T for SIGTERM, K for SIGKILL."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(letter)

    async def abandon(self) -> None:
        """Closes the pipe to the supervisor, which then kills what is left, and waits until it has."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(GONE_S):
                await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        kind, _, code = (await self._process.stdout.readline()).decode().strip().partition(" ")
        if kind == "ended":
            self.how_it_ended = how_it_ended(int(code))
        else:
            with suppress(OSError):
                os.killpg(self._pid, signal.SIGKILL)
            self.how_it_ended = "was killed, because its supervisor ended"
        await self._process.wait()
        self.ended.set()
