from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import jsonschema

from conformance.reporters import badge, comparison, json_report, junit, markdown, terminal
from conformance.results.compare import compare
from conformance.results.result import Result, Status
from tests.reporters.test_reporters import SCHEMA, valid
from tests.results.test_compare import failed, run_with_answers, run_with_latency
from tests.results.test_waivers import of, report_with
from tests.values import a_call, a_found, a_report, a_result

if TYPE_CHECKING:
    from conformance.results.comparison import Comparison
    from conformance.results.report import Report

HOSTILE = "\x00\x1b[31m]]><evil a='\"'>&amp;\u202e\u2028\r\n\t\x7f\U0001f525 @x https://x ä"
P, F, S, E = Status.PASSED, Status.FAILED, Status.SKIPPED, Status.ERROR


def all_kinds(got: str = "y") -> Comparison:
    """Returns a comparison with a change of each kind."""
    old = [
        a_result(P, "TST-1a"),
        a_result(P, "TST-1b"),
        failed("one", "TST-2a"),
        a_result(P, "TST-3a"),
        a_result(P, "TST-4a"),
        failed(behaviour="TST-5a"),
        failed(behaviour="TST-7a"),
        a_result(E, "TST-8a", reason="no answer"),
        a_result(P, "TST-9a"),
        a_result(P, "TST-10a", calls=(a_call(),)),
    ]
    new = [
        failed(got, "TST-1a"),
        failed(got, "TST-1b", rests_on=["TST-1a"]),
        a_result(F, "TST-2a", wanted="Get to answer NOT_FOUND", got="another", reason="r"),
        a_result(E, "TST-3a", reason=got),
        a_result(S, "TST-4a", reason=got),
        a_result(P, "TST-5a"),
        a_result(P, "TST-6a"),
        failed(behaviour="TST-7a"),
        a_result(E, "TST-8a", reason="no answer"),
        a_result(S, "TST-10a", reason="too fast", calls=(a_call(),)),
    ]
    return compare(
        a_report(*old, found=a_found(zones=(got,))), a_report(*new, found=a_found()), names=("old.json", "this run")
    )


def test_changes_are_counted_and_listed_by_cause() -> None:
    lines = comparison.lines(all_kinds())
    assert lines[0].startswith("baseline   old.json (host:1, 2026-01-02T03:04:05+00:00): 2 newly failing, 1 fails diff")
    text = "\n".join(lines)
    assert "    TST-1a  The title of TST-1a — y\n            causes 1 other change: TST-1b" in text
    assert "another — before: one" in text
    assert "  still failing\n    TST-7a" in text
    assert "TST-10a" not in text
    for kind in ("newly not judged", "newly skipped", "newly passing", "newly covered", "gone", "still not judged"):
        assert f"  {kind}\n" in text


def test_no_changes_are_one_line() -> None:
    same = a_report(a_result(P))
    (line,) = comparison.lines(compare(same, same))
    assert line.endswith(": no changes")
    assert "No changes." in comparison.markdown_lines(compare(same, same))


def test_slower_rpcs_are_listed_with_the_tolerance() -> None:
    lines = comparison.lines(compare(run_with_latency(0.1), run_with_latency(0.4)))
    assert lines[1:] == [
        "  slower    median grew by more than 1.5 x and 5 ms (does not affect the verdict)",
        "    Get       100.0 ms -> 400.0 ms",
    ]


def test_two_runs_are_shown_side_by_side() -> None:
    text = comparison.text(compare(run_with_unavailable(), run_with_aborted(), names=("ours", "theirs")))
    assert text.splitlines() == [
        "A ours: host:1 · kit 0.1.0 · conformant",
        "B theirs: host:1 · kit 0.1.0 · conformant",
        "",
        "         A            B",
        "TST-1a   passed       passed",
        "  Drain  UNAVAILABLE  ABORTED",
        "",
        "A and B differ: answers differ (1)",
    ]


def run_with_unavailable() -> Report:
    import grpc

    return run_with_answers(grpc.StatusCode.UNAVAILABLE)


def run_with_aborted() -> Report:
    import grpc

    return run_with_answers(grpc.StatusCode.ABORTED)


