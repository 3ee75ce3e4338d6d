"""Recognises answers of a proxy in front of the provider: an HTTP status instead of a gRPC answer.

gRPC turns such a status into one of its codes, and the caller cannot tell it from the provider's own. Only the details
still show it. `tests/proxies` has these answers, and most of the options, from real proxies.
"""

from __future__ import annotations

import re
from typing import Final

_HTTP: Final = "Received http2 header with status: "
"""The start of gRPC's details for an HTTP status that is not 200."""
_ENVOY: Final = (
    "upstream connect error or disconnect/reset before headers",
    "no healthy upstream",
    "upstream request timeout",
)
"""The start of Envoy's details if the provider did not answer. Envoy sends them with a gRPC code, for a gRPC call."""
_GATEWAY_STATUSES: Final = (502, 503, 504)
"""The statuses that say that a proxy has no answer from the provider. The call may have had its effect."""

_IN_OUTCOME: Final = re.compile(
    rf"\b[A-Z_]+(?: \([a-z ]+\))?: (?:{_HTTP}(?P<status>\d{{3}})|(?P<envoy>{'|'.join(map(re.escape, _ENVOY))}))"
)
"""A code and the details, as `Call.outcome` shows them: other text that quotes such details does not count."""

_HINTS: Final = {
    400: "the request was rejected: is a client certificate missing (--tls-cert, --tls-key; nginx ssl_verify_client)?",
    404: "there is no route to the provider for /bigfleet.v1alpha1.CapacityProvider/ (nginx location, haproxy"
    " use_backend, caddy handle, envoy route match), or the provider's own HTTP server does not know the path",
    413: "the request is too large for it: raise nginx client_max_body_size (1 MiB if not set), caddy request_body"
    " max_size, envoy max_request_bytes of the buffer filter",
    421: "the host name of the call and that of the TLS handshake differ: give the name in the proxy's configuration"
    " with --server-name (caddy strict_sni_host, nginx server_name)",
    431: "the headers are too large for it: send fewer with --header, or raise nginx large_client_header_buffers,"
    " haproxy tune.bufsize, caddy max_header_size, envoy max_request_headers_kb",
    502: "it did not get an answer from the provider: is the provider running, does the proxy use HTTP/2 to it (nginx"
    " grpc_pass, haproxy proto h2, caddy h2c://, envoy http2_protocol_options), and are the headers of the answer too"
    " large (nginx grpc_buffer_size)?",
    503: "it has no provider to send the call to: is the provider running, and is a limit reached (haproxy maxconn,"
    " envoy circuit_breakers)?",
    504: "the provider took too long for it: raise nginx grpc_read_timeout (60 s if not set), haproxy timeout server,"
    " caddy response_header_timeout, envoy route timeout (15 s if not set)",
}
"""The usual meaning of a status for a gRPC call, and the options that change it."""
_OTHER: Final = "is this the provider's port, and does the proxy pass gRPC (HTTP/2 with trailers) on?"


def is_http(details: str) -> bool:
    """Returns whether gRPC itself made these details of a call from an HTTP status."""
    return details.startswith(_HTTP)


def is_gateway_error(details: str) -> bool:
    """Returns whether these details of a call say that a proxy got no answer from the provider."""
    status = details.removeprefix(_HTTP)[:3] if details.startswith(_HTTP) else ""
    return details.startswith(_ENVOY) or (status.isdigit() and int(status) in _GATEWAY_STATUSES)


def hint(text: str) -> str:
    """Returns a hint for a `Call.outcome`, or a sentence that contains one, that shows such an answer; else ''."""
    match = _IN_OUTCOME.search(text)
    if match is None:
        return ""
    if match["envoy"]:
        status = 504 if "timeout" in match["envoy"] else 503
        return f"this is the text of a proxy (Envoy), not the provider's: {_HINTS[status]}"
    status = int(match["status"])
    return (
        f"HTTP {status} instead of a gRPC answer usually comes from a proxy in front of the provider:"
        f" {_HINTS.get(status, _OTHER)}"
    )
