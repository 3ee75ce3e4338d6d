"""The backend of the hosts: what a cloud runs, whatever the provider knows of it (contract section 14).

A host is started before the provider saves that it has it, and terminated before the provider saves that it is gone.
Both can be repeated: a provider that was killed in between does it again when it resumes the transition.
"""

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fake_provider.errors import HostsLogError


class Backend(Protocol):
    """Starts and terminates hosts."""

    def start(self, ref: str) -> None:
        """Starts a host; does nothing if it runs already."""

    def terminate(self, ref: str) -> None:
        """Terminates a host; does nothing if it does not run."""


class HostsLog:
    """A backend that is a file: the refs of the hosts that run, one a line.

    The file is complete whenever it is read, and outlives the provider. Replicas may share it.
    """

    def __init__(self, path: Path) -> None:
        """Creates the file if it is missing. Each method raises HostsLogError if the file cannot be read or written."""
        self.path = path
        self._lock = path.with_name(f".{path.name}.lock")
        self._change(lambda _: None)

    def start(self, ref: str) -> None:
        """Starts a host; does nothing if it runs already."""
        self._change(lambda refs: refs.add(ref))

    def terminate(self, ref: str) -> None:
        """Terminates a host; does nothing if it does not run."""
        self._change(lambda refs: refs.discard(ref))

    def _change(self, change: Callable[[set[str]], None]) -> None:
        try:
            with self._lock.open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                before = set(self.path.read_text().split()) if self.path.exists() else None
                refs = set(before or ())
                change(refs)
                if refs != before:
                    self._write(refs)
        except OSError as error:
            raise HostsLogError(f"hosts log {self.path} cannot be used: {error.strerror}") from error
        except ValueError as error:
            raise HostsLogError(f"hosts log {self.path} is not a list of hosts: {error}") from error

    def _write(self, refs: set[str]) -> None:
        new = self.path.with_name(f".{self.path.name}.new")
        new.write_text("".join(f"{ref}\n" for ref in sorted(refs)))
        new.replace(self.path)