def test_normal_differences_are_shown_on_request_only() -> None:
    both = failed(behaviour="TST-7a")
    seen, unseen = a_result(P, "TST-9a"), a_result(S, "TST-9a", reason="too fast", calls=(a_call(),))
    found = compare(a_report(both, seen), a_report(both, unseen))
    assert "TST-9a" not in comparison.text(found)
    assert comparison.text(found).endswith("same failure in both: TST-7a\nno differences\n")
    assert "TST-9a  passed     skipped: too fast" in comparison.text(found, everything=True)


def test_the_comparison_is_part_of_the_reports_schema() -> None:
    found = all_kinds()
    value = valid(replace(a_report(a_result(P)), comparison=found))
    assert value["comparison"] == json.loads(json_report.dumps(comparison.as_dict(found)))
    assert {change["kind"] for change in value["comparison"]["changes"]} >= {"gone", "newly failing"}


def test_hostile_text_has_no_effect_in_any_format() -> None:
    found = all_kinds(HOSTILE)
    report = replace(a_report(a_result(P)), comparison=found)
    texts = [
        comparison.text(found, everything=True),
        comparison.markdown(found, everything=True),
        "\n".join(terminal.closing(report)),
        "\n".join(comparison.markdown_lines(found)),
    ]
    for text in texts:
        assert "\x1b" not in text
        assert "\u2028" not in text
        assert all(c.isprintable() or c in "\n\u200b" for c in text)
    for text in (texts[1], texts[3]):
        assert "<evil" not in text.replace("\\<evil", "")
        assert "@x" not in text
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json_report.render(report)))


# Waivers in reports.


def waived(*more: Result) -> Report:
    one = failed(rests_on=())
    return report_with(one, *more, waivers=(of(one, reason="a reason"), of(failed(behaviour="TST-2a"))))


def test_the_badge_counts_waived_failures_and_is_not_green_with_a_stale_waiver() -> None:
    report = waived(a_result(P, "TST-2a"))
    assert (badge.message(report), badge.color(report)) == ("conformant, 1 waived, 1 waiver to fix", "yellow")
    fine = report_with(failed(), a_result(P, "TST-2a"), waivers=(of(failed()),))
    assert badge.message(fine) == "conformant, 1 waived"


def test_markdown_has_changes_and_waivers() -> None:
    text = markdown.render(replace(waived(a_result(P, "TST-2a")), comparison=all_kinds()))
    assert text.startswith("# Capacity provider: conformant, 1 waived\n")
    assert "WAIVER     TST-2a is stale" in text
    assert "## Changes since old\\.json" in text or "## Changes since old.json" in text
    assert "- **TST-1a** The title of TST\\-1a" in text


def test_waived_failures_are_shown() -> None:
    report = waived(a_result(P, "TST-2a"))
    lines = terminal.closing(report)
    assert lines[0] == "verdict    CONFORMANT, 1 waived: 1 failed and waived, 1 passed"
    assert lines[1] == "waivers    w.toml: 1 holds, 1 stale"
    assert lines[2] == "WAIVER     TST-2a is stale: the behaviour passes; remove the waiver"
    findings = terminal.findings(report)
    assert "FAILED TST-1a  The title of TST-1a" in findings
    assert "  waived  until 2031-03-01 by me: a reason" in findings


def test_junit_skips_a_waived_failure_and_fails_a_stale_waiver() -> None:
    text = junit.render(waived(a_result(P, "TST-2a")))
    assert 'tests="3" failures="1" errors="0"' in text
    assert '<skipped message="failed, waived until 2031-03-01 by me: a reason"' in text
    assert '<failure type="waiver" message="stale: the behaviour passes; remove the waiver"' in text
    assert "wanted  x" in text


def test_waivers_are_part_of_the_reports_schema() -> None:
    value = valid(waived(a_result(P, "TST-2a")))
    assert [(each["id"], each["standing"]) for each in value["waivers"]] == [("TST-1a", "holds"), ("TST-2a", "stale")]
    assert value["waivers"][0]["expires"] == "2031-03-01"
