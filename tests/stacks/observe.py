"""Observes those defaults of each stack that matter for the contract, and writes observations.json.

`python -m tests.stacks.observe [NAME ...]` starts the stacks and sends calls that only a client without message classes
can send. Observations describe a stack and are not a verdict: the suite of the kit judges.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb

from tests.stacks.stacks import HERE, STACKS, Stack, built, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Value = str | int | bool | None

FILE: Final = HERE / "observations.json"
SERVICE: Final = "/bigfleet.v1alpha1.CapacityProvider"
TIMEOUT: Final = 20.0
LATENCY: Final = 0.3
FLEET: Final = 50_000
"""The number of machines whose List is larger than 4 MiB."""
KIB: Final = 1024
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS: Final = {
    3: "max_concurrent_streams",
    4: "initial_window_size",
    5: "max_frame_size",
    6: "max_header_list_size",
}

QUESTIONS: Final = {
    "health": "grpc.health.v1.Health/Check for the empty service (WIR-4)",
    "unknown_method": "code for an RPC that the service does not have (WIR-6)",
    "unknown_method_http": "HTTP status of that answer, if it is not a gRPC answer",
    "unknown_service": "code for an RPC of another service (WIR-6)",
    "unknown_service_http": "HTTP status of that answer, if it is not a gRPC answer",
    "request_4MiB": "code for a request a little larger than 4 MiB, gRPC's customary limit (WIR-5)",
    "request_16MiB": "code for a request of 16 MiB (WIR-5)",
    "response_over_4MiB": "code for a List whose answer is larger than 4 MiB (LST-2)",
    "request_headers_accepted": "largest request header of 4, 8, 16, 32, 64, 128 or 256 KiB that is served",
    "request_headers_refused_with": "code for the next larger one",
    "request_headers_http": "HTTP status of that answer, if it is not a gRPC answer",
    "invalid_utf8_metadata": "code for a metadata value that is not UTF-8, and the value then shown (MET-1, COD-5)",
    "invalid_utf8_id": "code for a machine id that is not UTF-8 (COD-5)",
    "malformed_request": "code for bytes that are not a message (COD-5)",
    "proto_key": "effect of `__proto__` as a metadata key (MET-1)",
    "constructor_key": "effect of `constructor` as a metadata key (MET-1)",
    "map_entry_with_extra_field": "effect of a metadata entry that has an unknown field (WIR-1, MET-1)",
    "gzip": "code for a request compressed with gzip",
    "cancelled_create": "effect of a Create that the client cancels after 5 ms, in 20 tries (WIR-3)",
    "connections_for_2500_calls": "connections that 2,500 sequential calls need",
    "max_concurrent_streams": "HTTP/2 SETTINGS of the server; null if it sends none",
    "max_header_list_size": "HTTP/2 SETTINGS of the server; null if it sends none",
    "max_frame_size": "HTTP/2 SETTINGS of the server; null if it sends none",
    "initial_window_size": "HTTP/2 SETTINGS of the server; null if it sends none",
}
"""The questions, in the order of the table; `python -m tests.stacks.observe` answers each for every stack."""


class Client:
    """A client that sends and receives bytes, on one channel with generous limits of its own."""

    def __init__(self, address: str) -> None:
        unlimited = 64 * KIB * KIB
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_metadata_size", unlimited),
            ("grpc.absolute_max_metadata_size", unlimited),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self.address = address
        self.channel = grpc.insecure_channel(address, options)
        self.epoch = 0

    def call(
        self,
        method: str,
        request: bytes,
        *,
        headers: Sequence[tuple[str, str]] = (),
        compression: grpc.Compression | None = None,
        timeout: float = TIMEOUT,
    ) -> tuple[str, bytes, str]:
        """Returns the code, the answer and the details of a call."""
        rpc: Any = self.channel.unary_unary(method)
        try:
            answer = rpc(request, timeout=timeout, metadata=headers, compression=compression, wait_for_ready=True)
        except grpc.RpcError as error:
            return error.code().name, b"", error.details() or ""
        return "OK", answer, ""

    def idle(self, machine: str) -> None:
        """Creates a machine and waits until it is IDLE."""
        self.call(f"{SERVICE}/Create", pb.CreateRequest(machine_id=machine).SerializeToString())
        self.wait(machine, pb.MACHINE_STATE_IDLE)

    def get(self, machine: str) -> pb.Machine:
        """Returns a machine as the provider shows it."""
        _, answer, _ = self.call(f"{SERVICE}/Get", pb.MachineRef(id=machine).SerializeToString())
        return pb.Machine.FromString(answer)

    def wait(self, machine: str, state: int) -> None:
        """Waits until the machine shows `state`, for TIMEOUT seconds at most."""
        deadline = time.monotonic() + TIMEOUT
        while self.get(machine).state != state and time.monotonic() < deadline:
            time.sleep(0.02)


def configure(machine: str, *entries: bytes) -> bytes:
    """Returns a Configure whose metadata entries are given as bytes."""
    request = pb.ConfigureRequest(machine_id=machine, cluster_id="cluster")
    return request.SerializeToString() + b"".join(_field(7, entry) for entry in entries)


def entry(key: bytes, value: bytes, more: bytes = b"") -> bytes:
    """Returns the bytes of one map entry."""
    return _field(1, key) + _field(2, value) + more


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def observe_calls(client: Client) -> dict[str, Value]:
    """Returns the answers to single calls that an ordinary client does not make."""
    seen: dict[str, Value] = {"health": health(client)}
    for name, method in {"method": f"{SERVICE}/Reboot", "service": "/example.v1.Other/Get"}.items():
        code, _, details = client.call(method, b"")
        seen[f"unknown_{name}"] = code
        seen[f"unknown_{name}_http"] = http_status(details)
    seen["invalid_utf8_id"] = client.call(f"{SERVICE}/Get", _field(1, b"\xff\xfe"))[0]
    seen["malformed_request"] = client.call(f"{SERVICE}/Get", b"\x0a\xff")[0]
    seen["gzip"] = client.call(
        f"{SERVICE}/Get", pb.MachineRef(id="slot-00001").SerializeToString(), compression=grpc.Compression.Gzip
    )[0]
    return seen


def health(client: Client) -> str:
    """Returns the health status, or the code of the refusal."""
    code, answer, _ = client.call("/grpc.health.v1.Health/Check", b"")
    return code if code != "OK" else {b"\x08\x01": "SERVING"}.get(answer, "NOT_SERVING")


def http_status(details: str) -> int | None:
    """Returns the HTTP status that gRPC's client found instead of a gRPC answer."""
    match = re.search(r"http2 header with status: (\d+)", details, re.IGNORECASE)
    return int(match[1]) if match else None


