"""`python -m tests.zoo SPECIES DIRECTORY`: one species, until stdin is closed; then its account of its machines."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from pathlib import Path

from tests.zoo.cage import Cage
from tests.zoo.species import ZOO


async def live(key: str, directory: Path) -> None:
    """Let one species live; only its own habitat is imported, as most of them can do without gRPC."""
    importlib.import_module(f"tests.zoo.{key.partition('.')[0]}")
    cage = Cage(directory)
    loop = asyncio.get_running_loop()

    def heard() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            loop.remove_reader(sys.stdin.fileno())
            cage.over.set()

    loop.add_reader(sys.stdin.fileno(), heard)
    await ZOO[key].life(cage)
    cage.say(dict(cage.account()))
    # What hangs on purpose is not waited for.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(live(sys.argv[1], Path(sys.argv[2])))
