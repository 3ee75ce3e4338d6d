from __future__ import annotations

import asyncio
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from conformance.core.catalogue import Level
from conformance.core.errors import UsageError
from conformance.core.lifecycle import Verb
from conformance.reporters import json_report, junit, terminal
from conformance.reporters.ndjson import NdjsonLog, as_line
from conformance.results import events, reader
from conformance.results.bill import Bill
from conformance.results.result import Status, Verdict
from tests.runs import judged, proof
from tests.values import a_call, a_found, a_report, a_result
from tools import drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.results.report import Report
    from conformance.testkit.trial import Trial

SOME = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def as_json(report: Report) -> bytes:
    """report.json."""
    return json_report.render(report).encode()


def events_of(report: Report) -> list[events.Event]:
    """Returns the events of a run with this report, whose behaviours ran sequentially."""
    assert report.found is not None
    entries = tuple(result.entry for result in report.results)
    emitted: list[events.Event] = [
        events.RunStarted(
            run=report.run,
            target=report.target,
            at=report.started,
            seed=report.seed,
            found=report.found,
            behaviours=entries,
            machines=3,
            ledger=report.ledger,
            version=report.version,
            strict=report.strict,
            lacking=report.lacking,
            whole=report.whole,
        )
    ]
    for result in report.results:
        emitted.append(events.BehaviourStarted(id=result.id, at=result.started, machines=result.machines))
        emitted.append(events.BehaviourFinished(result=result, at=result.started, bill=report.bill, rpcs=report.rpcs))
    emitted += [events.Noted(at=1.0, text=note) for note in report.notes]
    return [*emitted, events.RunFinished(report=report)]


def as_log(emitted: Sequence[events.Event]) -> bytes:
    """events.ndjson."""
    return b"".join(json_report.dumps(as_line(event)).encode() + b"\n" for event in emitted)


def from_file(path: Path, content: bytes) -> Report:
    path.write_bytes(content)
    return reader.read(path)


@cache
def real_run() -> tuple[Report, tuple[events.Event, ...]]:
    """Returns the report and the events of a run against the fake with behaviours of every status."""

    async def passing(trial: Trial) -> None:
        await trial.drive(trial.machine, Verb.CONFIGURE)

    async def failing(trial: Trial) -> None:
        from conformance.core.errors import Violation

        raise Violation("x", "y", calls=[await trial.machine.get()])

    emitted: list[events.Event] = []
    plan = [
        proof(passing, "TST-1a", machines=1),
        proof(failing, "TST-2a", machines=1),
        proof(behaviour_id="TST-3a", level=Level.SHOULD, capabilities=["tls"]),
        proof(passing, "TST-4a", machines=2),
    ]
    return asyncio.run(judged(plan, emit=emitted.append, version="0.1.0")), tuple(emitted)


def with_late_results() -> tuple[Report, bytes]:
    """Returns a report and its log, in which two breaches were seen at the end: one of a behaviour that had passed."""
    passed, other = a_result(Status.PASSED, "TST-1a"), a_result(Status.PASSED, "TST-2a")
    late = (a_result(Status.FAILED, "TST-1a"), a_result(Status.FAILED, "TST-9a"))
    start = events_of(a_report(passed, other))[:-1]
    report = a_report(other, *late)
    finished = [events.BehaviourFinished(result=each, bill=report.bill, rpcs=report.rpcs) for each in late]
    return report, as_log([*start, *finished, events.RunFinished(report=report)])


# Round trips.


@SOME
@given(drawn.reports())
def test_a_report_survives_json(report: Report) -> None:
    assert json_report.as_dict(reader.read_text(as_json(report))) == json.loads(json_report.render(report))
    assert json_report.as_dict(reader.read_text(as_json(report))) == json_report.as_dict(report)


@SOME
@given(drawn.reports(found=a_found(speculative=(), idle=())))
def test_a_report_survives_its_log(report: Report) -> None:
    assert json_report.as_dict(reader.read_text(as_log(events_of(report)))) == json_report.as_dict(report)


@SOME
@given(drawn.reports())
def test_a_report_that_was_read_is_rendered_like_the_original(report: Report) -> None:
    again = reader.read_text(as_json(report))
    renderers: list[Callable[[Report], Any]] = [terminal.findings, terminal.closing, junit.render, json_report.render]
    for render in renderers:
        assert render(again) == render(report)


