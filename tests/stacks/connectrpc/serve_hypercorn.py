"""Serves the connectrpc provider with Hypercorn, over HTTP/2 without TLS."""

import asyncio
import signal
import socket

from fleet import Fleet, arguments
from hypercorn.asyncio import serve
from hypercorn.config import Config
from provider import application


async def main() -> None:
    options = arguments()
    listener = socket.create_server(("127.0.0.1", options.port))
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.accesslog = config.errorlog = None
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    # The socket listens already: a client that connects before the server accepts is not refused.
    print(f"serving 127.0.0.1:{listener.getsockname()[1]}", flush=True)
    await serve(
        application(Fleet(options.machines, options.latency, options.defect)), config, shutdown_trigger=stopping.wait
    )


if __name__ == "__main__":
    asyncio.run(main())
