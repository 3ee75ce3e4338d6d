"""Observes those defaults of each proxy that matter for a provider behind it, and writes observations.json.

`python -m tests.proxies.observe [NAME ...]` starts each proxy in front of a server that has no limits of its own, so
that every limit that shows is the proxy's. Takes about two minutes: it waits for timeouts.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import sys
import tempfile
import threading
import time
import warnings
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from tests.proxies.configs import NAME, OTHER_ROUTES
from tests.proxies.proxies import HERE, PROXIES, Proxy, installed_envoy, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Value = str | int | bool | None

FILE: Final = HERE / "observations.json"
KIB: Final = 1024
TIMEOUT: Final = 20.0
LONGEST: Final = 90
"""Seconds after which a timeout counts as none."""
STREAMS: Final = 2.0
"""Seconds within which a part of a stream arrives if it is not held back."""
UNLIMITED: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_metadata_size", 64 * KIB * KIB),
    ("grpc.absolute_max_metadata_size", 64 * KIB * KIB),
)
CLIENT: Final = (*UNLIMITED, ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))

QUESTIONS: Final = {
    "request_accepted": "largest request of 0.5, 1, 2, 4, 16 or 64 MiB that is passed on (WIR-5)",
    "request_refused_with": "code for the next larger one",
    "request_http": "HTTP status of that answer, if it is not a gRPC answer",
    "request_headers_accepted": "largest request header of 4, 8, 16, 32, 64, 128 or 256 KiB that is passed on",
    "request_headers_refused_with": "code for the next larger one",
    "request_headers_http": "HTTP status of that answer, if it is not a gRPC answer",
    "error_text_accepted": "longest error text of 2, 4, 8, 16, 32, 64 or 128 KiB that comes back",
    "error_text_refused_with": "code for the next longer one",
    "error_text_http": "HTTP status of that answer, if it is not a gRPC answer",
    "provider_down": "code if nothing listens at the provider's address",
    "provider_down_http": "HTTP status of that answer, if it is not a gRPC answer",
    "no_route": "code for a service that has no route",
    "no_route_http": "HTTP status of that answer, if it is not a gRPC answer",
    "answer_timeout_seconds": "seconds until the proxy stops waiting for an answer; –: more than 90",
    "answer_timeout_with": "code of that answer",
    "answer_timeout_http": "HTTP status of that answer, if it is not a gRPC answer",
    "idle_timeout_seconds": "seconds until an idle connection of a client is closed; –: more than 90",
    "request_stream_passes": "the provider sees the first message of a stream before its end",
    "response_stream_passes": "the client sees the first message of a stream before its end",
    "cancellation_passes": "the provider sees that a client cancels its call (WIR-3)",
    "connections_for_2500_calls": "connections of the client that 2,500 sequential calls need",
    "lowest_tls": "lowest TLS version that is accepted with the proxy's default settings (SEC-1)",
    "no_certificate": "answer to a client without a certificate where one is required (SEC-1b)",
    "no_host_name": "answer to a client that dials an address instead of a name, where certificates are required",
}
"""The questions, in the order of the table."""

SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "nginx": {
        "request_accepted": "client_max_body_size; 1m if not set",
        "request_headers_accepted": "large_client_header_buffers; 4 8k if not set",
        "error_text_accepted": "grpc_buffer_size; one memory page if not set",
        "answer_timeout_seconds": "grpc_read_timeout; 60s if not set",
        "idle_timeout_seconds": "keepalive_timeout; 75s if not set",
        "connections_for_2500_calls": "keepalive_requests; 1000 if not set",
        "lowest_tls": "ssl_protocols",
        "no_certificate": "ssl_verify_client",
    },
    "haproxy": {
        "request_headers_accepted": "tune.bufsize; 16384 if not set",
        "error_text_accepted": "tune.bufsize; 16384 if not set",
        "answer_timeout_seconds": "timeout server; 60s in the tests, no limit if not set",
        "idle_timeout_seconds": "timeout client, timeout http-keep-alive; 60s in the tests, no limit if not set",
        "lowest_tls": "ssl-min-ver of bind",
        "no_certificate": "verify of bind",
    },
    "caddy": {
        "request_accepted": "max_size of request_body; no limit if not set",
        "request_headers_accepted": "max_header_size of servers; 1MB if not set",
        "answer_timeout_seconds": "response_header_timeout of the transport; no limit if not set",
        "idle_timeout_seconds": "timeouts idle of servers; 5m if not set",
        "lowest_tls": "protocols of tls",
        "no_certificate": "client_auth mode of tls",
        "no_host_name": "strict_sni_host of servers; on if client_auth is configured",
    },
    "envoy": {
        "request_accepted": "max_request_bytes of the buffer filter; no limit if not set",
        "request_headers_accepted": "max_request_headers_kb of the HTTP connection manager; 60 if not set",
        "error_text_accepted": "max_response_headers_kb of the cluster's common_http_protocol_options",
        "answer_timeout_seconds": "timeout of the route; 15s if not set",
        "idle_timeout_seconds": "idle_timeout of common_http_protocol_options; 1h if not set",
        "lowest_tls": "tls_minimum_protocol_version",
        "no_certificate": "require_client_certificate",
    },
}
"""For questions: the option of the proxy that changes the answer."""


class Upstream(grpc.GenericRpcHandler):
    """A provider without limits: its methods do what the questions need."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.first = threading.Event()
        self.stop = threading.Event()

    def service(self, details: Any) -> Any:
        """Returns the handler of a method, `/observed.Provider/NAME`."""
        match details.method.rpartition("/")[2]:
            case "Fails":
                return grpc.unary_unary_rpc_method_handler(self.fails)
            case "Waits":
                return grpc.unary_unary_rpc_method_handler(self.waits)
            case "Collects":
                return grpc.stream_unary_rpc_method_handler(self.collects)
            case "Streams":
                return grpc.unary_stream_rpc_method_handler(self.streams)
            case _:
                return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")

    def fails(self, request: bytes, context: Any) -> bytes:
        """Answers with an error text of the requested length."""
        context.abort(grpc.StatusCode.NOT_FOUND, "x" * int(request))
        return b""

    def waits(self, request: bytes, context: Any) -> bytes:
        """Answers when the client has gone, or at the end."""
        ended = threading.Event()
        context.add_callback(ended.set)
        while not (ended.wait(0.05) or self.stop.is_set()):
            pass
        if ended.is_set():
            self.cancelled.set()
        return b""

    def collects(self, requests: Iterator[bytes], context: Any) -> bytes:
        """Reads a stream."""
        for _ in requests:
            self.first.set()
        return b""

    def streams(self, request: bytes, context: Any) -> Iterator[bytes]:
        """Sends one message, and another one at the end."""
        yield b"first"
        self.stop.wait(3 * STREAMS)
        yield b"last"


