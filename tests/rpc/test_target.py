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
def test_an_address_is_accepted_in_grpcs_notation(text: str) -> None:
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
def test_any_other_form_is_refused_with_the_valid_forms(text: str) -> None:
    with pytest.raises(UsageError, match="is not an address") as caught:
        parse_address(text)
    assert caught.value.hint == "write host:port, [ipv6]:port or unix:/path"


@pytest.mark.parametrize("port", ["0", "65536", "70000", "99999"])
def test_an_invalid_port_is_named(port: str) -> None:
    with pytest.raises(UsageError, match=f"has port {port}"):
        parse_address(f"host:{port}")


@pytest.mark.parametrize(
    ("text", "bare"),
    [("http://host:9000", "host:9000"), ("https://host:9000/", "host:9000"), ("https://host", "host")],
)
def test_a_url_is_refused_with_its_address_as_a_hint(text: str, bare: str) -> None:
    with pytest.raises(UsageError, match="is a URL") as caught:
        parse_address(text)
    assert caught.value.hint is not None
    assert caught.value.hint.endswith(f"try {bare}")


@pytest.mark.parametrize("text", ["unix:", "unix:/", "unix://", "unix:///"])
def test_a_socket_has_a_path(text: str) -> None:
    with pytest.raises(UsageError, match="does not name a socket"):
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
def test_an_invalid_header_may_be_a_secret_and_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_header(text)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("key", ["grpc-timeout", "GRPC-Encoding", "trace-bin"])
def test_reserved_and_binary_headers_cannot_be_set(key: str) -> None:
    with pytest.raises(UsageError, match="cannot be set"):
        parse_header(f"{key}=value")


@pytest.mark.parametrize("value", ["s3cret\n", "s3crét", "s3cret\x00"])
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(value: str) -> None:
    with pytest.raises(UsageError, match="not printable ASCII") as caught:
        parse_header(f"authorization={value}")
    assert "s3cr" not in str(caught.value)


def test_neither_headers_nor_a_key_are_in_a_targets_repr() -> None:
    target = Target(address="host:1", headers=(("authorization", "s3cret"),), tls=Tls(key=b"s3cret"))
    assert "s3cret" not in repr(target)


# TLS.


class Files:
    """PEM files: a CA, a client certificate that it signed with its key, and a key of another CA."""

    def __init__(self, directory: Path) -> None:
        self.authority, other_authority = trustme.CA(), trustme.CA()
        self.ca, self.cert, self.key = (directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
        self.other_key = directory / "other-key.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        client = self.authority.issue_cert("client.example.org")
        client.cert_chain_pems[0].write_to_path(self.cert)
        client.private_key_pem.write_to_path(self.key)
        other_authority.issue_cert("client.example.org").private_key_pem.write_to_path(self.other_key)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def load(
    ca: Path | None = None, cert: Path | None = None, key: Path | None = None, server_name: str | None = None
) -> Tls | None:
    return load_tls(ca=ca, cert=cert, key=key, server_name=server_name)


def test_without_options_tls_is_off() -> None:
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


def test_a_certificate_or_key_alone_is_refused_with_the_missing_option(files: Files) -> None:
    with pytest.raises(UsageError, match="--tls-cert without --tls-key"):
        load(files.ca, cert=files.cert)
    with pytest.raises(UsageError, match="--tls-key without --tls-cert"):
        load(files.ca, key=files.key)


def test_a_missing_file_and_a_directory_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--tls-ca .*: No such file"):
        load(tmp_path / "nothing.pem")
    with pytest.raises(UsageError, match=r"--tls-ca .*: Is a directory"):
        load(tmp_path)


def test_a_file_that_is_not_pem_is_named(files: Files, tmp_path: Path) -> None:
    text = tmp_path / "text.pem"
    text.write_text("BEGIN CERTIFICATE", encoding="utf-8")
    with pytest.raises(UsageError, match=r"--tls-ca .*text\.pem does not contain a CERTIFICATE"):
        load(text)


def test_a_certificate_given_as_key_is_refused_and_vice_versa(files: Files) -> None:
    with pytest.raises(UsageError, match=r"--tls-key does not contain a PRIVATE KEY"):
        load(files.ca, files.cert, files.cert)
    with pytest.raises(UsageError, match=r"--tls-cert .* does not contain a CERTIFICATE"):
        load(files.ca, files.key, files.key)


def test_a_key_of_another_certificate_is_refused_before_any_connection(files: Files) -> None:
    with pytest.raises(UsageError, match=r"do not match \(KEY_VALUES_MISMATCH\)"):
        load(files.ca, files.cert, files.other_key)


def test_an_invalid_key_is_refused(files: Files, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", encoding="utf-8")
    with pytest.raises(UsageError, match="do not match"):
        load(files.ca, files.cert, broken)


def test_the_path_of_a_key_is_never_shown(files: Files, tmp_path: Path) -> None:
    broken = tmp_path / "s3cret.pem"
    for content in (None, "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        if content is not None:
            broken.write_text(content, encoding="utf-8")
        with pytest.raises(UsageError, match="--tls-key") as caught:
            load(files.ca, files.cert, broken)
        assert "s3cret" not in str(caught.value)


def tls_call(files: Files, tls: Tls | None, *, name: str = "provider.example.org") -> Call:
    """Calls List over TLS on a provider named `name` that requires a client certificate."""
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


def test_a_tls_channel_uses_the_files(files: Files) -> None:
    assert tls_call(files, load(files.ca, files.cert, files.key, "provider.example.org")).ok


def test_the_name_in_the_certificate_is_checked(files: Files) -> None:
    call = tls_call(files, load(files.ca, files.cert, files.key, "provider.example.org"), name="other.example.org")
    assert not call.answered


def test_plaintext_is_never_a_fallback(files: Files) -> None:
    assert not tls_call(files, None).answered
