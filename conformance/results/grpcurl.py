"""A call as a line of `grpcurl`: what the kit sent, to be sent again by hand. Holds no secret, and nothing that runs.

What a shell reads is untrusted: ids come from the provider. The request is JSON in ASCII, whose escapes hold every
control character, and each word is quoted as POSIX shells want it.
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
"""The command that writes the file which every line names."""

HEALTH: Final = "/grpc.health.v1.Health/"
_CUT: Final = re.compile(r"…\(\d+ characters\)$")


def lines(report: Report, result: Result, *, decisive: bool = False) -> list[str]:
    """The calls of a result as lines for a shell, in order; with `decisive` only those that show what is wrong.

    Empty where there are none that grpcurl could make. The first line, if any, is to be preceded by DESCRIPTORS.
    """
    numbers = result.decisive if decisive else range(len(result.calls))
    told = [result.calls[number] for number in numbers if number < len(result.calls)]
    found = [command(call, words(report)) for call in told]
    return [one for one in found if one is not None]


def words(report: Report) -> tuple[list[str], list[str]]:
    """How the target of a run is dialled: the words before the request, and those after it."""
    asked, found = report.asked, report.found
    flags = ["-plaintext"]
    if found is not None and found.tls:
        # Whose files these were is nobody's business: the names are to be put in.
        flags = ["-cacert", "ca.pem"]
        flags += ["-cert", "cert.pem", "-key", "key.pem"] if found.client_certificate else []
        flags += ["-authority", asked.server_name] if asked.server_name else []
    for name in asked.headers:
        flags += ["-H", f"{name}: …"]
    address = report.target.removeprefix("dns:///")
    if address.startswith("unix:"):
        return [*flags, "-unix"], [re.sub(r"^unix:(//(?=/))?", "", address)]
    return flags, [address]


def command(call: CallView, dialled: tuple[list[str], list[str]]) -> str | None:
    """One call as a line; None for a method that no descriptor knows. What differs from what was sent is a comment."""
    method = call.rpc if call.rpc.startswith("/") else SERVICE + call.rpc
    if method.removeprefix(SERVICE) not in _METHODS and not method.startswith(HEALTH):
        return None
    flags, address = dialled
    sent = call.request_json()
    data = json.dumps(sent, ensure_ascii=True).replace("\x7f", "\\u007f")
    typed = shlex.join(["grpcurl", *flags, "-protoset", PROTOSET, "-d", data, *address, method.removeprefix("/")])
    amiss = ", ".join(differences(sent))
    return f"{typed}  # {amiss}" if amiss else typed


def differences(sent: Mapping[str, Any]) -> list[str]:
    """Where the request as it is told is not the one that was sent, in a few words each."""
    found = ["the blob is a stand-in"] if sent.get("bootstrap_blob") else []
    if any(_CUT.search(value) for value in _strings(sent)):
        found.append("long values are cut")
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
    """The contract, and the health service, as a FileDescriptorSet: with it grpcurl asks for no reflection."""
    from google.protobuf import descriptor_pb2
    from grpc_health.v1 import health_pb2

    files = descriptor_pb2.FileDescriptorSet()
    for each in (pb.DESCRIPTOR, health_pb2.DESCRIPTOR):
        each.CopyToProto(files.file.add())
    return files.SerializeToString(deterministic=True)
