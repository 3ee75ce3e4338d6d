"""The HTTP proxy that gRPC would use for a target because of the environment.

gRPC uses a proxy for every target except unix sockets, also for loopback addresses. It reads the variables in lower
case only, and its `no_proxy` does not know `*`. The kit uses the proxy only where there can be one between it and the
target.
"""

from __future__ import annotations

import ipaddress
import os
from typing import Final
from urllib.parse import urlsplit

PROXY_VARIABLES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
"""The variables that name a proxy. gRPC uses the first that is set; an empty one means no proxy."""
EXCEPTION_VARIABLES: Final = ("no_grpc_proxy", "no_proxy")
"""The variables with the hosts that need no proxy. gRPC uses the first that is set."""

NO_ENV_PROXY: Final = (("grpc.enable_http_proxy", 0), ("grpc.address_http_proxy_enabled_addresses", ""))
"""The channel options that disable every proxy of the environment, by name and by address."""


def is_local(address: str) -> bool:
    """Returns whether a target is on this computer: a unix socket, or a loopback address."""
    if address.startswith("unix:"):
        return True
    host = host_of(address)
    if host.lower().removesuffix(".").rpartition(".")[2] == "localhost":
        return True
    ip = _ip(host.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    ip = mapped or ip
    return ip is not None and (ip.is_loopback or ip.is_unspecified)


def host_of(address: str) -> str:
    """Returns the host of an address in gRPC's notation, without brackets."""
    return address.removeprefix("dns:///").rpartition(":")[0].strip("[]")


def proxy_variable(address: str) -> str | None:
    """Returns the variable whose proxy gRPC would use for this address; None if it would use none."""
    name = _first_set(PROXY_VARIABLES)
    if name is None or is_local(address):
        return None
    try:
        proxy = urlsplit(os.environ[name])
    except ValueError:
        return None
    # gRPC ignores any other URL.
    if proxy.scheme != "http" or not proxy.netloc:
        return None
    exceptions = _first_set(EXCEPTION_VARIABLES)
    if exceptions is not None and _is_exception(host_of(address), os.environ[exceptions]):
        return None
    return name


def how_to_unset(address: str) -> str:
    """Returns how to connect to this address without the proxy of the environment."""
    variables = [name for name in PROXY_VARIABLES if os.environ.get(name)]
    unset = " ".join(f"-u {name}" for name in variables)
    exceptions = _first_set(EXCEPTION_VARIABLES) or EXCEPTION_VARIABLES[-1]
    return f"to connect without the proxy, start the kit with env {unset}, or add {host_of(address)} to {exceptions}"


def _first_set(names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in os.environ), None)


def _is_exception(host: str, exceptions: str) -> bool:
    ip = _ip(host)
    for entry in filter(None, exceptions.split(",")):
        stripped = entry.strip()
        if host.lower().endswith(stripped.lower()):
            return True
        if ip is not None and "/" in stripped and _contains(stripped, ip):
            return True
    return False


def _contains(network: str, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return ip in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
