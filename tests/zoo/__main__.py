"""`python -m tests.zoo SPECIES DIRECTORY`: serves one species until stdin is closed, then prints its machines."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from pathlib import Path

from tests.zoo.sandbox import Sandbox
from tests.zoo.species import ZOO


async def serve(key: str, directory: Path) -> None:
    """Serves one species. Imports only its own module, because most species do not need gRPC."""
    importlib.import_module(f"tests.zoo.{key.partition('.')[0]}")
    sandbox = Sandbox(directory)
    loop = asyncio.get_running_loop()

    def on_stdin() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            loop.remove_reader(sys.stdin.fileno())
            sandbox.over.set()

    loop.add_reader(sys.stdin.fileno(), on_stdin)
    await ZOO[key].life(sandbox)
    sandbox.print_json(dict(sandbox.machines_left()))
    os._exit(0)  # does not wait for handlers that hang on purpose


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])))