def observe_metadata(client: Client) -> dict[str, Value]:
    """Returns the effect of unusual metadata, each on a separate machine."""
    kept: dict[str, tuple[bytes, str]] = {
        "proto_key": (entry(b"__proto__", b"v"), "__proto__"),
        "constructor_key": (entry(b"constructor", b"v"), "constructor"),
        "map_entry_with_extra_field": (entry(b"key", b"v", more=b"\x18\x01"), "key"),
    }
    seen: dict[str, Value] = {}
    for number, (question, (sent, key)) in enumerate(kept.items(), 1):
        machine = f"slot-{number:05}"
        client.idle(machine)
        code, _, _ = client.call(f"{SERVICE}/Configure", configure(machine, sent, entry(b"other", b"w")))
        if code == "OK":
            client.wait(machine, pb.MACHINE_STATE_CONFIGURED)
        shown = dict(client.get(machine).shard_metadata)
        seen[question] = code if code != "OK" else "kept" if shown == {key: "v", "other": "w"} else f"lost: {shown}"
    machine = "slot-00004"
    client.idle(machine)
    seen["invalid_utf8_metadata"] = client.call(f"{SERVICE}/Configure", configure(machine, entry(b"k", b"\xff\xfe")))[0]
    if seen["invalid_utf8_metadata"] == "OK":
        client.wait(machine, pb.MACHINE_STATE_CONFIGURED)
        seen["invalid_utf8_metadata"] = f"OK, and shows {client.get(machine).shard_metadata['k']!a}"
    return seen


def observe_sizes(client: Client) -> dict[str, Value]:
    """Returns the sizes of requests and headers that are accepted."""
    machine = "slot-00005"
    seen: dict[str, Value] = {}
    for name, size in {"request_4MiB": 4 * KIB * KIB + 64, "request_16MiB": 16 * KIB * KIB}.items():
        # In an unknown field, so that no limit of the provider itself plays a part.
        request = pb.MachineRef(id=machine).SerializeToString() + _field(15, bytes(size))
        seen[name] = client.call(f"{SERVICE}/Get", request)[0]
    accepted, refused, status = "", None, None
    for size in (4, 8, 16, 32, 64, 128, 256):
        code, _, details = client.call(
            f"{SERVICE}/Get", pb.MachineRef(id=machine).SerializeToString(), headers=[("x-padding", "a" * size * KIB)]
        )
        if code != "OK":
            refused, status = code, http_status(details)
            break
        accepted = f"{size} KiB"
    return seen | {
        "request_headers_accepted": accepted,
        "request_headers_refused_with": refused,
        "request_headers_http": status,
    }


