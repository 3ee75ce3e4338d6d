"""`python -m selftest.serve MUTANT [PORT]`: serves a broken provider, in order to run the kit against it."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress

import selftest.mutants  # noqa: F401  # registers them
from fake_provider.server import serving
from selftest.mutant import MUTANTS, Mutant

MAX_PORT = 65535


async def serve(mutant: Mutant, port: int) -> None:
    """Serves a mutant until interrupted; prints its address in one line of JSON."""
    async with serving(mutant.provider(), address=f"127.0.0.1:{port}", servicer=mutant.servicer) as address:
        print(json.dumps({"address": address, "mutant": mutant.name, "story": mutant.story}), flush=True)
        await asyncio.Event().wait()


def main(arguments: list[str]) -> int:
    """Serves one mutant; without a name, lists all mutants."""
    if not arguments:
        for each in MUTANTS.values():
            print(f"{each.clause:7} {each.name}: {each.story}")
        return 0
    mutant = MUTANTS.get(arguments[0])
    if mutant is None:
        print(f"error: unknown mutant {arguments[0]!r}", file=sys.stderr)
        print("  hint: run without arguments to list all mutants", file=sys.stderr)
        return 2
    port = arguments[1] if len(arguments) > 1 else "0"
    if not port.isdecimal() or int(port) > MAX_PORT:
        print(f"error: {port!r} is not a port", file=sys.stderr)
        print(f"  hint: python -m selftest.serve {mutant.name} 9000", file=sys.stderr)
        return 2
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(mutant, int(port)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
