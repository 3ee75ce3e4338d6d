"""Any content of report.json and events.ndjson is a report that can be rendered, or is a one-line usage error."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from conformance.core import catalogue
from conformance.core.errors import UsageError
from conformance.engine import replay
from conformance.reporters import badge, comparison, json_report, junit, markdown, next_step, terminal
from conformance.reporters.html_report import render as html_render
from conformance.results import compare, reader, waivers
from conformance.results.report import Home, Report
from conformance.results.result import Status
from tests.fuzz.search import ANY, SEARCH, ignoring_usage_errors
from tests.results.test_reader import as_json, as_log, events_of
from tests.values import a_call, a_report, a_result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RENDERERS: tuple[Callable[[Report], Any], ...] = (
    *(
        junit.render,
        html_render.render,
        markdown.render,
        badge.render,
        terminal.heading,
        terminal.findings,
        terminal.closing,
    ),
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63), 2**64, 1e308, -0.0, 5e-324])
    | st.floats()
    | st.text(ANY, max_size=5)
    | st.sampled_from(["FAILED", "OK", "IDLE", "2031-01-01", "0001-01-01T00:00:00", "TST-9z", "A" * 5000]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Returns the path of every nested value."""
    match value:
        case dict():
            inner = [place for key, one in value.items() for place in places(one, (*path, key))]
        case list():
            inner = [place for n, one in enumerate(value) for place in places(one, (*path, n))]
        case _:
            inner = []
    return [path, *inner]


def replaced(value: Any, path: tuple[Any, ...], new: Any, *, delete: bool) -> Any:
    """Returns the value after the part at the path was replaced, or deleted."""
    if not path:
        return new
    holder = value
    for step in path[:-1]:
        holder = holder[step]
    if delete:
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return value


def check_readable_or_refused(path: Path, content: bytes) -> None:
    """Checks that the content is a usage error, or a report that all renderers and commands can use."""
    path.write_bytes(content)
    try:
        report = reader.read(path)
    except UsageError as error:
        if len(error.message.splitlines()) != 1:
            raise
        return
    assert json_report.as_dict(reader.read_text(as_json(report))) == json_report.as_dict(report)
    for render in RENDERERS:
        render(report)
    for before, after in ((report, a_full_report()), (a_full_report(), report), (report, report)):
        result = compare.compare(before, after, names=("a", "b"))
        for write in (comparison.text, comparison.markdown, comparison.as_dict):
            write(result)
    ignoring_usage_errors(lambda: next_step.lines(report))
    ignoring_usage_errors(lambda: replay.select_ids(report, (), catalogue.load()))
    for failure in report.with_status(Status.FAILED):
        waivers.new_waiver(failure, expires=date(2031, 1, 1))


@SEARCH
@given(data=st.data())
def test_a_file_with_a_value_changed_is_a_report_or_a_usage_error(tmp_path: Path, data: st.DataObject) -> None:
    lines = [as_json(a_full_report())] if data.draw(st.booleans()) else as_log(events_of(a_full_report())).splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    value = json.loads(lines[number])
    place = data.draw(st.sampled_from(places(value)))
    lines[number] = json.dumps(replaced(value, place, data.draw(JSON), delete=data.draw(st.booleans()))).encode()
    check_readable_or_refused(tmp_path / "file", b"\n".join(lines))


@SEARCH
@given(data=st.data())
def test_a_file_with_bytes_changed_is_a_report_or_a_usage_error(tmp_path: Path, data: st.DataObject) -> None:
    content = data.draw(st.sampled_from([as_json(a_full_report()), as_log(events_of(a_full_report()))]))
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 40)))
    check_readable_or_refused(tmp_path / "file", content[:start] + data.draw(st.binary(max_size=8)) + content[end:])


@cache
def a_full_report() -> Report:
    refused = a_result(Status.FAILED, "TST-1a", reason="r", calls=(a_call(),), machines=("m1",), decisive=(0,))
    home = Home(left=(("m1", "stuck"),))
    report = a_report(refused, a_result(Status.SKIPPED, "TST-2a", reason="s"), home=home, notes=("n",))
    return replace(report, quarantined=(("m2", "why"),))