@contextmanager
def upstream() -> Iterator[tuple[str, Upstream]]:
    """Serves an Upstream; yields its address, and itself."""
    handler = Upstream()
    server = grpc.server(futures.ThreadPoolExecutor(16), handlers=[handler], options=UNLIMITED)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", handler
    finally:
        handler.stop.set()
        server.stop(0).wait()


@contextmanager
def client(address: str) -> Iterator[grpc.Channel]:
    """Connects without limits and without TLS."""
    channel = grpc.insecure_channel(address, CLIENT)
    try:
        yield channel
    finally:
        channel.close()


def call(
    channel: grpc.Channel,
    method: str,
    request: bytes = b"",
    *,
    headers: Sequence[tuple[str, str]] = (),
    timeout: float = TIMEOUT,
) -> tuple[str, int | None]:
    """Returns the code of a call, and the HTTP status if gRPC's client found one instead of a gRPC answer."""
    rpc: Any = channel.unary_unary(f"/observed.Provider/{method}")
    try:
        rpc(request, timeout=timeout, metadata=headers, wait_for_ready=True)
    except grpc.RpcError as error:
        status = re.search(r"http2 header with status: (\d+)", error.details() or "")
        return error.code().name, int(status[1]) if status else None
    return "OK", None


def limit_of(name: str, sizes: Mapping[str, int], one: Any, expected: str) -> dict[str, Value]:
    """Returns the largest of `sizes` for which `one(size)` gives the expected code, and the answer to the next one."""
    accepted: Value = None
    for text, size in sizes.items():
        code, status = one(size)
        if code != expected:
            return {f"{name}_accepted": accepted, f"{name}_refused_with": code, f"{name}_http": status}
        accepted = text
    return {f"{name}_accepted": accepted, f"{name}_refused_with": None, f"{name}_http": None}


