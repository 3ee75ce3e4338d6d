from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import trustme

from conformance.core.errors import UsageError
from conformance.rpc.client import Client
from conformance.rpc.target import Target, Tls, load_tls, parse_address, parse_header
from fake_provider import server
from fake_provider.server import serving
from tests.runs import provider

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.rpc.call import Call


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:9000",
        "provider:1",
        "provider.example.org:65535",
        "[::1]:9000",
        "[fe80::1%eth0]:9000",
        "dns:///provider:9000",
        "unix:/run/provider.sock",
        "unix:relative.sock",
        "unix:///run/provider.sock",
    ],
)
def test_an_address_is_taken_as_grpc_wants_it(text: str) -> None:
    assert parse_address(f" {text} ") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "localhost:",
        ":9000",
        "9000",
        "::1:9000",
        "[::1]",
        "[::1",
        "[zz]:9000",
        "[]:9000",
        "host name:9000",
        "host:9000/path",
        "host:port",
        "host:-1",
        "host:123456",
        "host:9000:9001",
        "grpc://host:9000",
        "host:९०००",
    ],
)
def test_any_other_form_is_no_address_and_the_message_names_the_forms(text: str) -> None:
    with pytest.raises(UsageError, match="is not an address") as caught:
        parse_address(text)
    assert caught.value.hint == "write host:port, [ipv6]:port or unix:/path"


@pytest.mark.parametrize("port", ["0", "65536", "70000", "99999"])
def test_a_port_that_does_not_exist_is_named(port: str) -> None:
    with pytest.raises(UsageError, match=f"has port {port}"):
        parse_address(f"host:{port}")


@pytest.mark.parametrize(
    ("text", "bare"),
    [("http://host:9000", "host:9000"), ("https://host:9000/", "host:9000"), ("https://host", "host")],
)
def test_a_url_is_named_as_one_with_the_address_in_it(text: str, bare: str) -> None:
    with pytest.raises(UsageError, match="is a URL") as caught:
        parse_address(text)
    assert caught.value.hint is not None
    assert caught.value.hint.endswith(f"try {bare}")


@pytest.mark.parametrize("text", ["unix:", "unix:/", "unix://", "unix:///"])
def test_a_socket_has_a_path(text: str) -> None:
    with pytest.raises(UsageError, match="names no socket"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("authorization=Bearer a=b", ("authorization", "Bearer a=b")),
        ("X-Team=fleet", ("x-team", "fleet")),
        ("x-empty=", ("x-empty", "")),
    ],
)
def test_a_header_is_split_at_its_first_equals_sign(text: str, header: tuple[str, str]) -> None:
    assert parse_header(text) == header


@pytest.mark.parametrize("text", ["", "authorization", "=secret", "two words=secret", "authorization: Bearer secret"])
def test_a_header_is_key_equals_value(text: str) -> None:
    with pytest.raises(UsageError, match="is not key=value"):
        parse_header(text)


@pytest.mark.parametrize("text", ["Bearer s3cret", "authorization: s3cret==", "s3cret"])
def test_what_is_no_header_may_be_a_secret_and_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_header(text)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("key", ["grpc-timeout", "GRPC-Encoding", "trace-bin"])
def test_what_is_grpcs_own_and_what_is_binary_cannot_be_set(key: str) -> None:
    with pytest.raises(UsageError, match="cannot be set"):
        parse_header(f"{key}=value")


@pytest.mark.parametrize("value", ["s3cret\n", "s3crét", "s3cret\x00"])
def test_a_header_that_cannot_be_sent_is_refused_and_its_value_never_said(value: str) -> None:
    with pytest.raises(UsageError, match="not printable ASCII") as caught:
        parse_header(f"authorization={value}")
    assert "s3cr" not in str(caught.value)


def test_neither_headers_nor_a_key_are_in_a_targets_repr() -> None:
    target = Target(address="host:1", headers=(("authorization", "s3cret"),), tls=Tls(key=b"s3cret"))
    assert "s3cret" not in repr(target)


# TLS.


