from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import grpc
import jsonschema
import pytest
import xmlschema
from bigfleet.v1alpha1 import provider_pb2 as pb
from hypothesis import HealthCheck, given, settings
from rich.console import Console

import conformance.reporters
from conformance.core.catalogue import Level
from conformance.core.lifecycle import Verb
from conformance.reporters import json_report, junit, terminal
from conformance.reporters.ndjson import NdjsonLog, as_line
from conformance.reporters.progress import Live
from conformance.results import events
from conformance.results.report import Home, Report
from conformance.results.result import Status
from tests.runs import judged, proof, provider
from tests.values import a_call, a_report, a_result
from tools import drawn

if TYPE_CHECKING:
    from conformance.results.result import Result
    from conformance.testkit.trial import Trial

SCHEMA = json.loads((Path(conformance.reporters.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))
JUNIT = xmlschema.XMLSchema(Path(__file__).parent / "junit.xsd")
COST = ("at", "bill", "rpcs")
"""The keys that a line of the log adds to a result: its time, and the cost of the run until then."""


def valid(report: Report) -> dict[str, Any]:
    """Returns the report as JSON, after a check against the schema."""
    value = json.loads(json_report.render(report))
    jsonschema.Draft202012Validator(SCHEMA).validate(value)
    assert isinstance(value, dict)
    return value


def one_of_each() -> tuple[Result, ...]:
    refused = a_call("Drain", pb.DrainRequest(machine_id="m1"), code=grpc.StatusCode.ABORTED, details="no edge")
    return (
        a_result(Status.PASSED, "TST-1a", calls=(a_call(response=pb.Machine(id="m1")),), machines=("m1",)),
        a_result(Status.FAILED, "TST-1b", reason="TST-1: wanted x; got y", wanted="x", got="y", calls=(refused,) * 12),
        a_result(Status.WARNED, "TST-2a", level=Level.SHOULD, reason="TST-2: wanted x", wanted="x", got="y"),
        a_result(Status.SKIPPED, "TST-3a", level=Level.MAY, reason="too fast"),
        a_result(Status.ERROR, "TST-4a", reason="not answered"),
    )


# report.json


def test_the_schema_is_a_schema_of_its_draft() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_report_with_every_status_is_valid() -> None:
    value = valid(a_report(*one_of_each(), notes=("a note",), quarantined=(("m9", "stuck"),)))
    assert value["format"] == 1
    assert value["verdict"] == "non-conformant"
    assert [b["status"] for b in value["behaviours"]] == ["passed", "failed", "warned", "skipped", "error"]
    assert set(value["bill"]) == {
        *("create", "configure", "drain", "delete"),
        *("peak_machines", "machine_seconds", "price", "restarts"),
    }
    assert set(value["time"]) == {"wall", "critical_path", "sum"}
    assert value["home"]["clean"] is True


def test_a_report_of_a_target_that_was_not_reached_is_valid() -> None:
    value = valid(a_report(a_result(Status.ERROR, reason="refused"), found=None, run="", started="", stopped="refused"))
    assert value["found"] == {}


def test_machines_that_may_belong_to_another_client_do_not_change_the_exit_code() -> None:
    report = a_report(a_result(), home=Home(taken=(("m1", "Get answers OK IDLE"),)))
    home = valid(report)["home"]
    assert (home["clean"], home["left"], home["taken"]) == (True, [], {"m1": "Get answers OK IDLE"})
    assert report.exit_code == 0
    *_, clean, taken, advice, named = terminal.closing(report)
    assert clean == "clean-up   all started machines that the run still owns were returned"
    assert taken == "ownership  1 machine of this run may belong to another client now;"
    assert advice == "           if you are the only client, return them yourself"
    assert named == "           m1: Get answers OK IDLE"


def test_machines_that_were_not_returned_have_reasons() -> None:
    home = valid(a_report(a_result(), home=Home(left=(("m1", "stuck"), ("m2", "gone")))))["home"]
    assert home == {
        "clean": False,
        "left": ["m1", "m2"],
        "reasons": {"m1": "stuck", "m2": "gone"},
        "taken": {},
        "failed": {},
        "kept": False,
        "known": True,
    }


def test_the_report_of_a_real_run_is_valid() -> None:
    async def passing(trial: Trial) -> None:
        await trial.drive(trial.machine, Verb.CONFIGURE)

    report = asyncio.run(judged([proof(passing, machines=1), proof(behaviour_id="TST-2a", capabilities=["tls"])]))
    value = valid(report)
    assert value["found"]["fleet"] == {"SPECULATIVE": 16}
    assert value["behaviours"][0]["calls"]


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("verdict",), "good"),
        (("format",), 2),
        (("surprise",), 1),
        (("behaviours", 0, "status"), "xfailed"),
        (("behaviours", 0, "reason"), "but it passed"),
        (("behaviours", 1, "reason"), ""),
        (("bill", "create"), -1),
        (("home", "left"), ["m1"]),
        (("found", "fence_scope"), "galaxy"),
    ],
)
def test_the_schema_rejects_invalid_reports(path: tuple[Any, ...], wrong: object) -> None:
    value = valid(a_report(*one_of_each()))
    place = value
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = wrong
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(value)