def observe_sizes(address: str) -> dict[str, Value]:
    """Returns the sizes that are passed on in both directions."""
    mib = {f"{size:g} MiB": int(size * KIB * KIB) for size in (0.5, 1, 2, 4, 16, 64)}
    kib = {f"{size} KiB": size * KIB for size in (4, 8, 16, 32, 64, 128, 256)}
    texts = {f"{size} KiB": size * KIB for size in (2, 4, 8, 16, 32, 64, 128)}
    with client(address) as channel:
        return {
            **limit_of("request", mib, lambda size: call(channel, "Answers", bytes(size)), "OK"),
            **limit_of(
                "request_headers",
                kib,
                lambda size: call(channel, "Answers", headers=[("x-padding", "a" * size)]),
                "OK",
            ),
            **limit_of("error_text", texts, lambda size: call(channel, "Fails", b"%d" % size), "NOT_FOUND"),
        }


def observe_streams(address: str, provider: Upstream) -> dict[str, Value]:
    """Returns whether parts of a stream, and a cancellation, pass at once."""
    with client(address) as channel:
        done = threading.Event()

        def messages() -> Iterator[bytes]:
            yield b"first"
            done.wait(3 * STREAMS)

        collects: Any = channel.stream_unary("/observed.Provider/Collects")
        pending = collects.future(messages(), timeout=TIMEOUT)
        request_passes = provider.first.wait(STREAMS)
        done.set()
        pending.result()
        streams: Any = channel.unary_stream("/observed.Provider/Streams")
        began = time.monotonic()
        next(iter(streams(b"", timeout=TIMEOUT)))
        response_passes = time.monotonic() - began < STREAMS
        waits: Any = channel.unary_unary("/observed.Provider/Waits")
        waiting = waits.future(b"", timeout=TIMEOUT)
        time.sleep(0.5)
        waiting.cancel()
        return {
            "request_stream_passes": request_passes,
            "response_stream_passes": response_passes,
            "cancellation_passes": provider.cancelled.wait(STREAMS),
        }


def observe_timeouts(address: str) -> dict[str, Value]:
    """Returns the time until a late answer is given up, and until an idle connection is closed."""

    def late_answer() -> dict[str, Value]:
        with client(address) as channel:
            began = time.monotonic()
            code, status = call(channel, "Waits", timeout=LONGEST)
            seconds = round(time.monotonic() - began)
        if seconds >= LONGEST:
            return dict.fromkeys(("answer_timeout_seconds", "answer_timeout_with", "answer_timeout_http"))
        return {"answer_timeout_seconds": seconds, "answer_timeout_with": code, "answer_timeout_http": status}

    def idle_connection() -> dict[str, Value]:
        states: list[grpc.ChannelConnectivity] = []
        closed = threading.Event()

        def changed(state: grpc.ChannelConnectivity) -> None:
            if grpc.ChannelConnectivity.READY in states:
                closed.set()
            states.append(state)

        with client(address) as channel:
            channel.subscribe(changed)
            call(channel, "Answers")
            began = time.monotonic()
            was_closed = closed.wait(LONGEST)
            return {"idle_timeout_seconds": round(time.monotonic() - began) if was_closed else None}

    with futures.ThreadPoolExecutor(2) as pool:
        late, idle = pool.submit(late_answer), pool.submit(idle_connection)
        return late.result() | idle.result()


def observe_connections(address: str) -> dict[str, Value]:
    """Returns the number of connections that 2,500 sequential calls need."""
    connections = 0

    def changed(state: grpc.ChannelConnectivity) -> None:
        nonlocal connections
        connections += state is grpc.ChannelConnectivity.READY

    with client(address) as channel:
        channel.subscribe(changed, try_to_connect=True)
        for _ in range(2500):
            call(channel, "Answers")
        channel.unsubscribe(changed)
    return {"connections_for_2500_calls": connections}