def test_a_real_run_survives_both_files(tmp_path: Path) -> None:
    report, emitted = real_run()
    for content in (as_json(report), as_log(emitted)):
        again = from_file(tmp_path / "file", content)
        assert json_report.as_dict(again) == json_report.as_dict(report)
        assert terminal.findings(again) == terminal.findings(report)
        assert terminal.closing(again) == terminal.closing(report)
        assert (again.verdict, again.exit_code) == (Verdict.NON_CONFORMANT, 1)


def test_a_call_that_was_read_equals_the_original() -> None:
    report, _ = real_run()
    live = report.results[0].calls
    again = reader.read_text(as_json(report)).results[0].calls
    assert len(again) == len(live) > 2
    for now, then in zip(again, live, strict=True):
        for name in ("rpc", "machine_id", "token", "code", "answered", "started", "ended"):
            assert getattr(now, name) == getattr(then, name)
        machines = report.results[0].machines
        assert (now.request_text(), now.outcome(), now.request_json()) == (
            then.request_text(),
            then.outcome(),
            then.request_json(),
        )
        assert now.machine_states(machines) == then.machine_states(machines)
        assert now.machine_states(()) == {}


def test_breaches_that_were_seen_at_the_end_of_a_run_survive_its_log() -> None:
    report, log = with_late_results()
    read = reader.read_text(log)
    assert json_report.as_dict(read) == json_report.as_dict(report)
    assert read.verdict is Verdict.NON_CONFORMANT
    truncated = reader.read_text(log[: log.rindex(b"\n", 0, -1) + 1])
    assert {result.id: result.status for result in truncated.results} == {
        "TST-2a": Status.PASSED,
        "TST-1a": Status.FAILED,
        "TST-9a": Status.FAILED,
    }


def test_a_behaviour_that_is_not_in_the_catalogue_keeps_its_text() -> None:
    old = a_result(Status.FAILED, "OLD-7c", reason="r", rests_on=["OLD-7a"])
    again = reader.read_text(as_json(a_report(old, a_result(Status.FAILED, "OLD-7a", reason="r"))))
    assert again.results[0].entry == old.entry
    assert "clause  OLD-7 MUST: A clause of a test." in "\n".join(terminal.findings(again))


def test_a_target_that_was_never_reached_is_read_from_both_files(tmp_path: Path) -> None:
    report = a_report(a_result(Status.ERROR, reason="no"), found=None, run="", started="", stopped="refused")
    log = NdjsonLog(tmp_path / "events.ndjson")
    log(events.RunFinished(report=report))
    log.close()
    for content in (as_json(report), (tmp_path / "events.ndjson").read_bytes()):
        assert json_report.as_dict(reader.read_text(content)) == json_report.as_dict(report)


def test_a_report_in_one_line_is_a_report(tmp_path: Path) -> None:
    report = a_report(a_result())
    again = from_file(tmp_path / "r", json.dumps(json_report.as_dict(report)).encode())
    assert json_report.as_dict(again) == json_report.as_dict(report)


# A log that ends before its run did.


def test_a_log_with_only_a_header_has_no_judged_results() -> None:
    report = reader.read_text(as_log(real_run()[1][:1]))
    unfinished = report.with_status(Status.ERROR)
    assert [result.id for result in unfinished] == ["TST-1a", "TST-2a", "TST-3a", "TST-4a"]
    assert {result.reason for result in unfinished} == {"the log ends before this behaviour does"}
    assert (report.bill, report.rpcs, report.time.wall) == (Bill(), 0, 0.0)
    assert report.stopped == "truncated: the log ends before the run does"
    assert (report.verdict, report.exit_code) == (Verdict.INCONCLUSIVE, 3)


def test_a_log_without_a_last_line_is_not_conformant() -> None:
    passed = a_report(a_result(Status.PASSED, "TST-1a"), a_result(Status.PASSED, "TST-2a"))
    assert passed.verdict is Verdict.CONFORMANT
    report = reader.read_text(as_log(events_of(passed)[:-1]))
    assert [result.status for result in report.results] == [Status.PASSED, Status.PASSED]
    assert (report.truncated, report.home.clean) == (True, False)
    assert (report.verdict, report.exit_code) == (Verdict.INCONCLUSIVE, 3)
    assert json_report.as_dict(reader.read_text(as_json(report))) == json_report.as_dict(report)