# junit.xml


def test_junit_counts_its_cases() -> None:
    root = ElementTree.fromstring(junit.render(a_report(*one_of_each())))
    (suite,) = root.findall("testsuite")
    for element in (root, suite):
        assert (element.get("tests"), element.get("failures"), element.get("errors")) == ("5", "1", "1")
    assert suite.get("skipped") == "1"
    assert [len(suite.findall(f"testcase/{kind}")) for kind in ("failure", "error", "skipped")] == [1, 1, 1]
    assert len(suite.findall("testcase")) == 5


def test_a_missing_required_capability_is_a_failure_in_junit() -> None:
    root = ElementTree.fromstring(junit.render(a_report(a_result(), lacking=("delete",))))
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    assert len(root.findall("testsuite/testcase/failure")) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(drawn.reports())
def test_junit_of_any_report_is_valid(report: Report) -> None:
    JUNIT.validate(junit.render(report))


def test_a_behaviour_is_a_junit_case_with_properties() -> None:
    root = ElementTree.fromstring(junit.render(a_report(*one_of_each())))
    cases = {case.get("name"): case.get("classname") for case in root.iter("testcase")}
    assert cases["TST-1b The title of TST-1b"] == "conformance.TST.TST-1"
    facts = {each.get("name"): each.get("value") for each in root.iter("property")}
    assert facts["verdict"] == "non-conformant"
    assert (facts["TST-2a.clause"], facts["TST-2a.level"], facts["TST-2a.status"]) == ("TST-2", "SHOULD", "warned")
    assert "TST-1b.cause" not in facts


@pytest.mark.parametrize(
    "wrong", ["<testcase/>", "<surprise/>", '<testcase classname="c" name="n"><properties/></testcase>']
)
def test_the_junit_schema_is_as_strict_as_jenkins(wrong: str) -> None:
    text = junit.render(a_report(a_result())).replace("</testsuite>", f"{wrong}</testsuite>")
    assert not JUNIT.is_valid(text)


def test_a_failure_in_junit_has_its_evidence() -> None:
    root = ElementTree.fromstring(junit.render(a_report(*one_of_each())))
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("type") == "TST-1"
    assert "wanted  x" in (failure.text or "")
    assert "ABORTED: no edge" in (failure.text or "")


def terminal_output(*emitted: events.Event, **options: Any) -> str:
    out = io.StringIO()
    live = Live(Console(file=out, width=80, highlight=False, markup=False, emoji=False), **options)
    for event in emitted:
        live(event)
    live.end()
    return out.getvalue()


# events.ndjson


def test_a_log_starts_with_a_header_and_ends_with_the_report_without_results(tmp_path: Path) -> None:
    log = NdjsonLog(tmp_path / "events.ndjson")
    report = asyncio.run(judged([proof(machines=1)], provider(4), emit=log))
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "events.ndjson").read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in lines] == [
        "run-started",
        "behaviour-started",
        "behaviour-finished",
        "run-finished",
    ]
    assert (lines[0]["format"], [behaviour["id"] for behaviour in lines[0]["behaviours"]]) == (1, ["TST-1a"])
    whole = json_report.as_dict(report)
    (behaviour,) = whole.pop("behaviours")
    assert lines[-1] == {"event": "run-finished", **whole}
    assert behaviour.pop("cause") is None  # not known before the end of the run
    assert lines[2] == {"event": "behaviour-finished", **behaviour} | {key: lines[2][key] for key in COST}
    assert lines[2]["bill"]["create"] == 1


def test_every_event_is_written_immediately(tmp_path: Path) -> None:
    log = NdjsonLog(tmp_path / "events.ndjson")
    for number in range(3):
        log(events.Noted(at=0.0, text=str(number)))
        assert len((tmp_path / "events.ndjson").read_text(encoding="utf-8").splitlines()) == number + 1
    log.close()


