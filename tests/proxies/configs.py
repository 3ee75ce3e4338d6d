"""Configurations of the proxies: pure functions of a `Setup`.

Without `tuned` each is the shortest configuration that passes gRPC on, so that the defaults of the proxy apply.
`tuned` adds the options that a capacity provider needs behind this proxy, and nothing else.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "localhost"
"""The name that a client must give with TLS. Caddy answers HTTP 421 if it gives none, as for an address."""
ALL_ROUTES: Final = "/"
OTHER_ROUTES: Final = "/other.Service/"
"""The only route of a proxy that does not know the provider's service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The input of a configuration."""

    port: int
    """The port on 127.0.0.1 on which the proxy listens."""
    upstream: str
    """The address of the provider, `127.0.0.1:PORT`."""
    directory: Path
    """A writable directory of the proxy alone. With `tls` it has server.pem (certificate and key) and ca.pem."""
    tls: bool = False
    """True if the proxy speaks TLS and requires a certificate that ca.pem has signed."""
    tuned: bool = True
    route: str = ALL_ROUTES
    """The start of the paths that are passed on; the proxy answers HTTP 404 for all others."""
    extra: str = ""
    """More options, in the proxy's own words: in nginx's `http`, HAProxy's `defaults`, Caddy's `servers`."""


def nginx(setup: Setup) -> str:
    """Returns nginx.conf."""
    pem = setup.directory / "server.pem"
    tls = (
        f"ssl_certificate {pem}; ssl_certificate_key {pem}; ssl_protocols TLSv1.2 TLSv1.3;"
        f" ssl_client_certificate {setup.directory}/ca.pem; ssl_verify_client on;"
    )
    temporary = "".join(
        f"{name}_temp_path {setup.directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # A master process of root would start workers that cannot write into the directory.
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""
{user} daemon off; worker_processes 1; pid {setup.directory}/pid; error_log stderr;
events {{ worker_connections 1024; }}
http {{
  access_log off; {temporary}
  {"client_max_body_size 4m; grpc_buffer_size 64k;" if setup.tuned else ""}
  {setup.extra}
  upstream provider {{ server {setup.upstream}; keepalive 32; }}
  server {{
    listen 127.0.0.1:{setup.port} {"ssl " if setup.tls else ""}http2;
    {tls if setup.tls else ""}
    location {setup.route} {{ grpc_pass grpc://provider; }}
    {"" if setup.route == ALL_ROUTES else "location / { return 404; }"}
  }}
}}
"""


def haproxy(setup: Setup) -> str:
    """Returns haproxy.cfg."""
    files = f"ssl crt {setup.directory}/server.pem ca-file {setup.directory}/ca.pem verify required"
    route = f"http-request return status 404 unless {{ path_beg {setup.route} }}"
    return f"""
global
  {"tune.bufsize 65536" if setup.tuned else ""}
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  {setup.extra}
frontend kit
  bind 127.0.0.1:{setup.port} {files + " alpn h2" if setup.tls else "proto h2"}
  {route if setup.route != ALL_ROUTES else ""}
  default_backend provider
backend provider
  server provider {setup.upstream} proto h2
"""


def caddy(setup: Setup) -> str:
    """Returns the Caddyfile."""
    pem = setup.directory / "server.pem"
    tls = f"""
  tls {pem} {pem} {{
    client_auth {{
      mode require_and_verify
      trusted_ca_cert_file {setup.directory}/ca.pem
    }}
  }}"""
    return f"""
{{
  admin off
  auto_https off
  storage file_system {setup.directory}/storage
  servers {{
    protocols {"h1 h2" if setup.tls else "h1 h2c"}
    {setup.extra}
  }}
}}
{f"https://{NAME}" if setup.tls else "http://127.0.0.1"}:{setup.port} {{
  bind 127.0.0.1{tls if setup.tls else ""}
  handle {setup.route}* {{
    reverse_proxy h2c://{setup.upstream}
  }}
  handle {{
    respond 404
  }}
}}
"""


def envoy(setup: Setup) -> str:
    """Returns the bootstrap of Envoy, as JSON, which is YAML too."""
    host, _, port = setup.upstream.rpartition(":")
    extensions = "type.googleapis.com/envoy.extensions"
    manager: dict[str, Any] = {
        "@type": f"{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "kit",
        "codec_type": "AUTO",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "provider",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": setup.route},
                            "route": {"cluster": "provider"} | ({"timeout": "0s"} if setup.tuned else {}),
                        }
                    ],
                }
            ]
        },
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{extensions}.filters.http.router.v3.Router"}}],
    }
    pem = {"filename": str(setup.directory / "server.pem")}
    tls = {
        "transport_socket": {
            "name": "tls",
            "typed_config": {
                "@type": f"{extensions}.transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": True,
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    "tls_certificates": [{"certificate_chain": pem, "private_key": pem}],
                    "validation_context": {"trusted_ca": {"filename": str(setup.directory / "ca.pem")}},
                },
            },
        }
    }
    listener = {
        "name": "kit",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": setup.port}},
        "filter_chains": [
            {"filters": [{"name": "http", "typed_config": manager}]} | (tls if setup.tls else {}),
        ],
    }
    cluster = {
        "name": "provider",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "provider",
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}
                    ]
                }
            ],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{extensions}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1)
