"""Runs the commands that the user gives for a provider that is controlled from outside."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from conformance.core.errors import TargetError
from conformance.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_LINES: Final = 6
MAX_CHARACTERS: Final = 600
GONE_AFTER_SECONDS: Final = 2.0
"""The time for a killed command to end, and for its pipes to close."""


async def run_command(words: Sequence[str], *, option: str, timeout: float) -> str:
    """Runs a command without a shell, and returns its standard output. The command has no standard input.

    Raises TargetError if it cannot be started, fails, or takes longer than `timeout` seconds. Then it is killed with
    its process group.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise TargetError(f"{option} cannot be started: {words[0]}: {error.strerror}") from None
    try:
        async with asyncio.timeout(timeout):
            output, errors = await process.communicate()
    except TimeoutError:
        raise TargetError(
            f"{option} took longer than {timeout:g} s", hint="--cmd-timeout sets a longer limit"
        ) from None
    finally:
        # Also what the command has left in the background: it would keep the pipes open, or outlive the kit.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(GONE_AFTER_SECONDS):
                await process.communicate()
    if process.returncode:
        said = last_lines(errors.decode(errors="replace")) or last_lines(output.decode(errors="replace"))
        raise TargetError(f"{option} {how_it_ended(process.returncode)}{f': {said}' if said else ''}")
    return output.decode(errors="replace")


def how_it_ended(code: int) -> str:
    """Returns how a process ended: `ended with exit code 1`, `was killed by SIGSEGV`."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def last_lines(text: str, *, redact: Callable[[str], str] = str) -> str:
    """Returns the last lines of an output, each redacted, in one line that can be shown anywhere.

    Empty for an empty output.
    """
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    shown = " | ".join(printable(redact(line)) for line in lines[-MAX_LINES:])
    return shown if len(shown) <= MAX_CHARACTERS else f"…{shown[-MAX_CHARACTERS:]}"