class Files:
    """A CA, and a client's pair that it signed, as PEM files; and the same of a stranger."""

    def __init__(self, directory: Path) -> None:
        self.authority, stranger = trustme.CA(), trustme.CA()
        self.ca, self.cert, self.key = (directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
        self.other_key = directory / "other-key.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        client = self.authority.issue_cert("client.example.org")
        client.cert_chain_pems[0].write_to_path(self.cert)
        client.private_key_pem.write_to_path(self.key)
        stranger.issue_cert("client.example.org").private_key_pem.write_to_path(self.other_key)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def load(
    ca: Path | None = None, cert: Path | None = None, key: Path | None = None, server_name: str | None = None
) -> Tls | None:
    return load_tls(ca=ca, cert=cert, key=key, server_name=server_name)


def test_without_any_option_there_is_no_tls() -> None:
    assert load() is None


def test_a_ca_and_a_pair_are_read(files: Files) -> None:
    tls = load(files.ca, files.cert, files.key, "provider")
    assert tls == Tls(
        ca=files.ca.read_bytes(),
        cert=files.cert.read_bytes(),
        key=files.key.read_bytes(),
        server_name="provider",
    )


def test_a_server_name_alone_does_not_mean_tls() -> None:
    with pytest.raises(UsageError, match="--server-name without TLS"):
        load(server_name="provider")


def test_half_a_pair_is_named_by_the_half_that_is_missing(files: Files) -> None:
    with pytest.raises(UsageError, match="--tls-cert without --tls-key"):
        load(files.ca, cert=files.cert)
    with pytest.raises(UsageError, match="--tls-key without --tls-cert"):
        load(files.ca, key=files.key)


def test_a_file_that_is_not_there_or_is_a_directory_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--tls-ca .*: No such file"):
        load(tmp_path / "nothing.pem")
    with pytest.raises(UsageError, match=r"--tls-ca .*: Is a directory"):
        load(tmp_path)


def test_a_file_that_is_no_pem_is_named(files: Files, tmp_path: Path) -> None:
    text = tmp_path / "text.pem"
    text.write_text("BEGIN CERTIFICATE", encoding="utf-8")
    with pytest.raises(UsageError, match=r"--tls-ca .*text\.pem holds no CERTIFICATE"):
        load(text)


def test_a_certificate_in_the_keys_place_is_no_key_and_the_other_way_round(files: Files) -> None:
    with pytest.raises(UsageError, match=r"--tls-key holds no PRIVATE KEY"):
        load(files.ca, files.cert, files.cert)
    with pytest.raises(UsageError, match=r"--tls-cert .* holds no CERTIFICATE"):
        load(files.ca, files.key, files.key)


def test_a_key_of_another_certificate_is_found_before_anything_is_dialled(files: Files) -> None:
    with pytest.raises(UsageError, match=r"are no pair \(KEY_VALUES_MISMATCH\)"):
        load(files.ca, files.cert, files.other_key)


def test_what_only_looks_like_a_key_is_no_pair(files: Files, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", encoding="utf-8")
    with pytest.raises(UsageError, match="are no pair"):
        load(files.ca, files.cert, broken)


def test_where_a_key_lies_is_never_said(files: Files, tmp_path: Path) -> None:
    broken = tmp_path / "s3cret.pem"
    for content in (None, "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        if content is not None:
            broken.write_text(content, encoding="utf-8")
        with pytest.raises(UsageError, match="--tls-key") as caught:
            load(files.ca, files.cert, broken)
        assert "s3cret" not in str(caught.value)


def tls_call(files: Files, tls: Tls | None, *, name: str = "provider.example.org") -> Call:
    """List over TLS to a provider that is called `name` and asks for a client's certificate."""
    certificate = files.authority.issue_cert(name)
    secrets = server.Tls(
        certificate=certificate.cert_chain_pems[0].bytes(),
        key=certificate.private_key_pem.bytes(),
        client_ca=files.authority.cert_pem.bytes(),
    )

    async def go() -> Call:
        async with serving(provider(1), tls=secrets) as address:
            client = Client(Target(address=address, tls=tls), rpc_timeout=5.0)
            try:
                return await client.list()
            finally:
                await client.close()

    return asyncio.run(go())


def test_a_channel_over_tls_is_made_of_the_files(files: Files) -> None:
    assert tls_call(files, load(files.ca, files.cert, files.key, "provider.example.org")).ok


def test_the_name_in_the_certificate_is_checked(files: Files) -> None:
    call = tls_call(files, load(files.ca, files.cert, files.key, "provider.example.org"), name="other.example.org")
    assert not call.answered


def test_plaintext_is_never_a_fall_back(files: Files) -> None:
    assert not tls_call(files, None).answered
