"""Renders docs/stacks.md from what the tests of stacks and proxies observed. `python -m tools.generated` writes it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
STACKS: Final = ROOT / "tests/stacks/observations.json"
PROXIES: Final = ROOT / "tests/proxies/observations.json"

HTTP_STATUSES: Final = {
    "400": (
        "INTERNAL",
        "malformed as HTTP; nginx: no client certificate, or a header that is too large",
    ),
    "401": ("UNAUTHENTICATED", "credentials are missing"),
    "403": ("PERMISSION_DENIED", "an access rule"),
    "404": ("UNIMPLEMENTED", "no route for this path: an unknown service or RPC"),
    "413": ("UNKNOWN", "the body is larger than the limit (`client_max_body_size` of nginx: 1 MiB)"),
    "421": ("UNKNOWN", "the connection is for another host name"),
    "431": ("UNKNOWN", "the headers are larger than the limit"),
    "429, 502, 503, 504": ("UNAVAILABLE", "overload, or the provider is down or too slow"),
}
"""The code that a gRPC client reports for an HTTP status without a grpc-status, and the usual cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table: its heading, the question that it shows, and the question about its HTTP status."""

    heading: str
    question: str
    http: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with a row per stack. `notes` are paragraphs for the author of a provider."""

    title: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...]


TABLES: Final = (
    Table(
        title="Sizes",
        columns=(
            Column(heading="request of 4 MiB", question="request_4MiB"),
            Column(heading="request of 16 MiB", question="request_16MiB"),
            Column(heading="answer over 4 MiB", question="response_over_4MiB"),
            Column(heading="headers accepted", question="request_headers_accepted"),
            Column(heading="next larger headers", question="request_headers_refused_with", http="request_headers_http"),
        ),
        notes=(
            "A bootstrap blob of 1 MiB and metadata of 64 KiB must be accepted, or refused with INVALID_ARGUMENT or "
            "RESOURCE_EXHAUSTED ([WIR-5](contract.md)). gRPC's customary limit of 4 MiB for a request is enough. Where "
            "a stack refuses larger requests with another code, raise its limit and check the sizes in the provider: "
            "metadata that is too large is refused with one of these two codes as well (MET-4).",
            "A List without `max_results` returns the whole fleet in one answer (LST-2): 4 MiB are about 40,000 "
            "SPECULATIVE machines of these providers, and far fewer with labels and metadata. So a limit for answers "
            "is a limit for the fleet. Headers were tried with 4, 8, 16, 32, 64, 128 and 256 KiB; DEADLINE_EXCEEDED "
            "means that the client received no answer at all. Error texts and access "
            "tokens travel in headers.",
        ),
    ),
    Table(
        title="Unknown names, health",
        columns=(
            Column(heading="unknown RPC", question="unknown_method", http="unknown_method_http"),
            Column(heading="unknown service", question="unknown_service", http="unknown_service_http"),
            Column(heading="health", question="health"),
        ),
        notes=(
            "An unknown RPC must answer UNIMPLEMENTED, an unknown service should (WIR-6). An HTTP status in brackets "
            "means that the answer was not a gRPC answer: the client made the code from the status. The health check "
            "should answer SERVING (WIR-4); UNIMPLEMENTED means that the provider here has no health service, because "
            "the stack does not bring one.",
        ),
    ),
    Table(
        title="Malformed and unusual data",
        columns=(
            Column(heading="id not UTF-8", question="invalid_utf8_id"),
            Column(heading="metadata value not UTF-8", question="invalid_utf8_metadata"),
            Column(heading="not a message", question="malformed_request"),
            Column(heading="gzip", question="gzip"),
            Column(heading="`__proto__` as a key", question="proto_key"),
            Column(heading="`constructor` as a key", question="constructor_key"),
            Column(heading="map entry with an unknown field", question="map_entry_with_extra_field"),
        ),
        notes=(
            "No request may bring the server down (COD-5); which code it answers is free, FAILED_PRECONDITION "
            "excepted. A stack that accepts a value that is not UTF-8 shows another value than Configure sent. "
            "Metadata must come "
            "back byte for byte (MET-1): older versions of protobufjs lose the key `__proto__`, and so does a "
            "plain JavaScript object to which the keys are assigned.",
            "A newer contract could add a field to a map's entries. Protobuf's C runtime (Python) puts such an "
            "entry among the unknown fields instead of the map.",
        ),
    ),
    Table(
        title="Cancellation and connections",
        columns=(
            Column(heading="cancelled Create", question="cancelled_create"),
            Column(heading="connections for 2,500 calls", question="connections_for_2500_calls"),
            Column(heading="max. concurrent streams", question="max_concurrent_streams"),
            Column(heading="max. header list", question="max_header_list_size"),
            Column(heading="max. frame", question="max_frame_size"),
            Column(heading="initial window", question="initial_window_size"),
        ),
        notes=(
            "A Create that was accepted completes even if its client cancels the call (WIR-3). 20 Creates were "
            "cancelled 5 ms after they were sent; none may stay in CREATING. A handler that is itself cancelled "
            "(asyncio, tonic, a Go context) must not carry the transition.",
            "More than one connection means that the server closes each one after a number of requests. A client has "
            "to repeat the calls that were on the way at that moment. The last four columns are the SETTINGS of the "
            "server; “–” means that it does not send this one, and HTTP/2's default holds.",
        ),
    ),
)