def observe_tls(address: str, directory: Path) -> dict[str, Value]:
    """Returns the lowest TLS version, and the answers to clients without a certificate and without a name."""
    ca, key, cert = ((directory / name).read_bytes() for name in ("ca.pem", "client.key", "client.pem"))
    named = (*CLIENT, ("grpc.ssl_target_name_override", NAME))

    def answer(credentials: grpc.ChannelCredentials, options: Sequence[tuple[str, Any]]) -> str:
        channel = grpc.secure_channel(address, credentials, options)
        rpc: Any = channel.unary_unary("/observed.Provider/Answers")
        try:
            rpc(b"", timeout=3.0)
        except grpc.RpcError as error:
            status = re.search(r"http2 header with status: (\d+)", error.details() or "")
            return f"{error.code().name}, HTTP {status[1]}" if status else f"{error.code().name}, no connection"
        else:
            return "OK"
        finally:
            channel.close()

    return {
        "lowest_tls": next((v.name for v in ssl.TLSVersion if v > 768 and handshake(address, directory, v)), None),
        "no_certificate": answer(grpc.ssl_channel_credentials(ca), named),
        "no_host_name": answer(grpc.ssl_channel_credentials(ca, key, cert), CLIENT),
    }


def handshake(address: str, directory: Path, version: ssl.TLSVersion) -> bool:
    """Returns whether a TLS handshake with this version alone succeeds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(directory / "client.pem", directory / "client.key")
    context.set_alpn_protocols(["h2"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    host, _, port = address.rpartition(":")
    try:
        with (
            socket.create_connection((host, int(port)), timeout=3.0) as raw,
            context.wrap_socket(raw, server_hostname=NAME) as wrapped,
        ):
            return wrapped.version() is not None
    except OSError:
        return False


def observe(proxy: Proxy, path: str, directory: Path) -> Mapping[str, Value]:
    """Returns all observations of one proxy, in the order of QUESTIONS."""
    seen: dict[str, Value] = {}
    with upstream() as (address, provider):
        with serving(proxy, path, address, directory / "plain", tuned=False) as proxied:
            seen |= observe_sizes(proxied.address)
            seen |= observe_streams(proxied.address, provider)
            seen |= observe_connections(proxied.address)
            seen |= observe_timeouts(proxied.address)
        with serving(proxy, path, address, directory / "tls", tuned=False, tls=True) as proxied:
            seen |= observe_tls(proxied.address, proxied.directory)
        with (
            serving(proxy, path, address, directory / "route", tuned=False, route=OTHER_ROUTES) as proxied,
            client(proxied.address) as channel,
        ):
            seen["no_route"], seen["no_route_http"] = call(channel, "Answers")
    with serving(proxy, path, address, directory / "down", tuned=False) as proxied, client(proxied.address) as channel:
        seen["provider_down"], seen["provider_down_http"] = call(channel, "Answers")
    return {question: seen[question] for question in QUESTIONS}


def main(names: Sequence[str]) -> None:
    """Observes the named proxies, or all of them, at the same time, and updates observations.json."""
    known = json.loads(FILE.read_text())["proxies"] if FILE.exists() else {}
    chosen = [proxy for proxy in PROXIES if not names or proxy.name in names]
    paths = {proxy.name: proxy.find() or installed_envoy() for proxy in chosen}
    with tempfile.TemporaryDirectory() as directory, futures.ThreadPoolExecutor(len(chosen)) as pool:
        observed = {
            proxy.name: pool.submit(observe, proxy, paths[proxy.name], Path(directory, proxy.name)) for proxy in chosen
        }
        for proxy in chosen:
            known[proxy.name] = {
                "versions": {proxy.name: proxy.version_of(paths[proxy.name])},
                "observed": observed[proxy.name].result(),
                "settings": dict(SETTINGS[proxy.name]),
            }
    content = {"questions": QUESTIONS, "proxies": dict(sorted(known.items()))}
    FILE.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
