"""The proxy of the environment: what the kit predicts is what gRPC does, and loopback never uses a proxy."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.rpc.client import Client
from conformance.rpc.env_proxy import EXCEPTION_VARIABLES, PROXY_VARIABLES, how_to_unset, is_local, proxy_variable
from conformance.rpc.target import Target

PROXY = "http://user:s3cret@127.0.0.1:{port}"


@pytest.mark.parametrize(
    "address",
    [
        "localhost:9000",
        "LOCALHOST.:9000",
        "provider.localhost:9000",
        "127.0.0.1:9000",
        "127.8.8.8:9000",
        "0.0.0.0:9000",
        "[::1]:9000",
        "[::ffff:127.0.0.1]:9000",
        "dns:///localhost:9000",
        "unix:/run/provider.sock",
    ],
)
def test_a_loopback_address_is_local_and_needs_no_proxy(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:1")
    assert is_local(address)
    assert proxy_variable(address) is None


@pytest.mark.parametrize("address", ["provider:9000", "10.0.0.1:9000", "[2001:db8::1]:9000", "localhost.example:9000"])
def test_any_other_address_is_not_local(address: str) -> None:
    assert not is_local(address)


async def proxy_is_used(address: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Returns whether gRPC sends a CONNECT to the proxy that the environment names, at `{port}`."""
    requests: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            requests.append(await reader.readline())
            writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    for name in (*PROXY_VARIABLES, *EXCEPTION_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(port=server.sockets[0].getsockname()[1]))
    client = Client(Target(address=address), rpc_timeout=0.5)
    try:
        assert not (await client.call("Get", pb.MachineRef(id="m"))).answered
    finally:
        await client.close()
        server.close()
    return any(request.startswith(b"CONNECT ") for request in requests)


@pytest.mark.parametrize(
    ("address", "environment", "used"),
    [
        ("provider.invalid:9", {}, None),
        ("provider.invalid:9", {"http_proxy": PROXY}, "http_proxy"),
        ("provider.invalid:9", {"https_proxy": PROXY}, "https_proxy"),
        ("provider.invalid:9", {"https_proxy": "http://127.0.0.1:1", "grpc_proxy": PROXY}, "grpc_proxy"),
        ("provider.invalid:9", {"http_proxy": PROXY, "https_proxy": ""}, None),
        ("provider.invalid:9", {"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY}, None),
        ("provider.invalid:9", {"https_proxy": "https://127.0.0.1:{port}"}, None),
        ("provider.invalid:9", {"https_proxy": "127.0.0.1:{port}"}, None),
        ("provider.invalid:9", {"http_proxy": PROXY, "no_proxy": "*"}, "http_proxy"),
        ("provider.invalid:9", {"http_proxy": PROXY, "no_proxy": "other.invalid, .INVALID"}, None),
        ("provider.invalid:9", {"http_proxy": PROXY, "no_proxy": "invalid", "no_grpc_proxy": ""}, "http_proxy"),
        ("192.0.2.1:9", {"http_proxy": PROXY, "no_proxy": "192.0.2.0/24"}, None),
        ("192.0.2.1:9", {"http_proxy": PROXY, "no_proxy": "192.0.3.0/24,192.0.2.0/33"}, "http_proxy"),
        ("127.0.0.1:9", {"http_proxy": PROXY, "https_proxy": PROXY, "grpc_proxy": PROXY}, None),
        ("localhost:9", {"grpc_proxy": PROXY}, None),
    ],
)
def test_the_kit_predicts_the_variable_that_grpc_uses(
    address: str, environment: dict[str, str], used: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asyncio.run(proxy_is_used(address, environment, monkeypatch)) is (used is not None)
    assert proxy_variable(address) == used


def test_the_hint_names_all_variables_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXY_VARIABLES, *EXCEPTION_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", PROXY)
    monkeypatch.setenv("https_proxy", PROXY)
    assert how_to_unset("provider.invalid:9") == (
        "to connect without the proxy, start the kit with env -u https_proxy -u http_proxy, "
        "or add provider.invalid to no_proxy"
    )
