"""The command line of the provider: `fake-provider serve`, or `python -m fake_provider serve`."""

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

_SHUTDOWN_NOTICE_S = 0.5
"""The time in seconds from the signal, during which the health service reports NOT_SERVING and calls are served."""
_SHUTDOWN_GRACE_S = 3.0
"""The time in seconds that running calls have to finish after that, so that the process exits within 5 s."""

_FAULTY_SLOTS = 6
"""The default of --faulty: two for each way in which a Create fails."""

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
      64 slots on 127.0.0.1:9000; transitions take no time.
  fake-provider serve --port 0 --machines 8 --idle 2 --latency create=2s,drain=100ms..500ms
      A free port (printed on the first line), two machines with a host, slow transitions.
  fake-provider serve --state ./fleet
      Keeps its state after kill -9: start it again with the same directory to continue.
  fake-provider serve --state ./fleet --port 9001
      A second replica of that fleet, if the first one still runs.
  fake-provider serve --state ./fleet --hosts-log ./fleet/hosts
      `cat ./fleet/hosts` lists the hosts that run, whatever the provider says.
  fake-provider serve --no-delete --no-revisions --capacity-type bare-metal
      A minimal provider that conforms.
  fake-provider serve --tls-cert server.pem --tls-key server.key --tls-client-ca ca.pem
      Mutual TLS.
"""


class _ParsedOption(click.ParamType[T]):
    """An option whose value a function parses; its ValueError is printed as a one-line usage error."""

    def __init__(self, name: str, read: Callable[[str], T]) -> None:
        self.name = name
        self.read = read

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> T:
        try:
            return self.read(str(value))
        except ValueError as error:
            _fail(f"{param.opts[0] if param else self.name}: {error}")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run an in-memory capacity provider that keeps every clause of the contract."""


@main.command(epilog=_EXAMPLES)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9000,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
@click.option("--machines", type=click.IntRange(0), default=64, show_default=True, help="Number of machines.")
@click.option(
    "--idle",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Number of machines that start IDLE, with a host.",
)
@click.option(
    "--capacity-type",
    "capacity_types",
    type=click.Choice(list(_CAPACITY_TYPES)),
    multiple=True,
    help="Capacity type of the machines; repeat the option to alternate between several.  [default: all types]",
)
@click.option(
    "--latency",
    type=_ParsedOption("duration", Latency.parse),
    default="0",
    show_default=True,
    help="Duration of transitions: 200ms, 1.5s, 100ms..300ms (random), create=2s,drain=500ms.",
)
@click.option(
    "--rpc-delay",
    type=_ParsedOption("duration", parse_seconds),
    default="0",
    show_default=True,
    help="Delay before every RPC is served.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed for the fleet and for latency ranges.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="Keep the state in this directory, and serve the fleet in it if there is one; replicas may share it.",
)
@click.option(
    "--hosts-log",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the refs of the running hosts in this file, one a line, as their cloud would list them.",
)
@click.option("--no-delete", is_flag=True, help="Answer Delete with UNIMPLEMENTED, as bare metal does.")
@click.option("--no-revisions", is_flag=True, help="Return no revisions (cursors) from List.")
@click.option(
    "--fence-scope",
    type=click.Choice([scope.value for scope in Scope]),
    default=Scope.SHARD_MACHINE.value,
    show_default=True,
    help="Scope of a high-water mark: one per shard and machine, or one per shard.",
)
@click.option(
    "--faults/--no-faults",
    default=True,
    show_default=True,
    help="Let callers make transitions fail, by a cluster_id (fault-error, ...) or by the label of a slot.",
)
@click.option(
    "--faulty",
    type=click.IntRange(0),
    help="With --faults: number of extra slots whose Create fails, as their label says."
    "  [default: 6, or 0 if all machines are IDLE]",
)
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Server certificate chain, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Private key of the server certificate, PEM.")
@click.option("--tls-client-ca", type=click.Path(path_type=Path), help="Require client certificates from this CA, PEM.")
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
    hosts_log: Path | None,
    no_delete: bool,
    no_revisions: bool,
    fence_scope: str,
    faults: bool,
    faulty: int | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
) -> None:
    """Serve a fleet until SIGTERM or SIGINT.

    Prints one line to stdout: a JSON object with the address. After a signal it reports NOT_SERVING, answers the calls
    that it has taken, and exits with code 0. If it cannot start, it prints one line to stderr and exits with code 2.

    A machine that has FAILED is cleaned up when the provider is stopped by a signal and started again.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's log would hide our one-line error
    if idle > machines:
        _fail(f"--idle {idle} is greater than --machines {machines}")
    if faulty is None:
        faulty = _FAULTY_SLOTS if idle < machines else 0
    from fake_provider.core import Core
    from fake_provider.faults import Faults
    from fake_provider.fleet import fleet
    from fake_provider.hosts import HostsLog
    from fake_provider.store import SqliteStore

    tls = _tls(tls_cert, tls_key, tls_client_ca)
    with contextlib.ExitStack() as stack:
        try:
            store = stack.enter_context(contextlib.closing(SqliteStore.at(state))) if state else None
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
                backend=HostsLog(hosts_log) if hosts_log else None,
            )
            asyncio.run(_serve(core, host, port, tls, rpc_delay, durable=store is not None))
        except CannotServe as error:
            _fail(str(error))


async def _serve(core: "Core", host: str, port: int, tls: "Tls | None", rpc_delay: float, *, durable: bool) -> None:
    from fake_provider.server import Server

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # Saved due times must stay valid after a reboot.
    clock = time.time if durable else time.monotonic
    server = Server(core, address=address, tls=tls, rpc_delay=rpc_delay, clock=clock)
    bound_address = await server.start()
    try:
        startup_message = {
            "address": bound_address,
            "port": int(bound_address.rpartition(":")[2]),
            "machines": len(core.machines),
            "tls": tls is not None,
            "pid": os.getpid(),
        }
        print(json.dumps(startup_message), flush=True)
        await stop.wait()
    finally:
        await server.stop(_SHUTDOWN_GRACE_S, notice=_SHUTDOWN_NOTICE_S)


def _tls(cert: Path | None, key: Path | None, client_ca: Path | None) -> "Tls | None":
    from fake_provider.server import Tls

    if cert is None and key is None and client_ca is None:
        return None
    if cert is None or key is None:
        _fail("TLS requires both --tls-cert and --tls-key")
    try:
        return Tls(
            certificate=cert.read_bytes(),
            key=key.read_bytes(),
            client_ca=client_ca.read_bytes() if client_ca else None,
        )
    except OSError as error:
        _fail(f"cannot read {error.filename}: {error.strerror}")


def _fail(reason: str) -> NoReturn:
    print(f"fake-provider: {reason}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main(prog_name="fake-provider")
