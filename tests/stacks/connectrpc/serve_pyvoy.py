"""Serves the connectrpc provider with pyvoy, which runs the application inside an Envoy process."""

import asyncio
import signal
import sys

from fleet import arguments
from pyvoy import PyvoyServer


async def main() -> None:
    options = arguments()
    # Envoy imports the application by name, in a process of its own; the options go there by its environment.
    env = {
        "PROVIDER_MACHINES": str(options.machines),
        "PROVIDER_LATENCY": str(options.latency),
        "PROVIDER_DEFECT": options.defect,
    }
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with PyvoyServer("pyvoy_app", port=options.port, env=env, stdout=sys.stderr, stderr=sys.stderr) as server:
        print(f"serving 127.0.0.1:{server.listener_port}", flush=True)
        ended = asyncio.create_task(server.wait())
        await asyncio.wait([ended, asyncio.create_task(stopping.wait())], return_when=asyncio.FIRST_COMPLETED)


if __name__ == "__main__":
    asyncio.run(main())
