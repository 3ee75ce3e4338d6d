"""Runs a provider that must not outlive the kit: a small process between the two, started by file and without the kit.

    python supervisor.py LOG PROGRAM [ARGUMENT]...

Standard input is a pipe whose other end only the kit has: the letter T asks the provider to stop (SIGTERM), K kills it,
and the end of the pipe, however the kit has ended, kills it too. Standard output tells the kit `started PID`, or
`failed REASON`, and at last `ended CODE` when nothing of the provider is left.

The provider has a process group of its own, to which signals are sent. On Linux, processes that have left the group are
killed as well, because orphans become children of this process.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
POLL_S = 0.02
"""The pause between two looks for the rest of a process group whose leader has ended."""
LAST_WAIT_S = 5.0
"""The longest time until killed processes have disappeared."""


def main(log: str, command: list[str]) -> None:
    """Runs the command until it ends, or the kit ends."""
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    asked_to_end: list[int] = []
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: asked_to_end.append(number))
    control(PR_SET_CHILD_SUBREAPER, 1)
    with Path(log).open("ab", buffering=0) as output:
        try:
            provider = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=lambda: control(PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        except OSError as error:
            tell(f"failed {error.strerror}")
            return
    tell(f"started {provider.pid}")
    stopping = False
    while True:
        if provider.poll() is not None:
            reap()
            if not (stopping and group_exists(provider.pid)):
                break
        ready, _, _ = select.select([0, awake], [], [], POLL_S if provider.returncode is not None else None)
        if awake in ready:
            os.read(awake, 4096)
            collect(orphan for orphan in orphans() if orphan != provider.pid)
        letters = os.read(0, 1) if 0 in ready else b""
        if letters == b"T":
            stopping = True
            send(provider.pid, signal.SIGTERM)
        elif 0 in ready or asked_to_end:
            break
    end(provider)
    tell(f"ended {provider.returncode}")


def end(provider: subprocess.Popen[bytes]) -> None:
    """Kills everything that is left of the provider, and waits until it is gone."""
    deadline = time.monotonic() + LAST_WAIT_S
    send(provider.pid, signal.SIGKILL)
    provider.wait()
    while time.monotonic() < deadline:
        send(provider.pid, signal.SIGKILL)
        for orphan in orphans():
            with suppress(OSError):
                os.kill(orphan, signal.SIGKILL)
        children_left = reap()
        if not children_left and not group_exists(provider.pid):
            return
        time.sleep(POLL_S)


def orphans() -> list[int]:
    """Returns the processes that have become children of this one, where the system tells."""
    try:
        return [int(number) for number in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []


def collect(ended: Iterable[int]) -> None:
    """Collects those of these children that have ended. Otherwise they would stay as zombies."""
    for number in ended:
        with suppress(ChildProcessError):
            os.waitpid(number, os.WNOHANG)


def reap() -> bool:
    """Collects the children that have ended, and returns whether others are left."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return False
    return True


def group_exists(group: int) -> bool:
    """Returns whether a process of this group is left."""
    try:
        os.killpg(group, 0)
    except OSError:  # macOS says EPERM if only zombies are left
        return False
    return True


def send(group: int, number: int) -> None:
    """Sends a signal to a process group, if there is one."""
    with suppress(OSError):
        os.killpg(group, number)


def control(option: int, value: int) -> None:
    """Calls prctl, which only Linux has."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def tell(line: str) -> None:
    """Tells the kit something, if it is still there."""
    with suppress(OSError):
        os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