HEAD: Final = """# Stacks and proxies

<!-- Generated by tools/stacks.py: python -m tools.generated -->

The behaviour of each gRPC stack **by default** where the [contract](contract.md) has something to say, and the option
that changes it. The answers were observed on the small providers in [tests/stacks](../tests/stacks), with the versions
in the first table. They describe the stack and are not a verdict: each of these providers is conformant, and of each
one the kit finds three defects.

```console
$ make stacks                                # builds and judges all of them
$ python -m tests.stacks.observe grpc-go     # observes one again, after a change of version
$ make generate                              # writes this page
```
"""


def render(stacks: Mapping[str, Any], proxies: Mapping[str, Any] | None) -> str:
    """Returns the page for the contents of the two observations.json; without `proxies`, it has no such section."""
    parts = [HEAD, "## Versions\n", _versions(stacks["stacks"])]
    for table in TABLES:
        parts += [f"## {table.title}\n", *(f"{_wrapped(note)}\n" for note in table.notes)]
        parts.append(_answers(table, stacks["stacks"]))
    parts += ["## Options\n", _options(stacks["stacks"])]
    parts += ["## HTTP statuses that become gRPC codes\n", _statuses()]
    if proxies is not None:
        parts += ["## Proxies\n", _proxies(proxies)]
    return "\n".join(parts)


def document() -> str:
    """Returns the page for the files in the checkout."""
    proxies = json.loads(PROXIES.read_text(encoding="utf-8")) if PROXIES.exists() else None
    return render(json.loads(STACKS.read_text(encoding="utf-8")), proxies)


def _versions(stacks: Mapping[str, Any]) -> str:
    rows = (
        (
            f"[{name}](../tests/stacks/{each['directory']})",
            ", ".join(f"{package} {version}" for package, version in each["versions"].items()),
            "yes" if each["quick"] else "no: `make stacks`",
        )
        for name, each in stacks.items()
    )
    return _table(("stack", "versions", "in CI"), rows)


def _answers(table: Table, stacks: Mapping[str, Any]) -> str:
    rows = ((name, *(_answer(each["observed"], column) for column in table.columns)) for name, each in stacks.items())
    return _table(("stack", *(column.heading for column in table.columns)), rows)


def _answer(observed: Mapping[str, Any], column: Column) -> str:
    value, status = observed[column.question], observed.get(column.http)
    return _cell(value) + (f" (HTTP {status})" if status else "")


def _options(stacks: Mapping[str, Any]) -> str:
    headings = {column.question: column.heading for table in TABLES for column in table.columns}
    rows = (
        (name, headings[question], _cell(each["observed"][question]), option)
        for name, each in stacks.items()
        for question, option in each["settings"].items()
    )
    return _table(("stack", "what", "by default", "option"), rows)


def _statuses() -> str:
    text = (
        "A client that receives an HTTP status and no `grpc-status` makes a code from it. Such an answer does not come "
        "from the provider's own code, but from the HTTP server or router below it, or from a proxy in front of it. "
        "The kit then names the HTTP status."
    )
    rows = ((status, code, cause) for status, (code, cause) in HTTP_STATUSES.items())
    return f"{_wrapped(text)}\n\n" + _table(("HTTP status", "gRPC code", "usual cause"), rows)


def _proxies(content: Mapping[str, Any]) -> str:
    proxies: Mapping[str, Any] = content["proxies"]
    versions = ("versions", *(", ".join(f"{k} {v}" for k, v in each["versions"].items()) for each in proxies.values()))
    answers = (
        (text, *(_cell(each["observed"].get(question)) for each in proxies.values()))
        for question, text in content["questions"].items()
    )
    options = (
        (name, content["questions"].get(question, question), option)
        for name, each in proxies.items()
        for question, option in each.get("settings", {}).items()
    )
    return "\n".join((_table(("", *proxies), (versions, *answers)), _table(("proxy", "what", "option"), options)))


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:,}" if isinstance(value, int) else re.sub(r"^lost: .*", "lost", str(value))
    return re.sub(r"[|\\]", r"\\\g<0>", text)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _wrapped(text: str) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= 120:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)