def observe_cancellation(client: Client) -> dict[str, Value]:
    """Returns the effect of Creates whose client cancels them at once."""
    machines = [f"slot-{number:05}" for number in range(21, 41)]
    for machine in machines:
        create: Any = client.channel.unary_unary(f"{SERVICE}/Create")
        call = create.future(pb.CreateRequest(machine_id=machine).SerializeToString(), timeout=TIMEOUT)
        time.sleep(0.005)
        call.cancel()
    time.sleep(LATENCY + 1.0)
    states = Counter(client.get(machine).state for machine in machines)
    settled, unseen = states[pb.MACHINE_STATE_IDLE], states[pb.MACHINE_STATE_SPECULATIVE]
    stuck = len(machines) - settled - unseen
    if stuck:
        return {"cancelled_create": f"{stuck} stuck"}
    return {"cancelled_create": "completes, or was never accepted" if settled else "is never accepted"}


def observe_connections(client: Client) -> dict[str, Value]:
    """Returns the number of connections that 2,500 sequential calls need."""
    connections = 0

    def changed(state: grpc.ChannelConnectivity) -> None:
        nonlocal connections
        connections += state is grpc.ChannelConnectivity.READY

    fresh = Client(client.address)
    fresh.channel.subscribe(changed, try_to_connect=True)
    for _ in range(2500):
        fresh.call(f"{SERVICE}/Get", pb.MachineRef(id="slot-00001").SerializeToString())
    fresh.channel.unsubscribe(changed)
    fresh.channel.close()
    return {"connections_for_2500_calls": connections}


def observe_settings(address: str) -> dict[str, Value]:
    """Returns the settings in the first SETTINGS frame of the server."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
        connection.sendall(PREFACE + struct.pack(">I", 0)[1:] + b"\x04\x00" + bytes(4))
        received = b""
        while len(received) < 9 or len(received) < 9 + int.from_bytes(received[:3], "big"):
            more = connection.recv(4096)
            if not more:
                break
            received += more
    body = received[9 : 9 + int.from_bytes(received[:3], "big")] if received[3:4] == b"\x04" else b""
    pairs = dict(struct.iter_unpack(">HI", body))
    return {name: pairs.get(number) for number, name in SETTINGS.items()}


def observe(stack: Stack, directory: Path) -> Mapping[str, Value]:
    """Returns all observations of one stack, in the order of QUESTIONS."""
    it, log = built(stack), directory / f"{stack.name}.log"
    seen: dict[str, Value] = {}
    parts: list[Callable[[Client], dict[str, Value]]] = [
        observe_calls, observe_metadata, observe_sizes, observe_cancellation, observe_connections
    ]  # fmt: skip
    for part in parts:
        # Each part has its own server, so that a crash affects one part only.
        with serving(it, latency=LATENCY, log=log) as address:
            client = Client(address)
            try:
                seen |= part(client)
            finally:
                client.channel.close()
    with serving(it, log=log) as address:
        seen |= observe_settings(address)
    with serving(it, machines=FLEET, log=log) as address:
        client = Client(address)
        code, answer, details = client.call(f"{SERVICE}/List", b"", timeout=60)
        client.channel.close()
        enough = len(answer) > 4 * KIB * KIB
        seen["response_over_4MiB"] = code if enough or code != "OK" else f"only {len(answer)} bytes {details}"
    return {question: seen[question] for question in QUESTIONS}


def main(names: Sequence[str]) -> None:
    """Observes the named stacks, or all of them, and updates observations.json."""
    known = json.loads(FILE.read_text())["stacks"] if FILE.exists() else {}
    with tempfile.TemporaryDirectory() as directory:
        for stack in STACKS:
            if not names or stack.name in names:
                print(f"{stack.name} …", flush=True)
                seen = observe(stack, Path(directory))
                known[stack.name] = {
                    "directory": stack.directory,
                    "versions": dict(stack.versions()),
                    "quick": stack.quick,
                    "observed": seen,
                    "settings": dict(stack.settings),
                }
                content = {"questions": QUESTIONS, "stacks": dict(sorted(known.items()))}
                FILE.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
