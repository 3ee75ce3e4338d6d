"""Writes calls as `grpcurl` command lines, so that users can repeat them. Contains no secrets.

Ids come from the provider and are untrusted. So the request is ASCII JSON, which escapes all control characters, and
each word is quoted for POSIX shells.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any, Final

from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.rpc.client import SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conformance.results.report import Report
    from conformance.results.result import Result
    from conformance.rpc.call import CallView

PROTOSET: Final = "bigfleet.binpb"
DESCRIPTORS: Final = f"conformance proto descriptors -o {PROTOSET}"
"""The command that writes the descriptor file of every command line."""

HEALTH: Final = "/grpc.health.v1.Health/"
_CUT: Final = re.compile(r"…\(\d+ characters\)$")


def lines(report: Report, result: Result, *, decisive: bool = False) -> list[str]:
    """Returns the calls of a result as command lines, in order; with `decisive`, only the decisive calls.

    Calls that grpcurl cannot make are omitted. Users have to run `DESCRIPTORS` first.
    """
    numbers = result.decisive if decisive else range(len(result.calls))
    calls = [result.calls[number] for number in numbers if number < len(result.calls)]
    found = [command(call, target_words(report)) for call in calls]
    return [one for one in found if one is not None]


def target_words(report: Report) -> tuple[list[str], list[str]]:
    """Returns the words for the target: options before the request, and address after it."""
    asked, found = report.asked, report.found
    flags = ["-plaintext"]
    if found is not None and found.tls:
        # The paths of the user's files are private: the user has to insert them.
        flags = ["-cacert", "ca.pem"]
        flags += ["-cert", "cert.pem", "-key", "key.pem"] if found.client_certificate else []
        flags += ["-authority", asked.server_name] if asked.server_name else []
    for name in asked.headers:
        flags += ["-H", f"{name}: …"]
    address = report.target.removeprefix("dns:///")
    if address.startswith("unix:"):
        return [*flags, "-unix"], [re.sub(r"^unix:(//(?=/))?", "", address)]
    return flags, [address]


def command(call: CallView, target: tuple[list[str], list[str]]) -> str | None:
    """Returns a call as a command line, with differences from the request as a comment.

    None for a method that is not in the descriptors.
    """
    method = call.rpc if call.rpc.startswith("/") else SERVICE + call.rpc
    if method.removeprefix(SERVICE) not in _METHODS and not method.startswith(HEALTH):
        return None
    flags, address = target
    sent = call.request_json()
    data = json.dumps(sent, ensure_ascii=True).replace("\x7f", "\\u007f")
    line = shlex.join(["grpcurl", *flags, "-protoset", PROTOSET, "-d", data, *address, method.removeprefix("/")])
    notes = ", ".join(differences(sent))
    return f"{line}  # {notes}" if notes else line


def differences(sent: Mapping[str, Any]) -> list[str]:
    """Returns notes on differences between the reported request and the one that was sent."""
    found = ["bootstrap_blob is a placeholder"] if sent.get("bootstrap_blob") else []
    if any(_CUT.search(value) for value in _strings(sent)):
        found.append("long values are truncated")
    return found


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, each in value.items():
                yield from (str(key), *_strings(each))
        case list():
            for each in value:
                yield from _strings(each)


_METHODS: Final = frozenset(method.name for method in pb.DESCRIPTOR.services_by_name["CapacityProvider"].methods)


def descriptors() -> bytes:
    """Returns the contract and the health service as a FileDescriptorSet: grpcurl then needs no reflection."""
    from google.protobuf import descriptor_pb2
    from grpc_health.v1 import health_pb2

    files = descriptor_pb2.FileDescriptorSet()
    for each in (pb.DESCRIPTOR, health_pb2.DESCRIPTOR):
        each.CopyToProto(files.file.add())
    return files.SerializeToString(deterministic=True)
