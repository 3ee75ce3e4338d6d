"""`python -m selftest.serve MUTANT [PORT]`: a broken provider, to see what the kit says of it."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress

import selftest.mutants  # noqa: F401  # registers them
from fake_provider.server import serving
from selftest.mutant import MUTANTS, Mutant


async def serve(mutant: Mutant, port: int) -> None:
    """Serve until interrupted; one line of JSON says where."""
    async with serving(mutant.provider(), address=f"127.0.0.1:{port}", servicer=mutant.servicer) as address:
        print(json.dumps({"address": address, "mutant": mutant.name, "story": mutant.story}), flush=True)
        await asyncio.Event().wait()


def main(arguments: list[str]) -> int:
    """Serve one mutant; without a name, list them all."""
    if not arguments:
        for each in MUTANTS.values():
            print(f"{each.clause:7} {each.name}: {each.story}")
        return 0
    mutant = MUTANTS.get(arguments[0])
    if mutant is None:
        print(f"error: no mutant {arguments[0]!r}; without a name all are listed", file=sys.stderr)
        return 2
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(mutant, int(arguments[1]) if len(arguments) > 1 else 0))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
