from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import jsonschema

from conformance.reporters import badge, comparison, json_report, junit, markdown, terminal
from conformance.results.compare import compare
from conformance.results.result import Result, Status
from tests.reporters.test_reporters import SCHEMA, valid
from tests.results.test_compare import answering, failed, taking
from tests.results.test_waivers import held, of
from tests.values import a_call, a_found, a_report, a_result

if TYPE_CHECKING:
    from conformance.results.comparison import Comparison
    from conformance.results.report import Report

HOSTILE = "\x00\x1b[31m]]><evil a='\"'>&amp;\u202e\u2028\r\n\t\x7f\U0001f525 @x https://x ä"
P, F, S, E = Status.PASSED, Status.FAILED, Status.SKIPPED, Status.ERROR


def of_everything(got: str = "y") -> Comparison:
    """One behaviour of each kind."""
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
        failed("another", "TST-2a"),
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


def test_the_news_are_summed_up_and_told_a_line_each_causes_first() -> None:
    lines = comparison.lines(of_everything())
    assert lines[0].startswith("since      old.json (host:1, 2026-01-02T03:04:05+00:00): 2 newly failing, 1 fails diff")
    text = "\n".join(lines)
    assert "    TST-1a  The title of TST-1a — y\n            so also 1 more, which rest on it: TST-1b" in text
    assert "another — and not one" in text
    assert "  still failing\n    TST-7a" in text
    assert "TST-10a" not in text
    for kind in ("newly not judged", "newly skipped", "newly passing", "newly covered", "gone", "still not judged"):
        assert f"  {kind}\n" in text


def test_nothing_new_is_said_in_one_line() -> None:
    same = a_report(a_result(P))
    (line,) = comparison.lines(compare(same, same))
    assert line.endswith(": nothing is new")
    assert "Nothing is new." in comparison.markdown_lines(compare(same, same))


def test_what_got_slower_is_told_with_its_tolerance_and_that_it_is_no_verdict() -> None:
    lines = comparison.lines(compare(taking(0.1), taking(0.4)))
    assert lines[1:] == [
        "  slower    (the median by more than 1.5 x and 5 ms; never a verdict)",
        "    Get       100.0 ms -> 400.0 ms",
    ]


def test_two_runs_stand_side_by_side() -> None:
    text = comparison.text(compare(answering_busy(), answering_aborted(), names=("ours", "theirs")))
    assert text.splitlines() == [
        "A ours: host:1 · kit 0.1.0 · conformant",
        "B theirs: host:1 · kit 0.1.0 · conformant",
        "",
        "         A            B",
        "TST-1a   passed       passed",
        "  Drain  UNAVAILABLE  ABORTED",
        "",
        "B is not as A: 1 answers differ",
    ]


def answering_busy() -> Report:
    import grpc

    return answering(grpc.StatusCode.UNAVAILABLE)


def answering_aborted() -> Report:
    import grpc

    return answering(grpc.StatusCode.ABORTED)


def test_everything_is_shown_on_request_and_is_no_difference() -> None:
    both = failed(behaviour="TST-7a")
    seen, unseen = a_result(P, "TST-9a"), a_result(S, "TST-9a", reason="too fast", calls=(a_call(),))
    found = compare(a_report(both, seen), a_report(both, unseen))
    assert "TST-9a" not in comparison.text(found)
    assert comparison.text(found).endswith("both fail alike: TST-7a\nnothing differs\n")
    assert "TST-9a  passed     skipped: too fast" in comparison.text(found, everything=True)


def test_the_comparison_is_part_of_the_reports_schema() -> None:
    found = of_everything()
    value = valid(replace(a_report(a_result(P)), comparison=found))
    assert value["comparison"] == json.loads(json_report.dumps(comparison.as_dict(found)))
    assert {change["kind"] for change in value["comparison"]["changes"]} >= {"gone", "newly failing"}


def test_hostile_text_steers_nothing_in_any_form() -> None:
    found = of_everything(HOSTILE)
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


# Waivers, as they are shown.


def waived(*more: Result) -> Report:
    one = failed(rests_on=())
    return held(one, *more, waivers=(of(one, reason="a reason"), of(failed(behaviour="TST-2a"))))


def test_the_badge_counts_what_is_waived_and_is_not_green_with_a_waiver_to_mend() -> None:
    report = waived(a_result(P, "TST-2a"))
    assert (badge.message(report), badge.color(report)) == ("conformant, 1 waived, 1 waiver to mend", "yellow")
    fine = held(failed(), a_result(P, "TST-2a"), waivers=(of(failed()),))
    assert badge.message(fine) == "conformant, 1 waived"


def test_markdown_tells_the_news_and_what_is_waived() -> None:
    text = markdown.render(replace(waived(a_result(P, "TST-2a")), comparison=of_everything()))
    assert text.startswith("# Capacity provider: conformant, 1 waived\n")
    assert "WAIVER     TST-2a is stale" in text
    assert "## Since old\\.json" in text or "## Since old.json" in text
    assert "- **TST-1a** The title of TST\\-1a" in text


def test_what_is_waived_is_never_hidden() -> None:
    report = waived(a_result(P, "TST-2a"))
    lines = terminal.closing(report)
    assert lines[0] == "verdict    CONFORMANT, 1 waived: 1 failed and waived, 1 passed"
    assert lines[1] == "waivers    w.toml: 1 holds, 1 stale"
    assert lines[2] == "WAIVER     TST-2a is stale: it passes: take the waiver out"
    findings = terminal.findings(report)
    assert "FAILED TST-1a  The title of TST-1a" in findings
    assert "  waived  until 2031-03-01 by me: a reason" in findings


def test_a_waived_failure_is_skipped_in_junit_with_its_evidence_and_a_broken_waiver_fails() -> None:
    text = junit.render(waived(a_result(P, "TST-2a")))
    assert 'tests="3" failures="1" errors="0"' in text
    assert '<skipped message="failed, and is waived until 2031-03-01 by me: a reason"' in text
    assert '<failure type="waiver" message="stale: it passes: take the waiver out"' in text
    assert "wanted  x" in text


def test_waivers_are_part_of_the_reports_schema() -> None:
    value = valid(waived(a_result(P, "TST-2a")))
    assert [(each["id"], each["standing"]) for each in value["waivers"]] == [("TST-1a", "holds"), ("TST-2a", "stale")]
    assert value["waivers"][0]["expires"] == "2031-03-01"
