"""The provider standalone: `fake-provider serve`, or `python -m fake_provider serve`."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from fake_provider.errors import CannotServe
from fake_provider.fence import Scope
from fake_provider.latency import Latency, parse_seconds
from fake_provider.machine import CapacityType

if TYPE_CHECKING:
    from fake_provider.core import Core
    from fake_provider.server import Tls

T = TypeVar("T")

_GRACE = 3.5
"""Seconds that running calls get after a signal; exit follows within five."""

_CAPACITY_TYPES = {
    "on-demand": CapacityType.ON_DEMAND,
    "spot": CapacityType.SPOT,
    "reserved": CapacityType.RESERVED,
    "bare-metal": CapacityType.BARE_METAL,
}

_EXAMPLES = """
\b
Examples:
  fake-provider serve
      64 slots on 127.0.0.1:9000, everything at once.
  fake-provider serve --port 0 --machines 8 --idle 2 --latency create=2s,drain=100ms..500ms
      A free port (the first line says which), two machines with a host, a slow cloud.
  fake-provider serve --state fleet.db
      Survives kill -9: start it again with the same file and it carries on.
  fake-provider serve --no-delete --no-revisions --capacity-type bare-metal
      The least that conforms.
  fake-provider serve --tls-cert server.pem --tls-key server.key --tls-client-ca ca.pem
      Mutual TLS.
"""


class _Parsed(click.ParamType[T]):
    """A value that a function reads, and which the function's ValueError refuses, in one line."""

    def __init__(self, name: str, read: Callable[[str], T]) -> None:
        self.name = name
        self.read = read

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> T:
        try:
            return self.read(str(value))
        except ValueError as error:
            _refuse(f"{param.opts[0] if param else self.name} {error}")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run a capacity provider that keeps every clause of the contract."""


@main.command(epilog=_EXAMPLES)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9000,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
@click.option("--machines", type=click.IntRange(0), default=64, show_default=True, help="How many machines there are.")
@click.option(
    "--idle", type=click.IntRange(0), default=0, show_default=True, help="How many of them start with a host."
)
@click.option(
    "--capacity-type",
    "capacity_types",
    type=click.Choice(list(_CAPACITY_TYPES)),
    multiple=True,
    help="How machines are paid for; several are dealt in turn.  [default: a mixture]",
)
@click.option(
    "--latency",
    type=_Parsed("duration", Latency.parse),
    default="0",
    show_default=True,
    help="How long transitions take: 200ms, 1.5s, 100ms..300ms, create=2s,drain=500ms.",
)
@click.option(
    "--rpc-delay",
    type=_Parsed("duration", parse_seconds),
    default="0",
    show_default=True,
    help="How long every RPC waits before it is served.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the fleet and of ranges.")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep everything in this file; where it exists, its fleet is served.",
)
@click.option("--no-delete", is_flag=True, help="Answer Delete with UNIMPLEMENTED, as bare metal does.")
@click.option("--no-revisions", is_flag=True, help="Give no cursors on List.")
@click.option(
    "--fence-scope",
    type=click.Choice([scope.value for scope in Scope]),
    default=Scope.SHARD.value,
    show_default=True,
    help="What one high-water mark covers.",
)
@click.option("--faults", is_flag=True, help="Let callers make transitions fail, by cluster_id and by label.")
@click.option(
    "--faulty",
    type=click.IntRange(0),
    default=4,
    show_default=True,
    help="With --faults: extra slots whose Create fails.",
)
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate chain, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its private key, PEM.")
@click.option("--tls-client-ca", type=click.Path(path_type=Path), help="Demand client certificates of this CA, PEM.")
def serve(
    *,
    host: str,
    port: int,
    machines: int,
    idle: int,
    capacity_types: tuple[str, ...],
    latency: Latency,
    rpc_delay: float,
    seed: int,
    state: Path | None,
    no_delete: bool,
    no_revisions: bool,
    fence_scope: str,
    faults: bool,
    faulty: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
) -> None:
    """Serve a fleet until SIGTERM or SIGINT.

    The first line on stdout is one JSON object that says where; nothing else is written there. Exits with 0
    after a signal, and with 2 and one line on stderr where it cannot start.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own log would bury our one line
    if idle > machines:
        _refuse(f"--idle {idle} is more than --machines {machines}")
    from fake_provider.core import Core
    from fake_provider.faults import Faults
    from fake_provider.fleet import fleet
    from fake_provider.store import SqliteStore

    tls = _tls(tls_cert, tls_key, tls_client_ca)
    with contextlib.ExitStack() as stack:
        try:
            store = stack.enter_context(contextlib.closing(SqliteStore(state))) if state else None
            core = Core(
                fleet(
                    machines,
                    idle=idle,
                    seed=seed,
                    capacity_types=[_CAPACITY_TYPES[name] for name in capacity_types],
                    faulty=faulty if faults else 0,
                ),
                latency=latency,
                seed=seed,
                scope=Scope(fence_scope),
                deletes=not no_delete,
                revisions=not no_revisions,
                faults=Faults() if faults else None,
                store=store,
            )
            asyncio.run(_serve(core, host, port, tls, rpc_delay, durable=store is not None))
        except CannotServe as error:
            _refuse(str(error))


async def _serve(core: "Core", host: str, port: int, tls: "Tls | None", rpc_delay: float, *, durable: bool) -> None:
    from fake_provider.server import serving

    stopping = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stopping.set)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # Due times that are kept must mean the same after a reboot.
    clock = time.time if durable else time.monotonic
    async with serving(core, address=address, tls=tls, rpc_delay=rpc_delay, clock=clock, grace=_GRACE) as bound:
        hello = {
            "address": bound,
            "port": int(bound.rpartition(":")[2]),
            "machines": len(core.machines),
            "tls": tls is not None,
            "pid": os.getpid(),
        }
        print(json.dumps(hello), flush=True)
        await stopping.wait()


def _tls(cert: Path | None, key: Path | None, client_ca: Path | None) -> "Tls | None":
    from fake_provider.server import Tls

    if cert is None and key is None and client_ca is None:
        return None
    if cert is None or key is None:
        _refuse("TLS takes both --tls-cert and --tls-key")
    try:
        return Tls(
            certificate=cert.read_bytes(),
            key=key.read_bytes(),
            client_ca=client_ca.read_bytes() if client_ca else None,
        )
    except OSError as error:
        _refuse(f"cannot read {error.filename}: {error.strerror}")


def _refuse(why: str) -> NoReturn:
    print(f"fake-provider: {why}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main(prog_name="fake-provider")
