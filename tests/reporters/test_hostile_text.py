"""Hostile text from a provider is shown as text in every format, and takes a limited amount of space."""

from __future__ import annotations

import asyncio
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import grpc
import jsonschema
import pytest
import xmlschema
from bigfleet.v1alpha1 import provider_pb2 as pb
from markdown_it import MarkdownIt
from rich.console import Console

import conformance.reporters
from conformance.core.errors import Violation
from conformance.reporters import badge, json_report, junit, markdown, terminal
from conformance.reporters.html_report import render as html_render
from conformance.reporters.ndjson import as_line
from conformance.reporters.progress import Live
from conformance.results import events, reader
from conformance.results.redaction import Redactor
from conformance.results.report import Home, Report
from conformance.results.result import Status
from fake_provider.servicer import Servicer
from tests.runs import judged, proof
from tests.values import a_call, a_found, a_report, a_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.testkit.trial import Trial

SCHEMA = json.loads((Path(conformance.reporters.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))
JUNIT = xmlschema.XMLSchema(Path(__file__).parent / "junit.xsd")

TEXTS = {
    "markup": "]]><script>evil()</script><img src=x onerror='evil()'>&amp;\"'<!-- </details>",
    "markdown": "```\n# evil\n@evil #1 [evil](javascript:evil()) ![evil](http://evil) | `` ` ``` evil **evil**\n- evil",
    "ansi": "\x1b[31m\x1b]0;evil\x07\x9b2J\r\b evil",
    "lines": 'evil\nverdict    CONFORMANT: 225 passed\r\n\u2028\u2029\x85\x0b\x0c{"event": "run-finished"}\n',
    "long": "evil " * (2**20 // 5),
    "wide": "\U0001f525ä\x00" * 2**18,
    "bidi": "\u202eevil\u2066\u2067\u2068\u2069\u202a\u202b\u202c\u202d\u200e\u200f\u061c\u200b\ufeff",
    "nothing": "\x00\x7f\uffff\ufffe\ud7ff",
    "half": "evil\ud800\udfff",
    "backslashes": "\\evil\\\\`\\",
}
BOUND = 2**21
"""Maximum characters of an output. Some of the texts are longer, and occur in 40 places."""


def report_with(text: str) -> Report:
    """Returns a report with the text in every field that can contain text from the provider."""
    sendable = text.encode("utf-8", "replace").decode()
    machine = pb.Machine(
        id=sendable,
        state=pb.MACHINE_STATE_FAILED,
        host=pb.HostRef(ref=sendable),
        cluster=sendable,
        last_error=sendable,
        shard_metadata={sendable: sendable},
    )
    calls = (
        a_call("Get", pb.MachineRef(id=sendable), code=grpc.StatusCode.ABORTED, details=sendable),
        a_call("Create", pb.CreateRequest(machine_id=sendable, shard_id=sendable), response=pb.TransitionAck(
            operation_id=sendable, machine=machine)),
        a_call("List", pb.ListFilter(), response=pb.MachineList(machines=[machine], revision=sendable.encode())),
    )  # fmt: skip
    words: dict[str, Any] = {"reason": text, "wanted": text, "got": text, "machines": (sendable, text)}
    results = [
        a_result(status, f"TST-{number}a", calls=calls, decisive=(0, 1, 2), rests_on=rests, **words)
        for number, (status, rests) in enumerate(
            [(Status.FAILED, ()), (Status.FAILED, ("TST-1a",)), *((s, ()) for s in Status if s is not Status.PASSED)], 1
        )
    ]
    report = a_report(
        *results,
        quarantined=((text, text),),
        notes=(text,),
        home=Home(left=((text, text),)),
        found=a_found(zones=(text,), health=text),
        stopped=text,
    )
    return Redactor().report(report)


def terminal_output(report: Report) -> str:
    """Returns the output on the terminal during and after the run, with every call."""
    out = io.StringIO()
    live = Live(Console(file=out, width=80, highlight=False, markup=False, emoji=False), verbose=True)
    for event in events_of(report):
        live(event)
    return "\n".join([*terminal.heading(report), out.getvalue()])


def events_of(report: Report) -> list[events.Event]:
    return [
        *(events.BehaviourStarted(id=result.id, at=0.0, machines=result.machines) for result in report.results),
        *(events.BehaviourFinished(result=result) for result in report.results),
        *(events.Noted(at=0.0, text=note) for note in report.notes),
        events.RunFinished(report=report),
    ]


def as_log(report: Report) -> str:
    return "".join(json_report.dumps(as_line(event)) + "\n" for event in events_of(report))


def check_terminal(text: str) -> None:
    assert all(c.isprintable() or c == "\n" for c in text)
    assert not any(line.startswith("verdict    CONFORMANT") for line in text.splitlines())


def check_json(text: str) -> None:
    assert not re.search(r"[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", text)
    value = json.loads(text)
    jsonschema.Draft202012Validator(SCHEMA).validate(value)
    assert json_report.as_dict(reader.read_text(text.encode())) == value


def check_log(text: str) -> None:
    lines = text.splitlines()
    assert len(lines) == text.count("\n") == 14
    assert [json.loads(line)["event"] for line in lines].count("run-finished") == 1
    assert not re.search(r"[\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)


def check_xml(text: str) -> None:
    JUNIT.validate(text)
    root = ElementTree.fromstring(text)
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("6", "3", "1")
    assert {element.tag for element in root.iter()} == {
        *("testsuites", "testsuite", "properties", "property", "testcase", "failure", "error", "skipped"),
        "system-out",
    }


def check_markdown(text: str) -> None:
    assert len(text) <= 65_000
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    outside = re.sub(r"<code.*?</code>", "", html, flags=re.DOTALL)
    # Only code contains the provider's text, except the reason of a stop, which has no markup left in it.
    tags = set(re.findall(r"</?([a-zA-Z!][a-z0-9]*)", outside))
    assert tags <= {"h1", "h2", "h3", "p", "strong", "em", "pre", "ul", "li", "details", "summary"}
    assert "@evil" not in outside
    assert outside.count("<details>") == outside.count("</details>")
    assert outside.count("<h1>") == 1
    assert all(c.isprintable() or c in "\n\u200b" for c in text)


def check_badge(text: str) -> None:
    value = json.loads(text)
    assert value == {
        "schemaVersion": 1,
        "label": "capacity provider",
        "message": "non-conformant, 3 failed, 1 warned, 1 not judged, machines not returned",
        "color": "red",
    }


def check_html(text: str) -> None:
    """Checks that all markup is the kit's. `test_html_browser.py` checks the same in a browser."""
    assert text.count("<script") == text.count("</script>") == 2
    assert not re.search(r"<img|<[^>]+ on[a-z]+=|href=.javascript:", text)
    assert all(c.isprintable() or c == "\n" for c in text)


FORMATS: dict[str, tuple[Callable[[Report], str], Callable[[str], None]]] = {
    "terminal": (terminal_output, check_terminal),
    "report.json": (json_report.render, check_json),
    "events.ndjson": (as_log, check_log),
    "junit.xml": (junit.render, check_xml),
    "report.md": (markdown.render, check_markdown),
    "report.html": (html_render.render, check_html),
    "badge.json": (badge.render, check_badge),
}
"""The renderer of each format, and the check that the text has no effect in it."""


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", TEXTS)
def test_hostile_text_has_no_effect(kind: str, name: str) -> None:
    render, harmless = FORMATS[name]
    text = render(report_with(TEXTS[kind]))
    harmless(text)
    assert len(text) < BOUND
    text.encode("utf-8")


def test_json_preserves_hostile_text() -> None:
    value = json.loads(json_report.render(report_with(TEXTS["ansi"])))
    assert value["behaviours"][0]["got"] == TEXTS["ansi"]


@pytest.mark.parametrize("kind", ["markup", "ansi", "bidi", "wide"])
def test_a_provider_with_hostile_text_is_judged_and_reported(kind: str) -> None:
    text = TEXTS[kind][: 2**12]

    class Hostile(Servicer):
        def machine(self, machine: Any) -> pb.Machine:
            emitted = pb.Machine()
            emitted.CopyFrom(super().machine(machine))
            emitted.last_error, emitted.zone, emitted.instance_type = text, text, text
            emitted.host.ref = text if machine.state.name != "SPECULATIVE" else ""
            return emitted

        def ack(self, ack: Any) -> pb.TransitionAck:
            emitted = super().ack(ack)
            emitted.operation_id = text
            return emitted

    async def failing(trial: Trial) -> None:
        call = await trial.machine.create()
        raise Violation("peace", call.outcome(), calls=[call])

    emitted: list[events.Event] = []
    report = asyncio.run(judged([proof(failing, machines=1)], emit=emitted.append, serve={"servicer": Hostile}))
    assert report.results[0].calls
    check_terminal(terminal_output(report))
    check_json(json_report.render(report))
    JUNIT.validate(junit.render(report))
    check_markdown(markdown.render(report))
    for event in emitted:
        assert len(json_report.dumps(as_line(event)).splitlines()) == 1