def test_failures_of_a_truncated_run_count() -> None:
    report = reader.read_text(as_log(real_run()[1][:-1]))
    assert report.verdict is Verdict.NON_CONFORMANT
    last = [event for event in real_run()[1] if isinstance(event, events.BehaviourFinished)][-1]
    assert (report.bill, report.rpcs) == (last.bill, last.rpcs)
    assert report.bill.create >= 1
    assert report.rpcs > 0
    assert report.time.wall > 0
    assert report.time.sum >= report.time.critical_path > 0


def test_a_behaviour_that_ran_when_the_log_ends_has_its_machines() -> None:
    passed = a_report(a_result(machines=("m1", "m2"), started=2.0))
    report = reader.read_text(as_log(events_of(passed)[:2]))
    (result,) = report.results
    assert report.time.wall == 2.0
    assert (result.status, result.machines, result.started) == (Status.ERROR, ("m1", "m2"), 2.0)


def test_the_clean_up_of_a_truncated_run_is_unknown() -> None:
    lines = terminal.closing(reader.read_text(as_log(events_of(a_report(a_result()))[:-1])))
    assert lines[0] == "verdict    INCONCLUSIVE: 1 passed · truncated: the log ends before the run does"
    assert any(line.startswith("clean-up   unknown") for line in lines)
    assert any("conformance sweep /somewhere/ledger.ndjson" in line for line in lines)


def test_a_log_may_end_after_any_byte(tmp_path: Path) -> None:
    emitted = events_of(
        a_report(*(a_result(Status.PASSED, f"TST-{n}a", calls=(a_call(),)) for n in (1, 2)), notes=("ä",))
    )
    content = as_log(emitted)
    header = content.index(b"\n")
    for length in range(header, len(content) - 1):
        report = reader.read_text(content[:length])
        assert len(report.results) == 2
        # The last line is also complete without its line break.
        assert report.truncated
        assert report.verdict is Verdict.INCONCLUSIVE
    assert reader.read_text(content[:-1]).verdict is Verdict.CONFORMANT
    for length in range(header):
        path = tmp_path / "events.ndjson"
        path.write_bytes(content[:length])
        with pytest.raises(UsageError):
            reader.read(path)


def test_zero_bytes_at_the_end_of_a_log_are_ignored() -> None:
    content = as_log(events_of(a_report(a_result()))[:-1])
    for end in (b"\0" * 512, b"7", b"[]"):
        assert reader.read_text(content + end).truncated


# Errors.


def refusal(path: Path, content: bytes | None) -> UsageError:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        reader.read(path)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500
    assert caught.value.hint
    return caught.value


def changed(**fields: Any) -> bytes:
    return json.dumps(json_report.as_dict(a_report(a_result(calls=(a_call(),)))) | fields).encode()


def behaviour(**fields: Any) -> bytes:
    value = json_report.as_dict(a_report(a_result(calls=(a_call(),))))
    value["behaviours"][0] |= fields
    return json.dumps(value).encode()


def call(**fields: Any) -> bytes:
    value = json_report.as_dict(a_report(a_result(calls=(a_call(),))))
    value["behaviours"][0]["calls"][0] |= fields
    return json.dumps(value).encode()


