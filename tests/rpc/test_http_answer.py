from __future__ import annotations

import grpc
import pytest

from conformance.rpc.http_answer import hint, is_gateway_error, is_http
from tests.values import a_call

HTTP = "Received http2 header with status: "
OPTIONS = {
    400: "ssl_verify_client",
    404: "no route",
    413: "client_max_body_size",
    421: "--server-name",
    431: "large_client_header_buffers",
    502: "grpc_pass",
    503: "maxconn",
    504: "grpc_read_timeout",
}


@pytest.mark.parametrize("status", OPTIONS)
@pytest.mark.parametrize("answered", [True, False])
def test_a_status_is_named_with_its_option(status: int, answered: bool) -> None:
    call = a_call(code=grpc.StatusCode.UNKNOWN, details=f"{HTTP}{status}", answered=answered)
    for text in (call.outcome(), f"List answered {call.outcome()}", f"wanted OK; got {call.outcome()}"):
        assert f"HTTP {status} instead of a gRPC answer" in hint(text)
        assert OPTIONS[status] in hint(text)


def test_another_status_has_a_general_hint() -> None:
    assert "HTTP 418" in hint(f"UNKNOWN: {HTTP}418")
    assert "is this the provider's port" in hint(f"UNKNOWN: {HTTP}418")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NOT_FOUND: there is no machine 'slot-1'",
        "UNAVAILABLE: the cloud answered: " + HTTP + "502",
        HTTP + "502",
        "UNAVAILABLE: " + HTTP,
        "UNAVAILABLE: the backend: upstream request timeout",
    ],
)
def test_other_text_has_no_hint(text: str) -> None:
    """A provider may quote such details in its own words, for example of the cloud behind it."""
    assert hint(text) == ""


@pytest.mark.parametrize(
    ("details", "option"),
    [
        ("upstream connect error or disconnect/reset before headers. reset reason: remote connection failure", "503"),
        ("no healthy upstream", "503"),
        ("upstream request timeout", "504"),
    ],
)
def test_envoys_own_text_is_a_gateway_error(details: str, option: str) -> None:
    assert is_gateway_error(details)
    wanted = {"503": "is the provider running", "504": "envoy route timeout"}[option]
    assert wanted in hint(f"UNAVAILABLE: {details}")


@pytest.mark.parametrize(("status", "gateway"), [(400, False), (413, False), (502, True), (503, True), (504, True)])
def test_only_some_statuses_say_that_there_is_no_answer(status: int, gateway: bool) -> None:
    assert is_gateway_error(f"{HTTP}{status}") is gateway
    assert not is_gateway_error(f"the cloud said: {HTTP}{status}")


def test_only_the_details_that_grpc_makes_of_a_status_are_http() -> None:
    assert is_http(f"{HTTP}404")
    assert not is_http(f"the proxy said: {HTTP}404")
    assert not is_http("Method not found!")


def test_an_http_status_is_not_the_providers_unimplemented() -> None:
    unimplemented = grpc.StatusCode.UNIMPLEMENTED
    own, theirs = a_call(code=unimplemented), a_call(code=unimplemented, details=f"{HTTP}404")
    assert (own.unimplemented, own.http_unimplemented) == (True, False)
    assert (theirs.unimplemented, theirs.http_unimplemented) == (False, True)
    assert not a_call(code=unimplemented, answered=False).unimplemented