def test_a_started_behaviour_is_one_line() -> None:
    line = as_line(events.BehaviourStarted(id="TST-1a", at=1.23456789, machines=("m1",)))
    assert line == {"event": "behaviour-started", "id": "TST-1a", "at": 1.23456789, "machines": ["m1"]}


# The terminal.


def test_a_failure_shows_clause_wanted_got_and_the_last_calls() -> None:
    text = "\n".join(terminal.findings(a_report(*one_of_each())))
    assert text.index("FAILED TST-1b") < text.index("WARNED TST-2a")
    assert "clause  TST-1 MUST: A clause of a test." in text
    assert "ABORTED: no edge" in text
    assert "explain conformance show TST-1b" in text
    assert "  TST-4a: not answered" in text
    assert "  TST-3a: too fast" in text


def test_the_closing_lines_have_counts_and_the_sweep_command() -> None:
    report = a_report(*one_of_each(), home=Home(left=(("m1", "stuck"),)), whole=False, stopped="--fail-fast")
    lines = terminal.closing(report)
    assert lines[0] == (
        "verdict    NON-CONFORMANT: 1 failed, 1 warned, 1 not judged, 1 passed, 1 skipped, partial run"
        " · stopped: --fail-fast"
    )
    assert lines[-3:] == [
        "clean-up   1 machine NOT RETURNED. To clean up, run:",
        "           conformance sweep /somewhere/ledger.ndjson --target host:1",
        "           m1: stuck",
    ]


def test_quiet_shows_failures_and_the_closing_lines_only() -> None:
    report = a_report(*one_of_each())
    emitted: list[events.Event] = [events.BehaviourFinished(result=result) for result in report.results]
    emitted.append(events.Noted(at=0.0, text="a note"))
    quiet = terminal_output(*emitted, events.RunFinished(report=report), quiet=True)
    usual = terminal_output(*emitted, events.RunFinished(report=report))
    assert "PASSED  TST-1a" in usual
    assert "PASSED  TST-1a" not in quiet
    assert "a note" not in quiet
    assert "FAILED TST-1b" in quiet
    assert "verdict    NON-CONFORMANT" in quiet


def test_verbose_shows_every_call() -> None:
    result = one_of_each()[1]
    text = terminal_output(events.BehaviourFinished(result=result), verbose=True)
    assert text.count("Drain(m1") == 12


def test_consequences_are_listed_under_their_cause() -> None:
    rests = a_result(Status.FAILED, "TST-2a", rests_on=["TST-1a"], wanted="something", got="nothing")
    report = a_report(rests, a_result(Status.FAILED, "TST-1a", reason="TST-1: so"))
    lines = terminal.findings(report)
    assert [line for line in lines if line.startswith("FAILED")] == ["FAILED TST-1a  The title of TST-1a"]
    head = lines.index("  causes  1 other failure in behaviours that depend on TST-1a:")
    assert lines[head + 1] == "    TST-2a  The title of TST-2a: wanted something; got nothing"
    assert terminal.closing(report)[0] == "verdict    NON-CONFORMANT: 2 failed, 0 passed, 1 root cause"
    assert [b["cause"] for b in json_report.as_dict(report)["behaviours"]] == ["TST-1a", None]
    assert '<property name="TST-2a.cause" value="TST-1a" />' in junit.render(report)


@pytest.mark.parametrize("others", [0, 1, 30])
def test_a_long_list_of_consequences_is_truncated(others: int) -> None:
    first = a_result(Status.FAILED, "TST-1a", reason="r")
    more = [a_result(Status.FAILED, f"TST-{n}a", rests_on=["TST-1a"], reason="r") for n in range(2, 10 + others)]
    lines = terminal.findings(a_report(first, *more))
    assert len([line for line in lines if line.startswith("    TST-")]) == 8
    assert (f"    … {others} more: see report.html of --report-dir" in lines) is bool(others)


def test_the_closing_lines_name_the_clauses_that_were_not_judged_by_level() -> None:
    report = a_report(
        a_result(Status.ERROR, "FEN-1a"),
        a_result(Status.ERROR, "FEN-1b"),
        a_result(Status.ERROR, "LIF-1a"),
        a_result(Status.ERROR, "LST-9a", level=Level.SHOULD),
        a_result(Status.PASSED, "OPS-1a"),
    )
    lines = terminal.closing(report)
    assert "unjudged   MUST: FEN-1, LIF-1" in lines
    assert "unjudged   SHOULD: LST-9" in lines
    assert not any(line.startswith("unjudged") for line in terminal.closing(a_report(a_result())))