def test_a_missing_file_and_a_directory_are_errors(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.json", None).message.endswith("no.json: No such file or directory")
    assert refusal(tmp_path, None).message.endswith(": Is a directory")
    assert "null" in refusal(Path("a\0b"), None).message


def test_an_empty_report_belongs_to_an_unfinished_run(tmp_path: Path) -> None:
    found = refusal(tmp_path / "report.json", b"")
    assert found.message.endswith("report.json is empty")
    assert "events.ndjson" in (found.hint or "")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "it is not text"),
        (b"hello", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"9" * 10_000, "the number 999999999999999999999999 is out of range"),
        (b"[]", "expected `object`, got `array`"),
        (b"{}", "object missing required field `format`"),
        (b"\xff\xfe{}", "it is not text"),
        (as_json(a_report(a_result()))[:900], "it is not JSON"),
        (changed(format=2), "its format is 2, but this release reads format 1"),
        (changed(format=True), "format: expected `int`, got `bool`"),
        (changed(verdict="good"), "verdict: invalid enum value 'good'"),
        (changed(started="yesterday"), "'yesterday' is not an ISO 8601 time"),
        (changed(seed="7"), "seed: expected `int`, got `str`"),
        (changed(seed=10**30), "the number 100000000000000000000000 is out of range"),
        (changed(rpcs=-1), "rpcs: expected `int` >= 0"),
        (changed(found=[]), "found: expected `object`, got `array`"),
        (changed(notes=["a", 1]), "notes[1]: expected `str`, got `int`"),
        (changed(time={"wall": float("nan")}), "the number NaN is out of range"),
        (changed(time={"wall": 1}), "time: object missing required field `critical_path`"),
        (changed(home={"left": ["m1"], "reasons": {}, "taken": {}, "kept": False, "known": True}),
         "home: `left` and `reasons` name different machines"),
        (changed(asked={}), "asked: object missing required field `examples`"),
        (changed(behaviours=[1]), "behaviours[0]: expected `object`, got `int`"),
        (behaviour(id="../etc"), r"behaviours[0].id: expected `str` matching regex '^[A-Z]{3}-[0-9]+[a-z]+\\Z'"),
        (behaviour(level="CAN"), "behaviours[0].level: invalid enum value 'CAN'"),
        (behaviour(status="xfailed"), "behaviours[0].status: invalid enum value 'xfailed'"),
        (behaviour(seconds=-1), "behaviours[0].seconds: expected `float` >= 0.0"),
        (behaviour(decisive=[1]),
         "behaviours[0]: `decisive` must contain numbers below 1, the number of calls"),
        (behaviour(decisive=[True]), "behaviours[0].decisive[0]: expected `int`, got `bool`"),
        (call(code="FINE"), "behaviours[0].calls[0]: unknown gRPC status 'FINE'"),
        (call(at=True), "behaviours[0].calls[0].at: expected `float`, got `bool`"),
        (call(seen={"m1": "GONE"}), "behaviours[0].calls[0]: unknown machine state 'GONE'"),
        (call(sent={"a": [[[[[[[[[1]]]]]]]]]}), "behaviours[0].calls[0]: `sent` is nested more than 8 levels deep"),
        (call(token={"shard": 1}), "behaviours[0].calls[0].token.shard: expected `str`, got `int`"),
    ],
)  # fmt: skip
def test_an_invalid_report_is_a_one_line_error_with_the_path(tmp_path: Path, content: bytes, why: str) -> None:
    assert refusal(tmp_path / "file", content).message.endswith(f"file is not a run record: {why}")


def lines_with(number: int, **fields: Any) -> bytes:
    lines = as_log(events_of(a_report(a_result()))).splitlines(keepends=True)
    return b"".join(
        [*lines[:number], json.dumps(json.loads(lines[number]) | fields).encode() + b"\n", *lines[number + 1 :]]
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (lines_with(0, event="noted"), "its first line is not a run-started event"),
        (lines_with(0, found={"fleet": 1}), "line 1: found.fleet: expected `object`, got `int`"),
        (lines_with(0, format=9), "its format is 9, but this release reads format 1"),
        (lines_with(1, event="danced"), "line 2.event: invalid value 'danced'"),
        (lines_with(1, id="TST-9z"), "line 2.id: 'TST-9z' is not in the plan of the run"),
        (lines_with(2, bill=None), "line 3.bill: expected `object`, got `null`"),
        (lines_with(3, format=2), "its format is 2, but this release reads format 1"),
        (as_log(events_of(a_report(a_result()))) * 2, "line 5 is after the run-finished event"),
        (as_log(events_of(a_report(a_result()))).replace(b"}\n", b"\n", 2), "it is not JSON"),
    ],
)  # fmt: skip
def test_an_invalid_log_is_a_one_line_error_with_the_line_number(tmp_path: Path, content: bytes, why: str) -> None:
    assert refusal(tmp_path / "events.ndjson", content).message.endswith(f"is not a run record: {why}")


def test_an_error_is_short_even_if_keys_are_long(tmp_path: Path) -> None:
    home = {"clean": False, "left": [], "reasons": {"m\n" * 2**20: 1}, "kept": False, "known": True}
    assert "home.reasons[...]: expected `str`" in refusal(tmp_path / "file", changed(home=home)).message


def test_an_incomplete_line_in_the_middle_of_a_log_is_an_error(tmp_path: Path) -> None:
    lines = as_log(events_of(a_report(a_result()))).splitlines(keepends=True)
    lines[1] = lines[1][:20] + b"\n"
    assert "line 2 is not a JSON object" in refusal(tmp_path / "events.ndjson", b"".join(lines)).message
