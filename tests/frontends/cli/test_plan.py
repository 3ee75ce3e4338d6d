from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from conformance.core.lifecycle import Verb
from conformance.reporters import plan_text as rendered
from conformance.reporters.plan_text import Planned, duration
from conformance.results.bill import Bill
from conformance.results.report import Time
from conformance.results.result import Status
from tests.provider_process import Provider, judge, run, serving
from tests.runs import entry
from tests.values import a_found, a_report, a_result

if TYPE_CHECKING:
    from pathlib import Path

SOME = ("--select", "FEN-1a,LIF-1a,SEC-1a")


def plan(provider: Provider, *options: str) -> Any:
    return run("conformance", "plan", "--target", provider.address, *options)


def a_plan(**given: Any) -> Planned:
    fields: dict[str, Any] = {
        "target": "h:1",
        "found": a_found(prices=(1.0, 3.0)),
        "behaviours": (entry("TST-1a"),),
        "skipped": ((entry("TST-2a"), "the provider has no Delete"),),
        "lacking": (),
        "machines": 1,
        "transitions": dict.fromkeys(Verb, (60.0, "--latency")),
        "call": 0.002,
        "dry": a_report(a_result()),
    }
    return Planned(**(fields | given))


def test_a_plan_shows_behaviours_skips_and_cost_and_changes_nothing() -> None:
    with serving("--latency", "50ms", "--machines", "8") as provider:
        done = plan(provider, *SOME, "--latency", "create=90s,configure=30s,drain=20s,delete=40s")
        assert provider.away() == {}
    assert done.code == 0, done.text
    for part in (
        f"target     {provider.address} · read only, nothing was changed",
        "would run  2 behaviours",
        "bill       about 2 creates",
        "SEC-1a: the target is not reached over TLS",
        "Create 1 min 30 s (--latency), Configure 30 s (--latency)",
    ):
        assert part in done.out
    # A full lifecycle (180 s), and a second life of the same machine to IDLE and back (130 s).
    assert "time       about 5 min" in done.out


def test_latencies_come_from_a_measured_run(tmp_path: Path) -> None:
    with serving("--latency", "50ms", "--machines", "8") as provider:
        assert judge(provider, "--select", "FEN-1a,LIF-1a", directory=tmp_path).code == 0
        done = plan(
            provider, *SOME, "--measured", str(tmp_path / "report.json"), "--latency", "create=7s", "--format", "json"
        )
    assert done.code == 0, done.text
    transitions = json.loads(done.out)["transitions"]
    assert transitions["Create"] == {"seconds": 7.0, "source": "--latency"}
    took = json.loads((tmp_path / "report.json").read_text())["took"]
    for verb in ("Configure", "Drain", "Delete"):
        assert transitions[verb]["seconds"] == took[verb] > 0
        assert transitions[verb]["source"].startswith("measured in ")


def test_unknown_latencies_are_listed() -> None:
    with serving("--machines", "8") as provider:
        done = plan(provider, *SOME)
    assert done.code == 0, done.text
    assert "time       at least" in done.out
    assert "unknown    duration of Create, Configure, Drain, Delete; give --measured" in done.out


def test_a_provider_without_delete_is_planned_without_it() -> None:
    with serving("--machines", "8", "--no-delete") as provider:
        done = plan(provider, "--select", "FEN-1a,LIF-8", "--latency", "1s", "--format", "json")
    assert done.code == 0, done.text
    planned = json.loads(done.out)
    assert planned["found"]["delete"] is False
    assert planned["skipped"]
    assert planned["estimate"]["bill"]["delete"] == 0


def test_the_embedded_fake_is_planned_with_its_latency() -> None:
    done = run("conformance", "plan", "--fake", "--select", "FEN-1a")
    assert done.code == 0, done.text
    assert "target     the embedded fake · read only, nothing was changed" in done.out
    assert "based on   Create, Configure, Drain, Delete 200 ms (the embedded fake)" in done.out


def test_a_budget_that_is_too_small_names_the_clauses_that_stay_open() -> None:
    with serving("--machines", "8") as provider:
        done = plan(provider, "--select", "LIF-1a,FEN-1a", "--max-creates", "0", "--latency", "1s")
        assert done.code == 0, done.text
        assert "the run would be inconclusive, because of FEN-1, LIF-1" in done.out
        assert "bill       about 0 creates" in done.out


def test_too_few_machines_are_found_before_any_is_touched() -> None:
    with serving("--machines", "1") as provider:
        done = plan(provider, "--select", "LIF-9", "--latency", "1s")
    assert done.code == 3
    assert "too few machines" in done.err


def test_no_value_of_a_header_is_in_a_plan() -> None:
    with serving("--machines", "8") as provider:
        known = ("--select", "LIF-1a", "--latency", "1s", "--format", "json")
        done = plan(provider, *known, "--header", "x-tenant=s3cr3t-t0k3n")
    assert done.code == 0, done.text
    assert "s3cr3t" not in done.text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--latency", "soon"), "'soon' is not a duration"),
        (("--latency", "start=1s"), "'start=1s' is not a valid latency"),
        (("--measured", "none.json"), "none.json: No such file or directory"),
    ],
)
def test_bad_input_is_a_line_and_a_hint(options: tuple[str, ...], problem: str) -> None:
    done = run("conformance", "plan", "--fake", *options)
    assert done.code == 2
    assert done.err.splitlines()[0] == f"error: {problem}"
    assert done.err.splitlines()[1].startswith("  hint: ")


def test_a_missing_requirement_is_shown() -> None:
    shown = rendered.text(a_plan(lacking=("delete",)))
    assert "missing    delete, required by --require: the run would fail" in shown


def test_the_price_is_a_range() -> None:
    planned = a_plan()
    bill = planned.dry.bill
    hours = bill.machine_seconds / 3600
    assert planned.prices == (bill.price, hours * 1.0, hours * 3.0)


def test_a_verb_that_the_target_lacks_needs_no_latency() -> None:
    known = {verb: (1.0, "x") for verb in Verb if verb is not Verb.DELETE}
    assert a_plan(transitions=known).unknown == (Verb.DELETE,)
    assert a_plan(transitions=known, found=a_found(delete=False)).unknown == ()


def test_text_of_the_provider_cannot_control_the_terminal() -> None:
    hostile = a_report(a_result(Status.ERROR, reason="\x1b[31m\nred"))
    assert all(line.isprintable() for line in rendered.text(a_plan(target="h\x1b:1", dry=hostile)))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.34, "340 ms"),
        (12, "12 s"),
        (9.75, "9.8 s"),
        (686, "11 min 26 s"),
        (59.96, "1 min"),
        (120, "2 min"),
        (7500, "2 h 5 min"),
        (3600, "1 h"),
    ],
)
def test_durations_are_human_readable(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def lanes() -> dict[str, Planned]:
    """Returns the plans of three lanes, the last of which judges nothing."""
    bill, time = Bill(create=2, peak_machines=2, restarts=5), Time(wall=60, critical_path=1, sum=1)
    dry = a_report(a_result(), bill=bill, time=time)
    skipped = (entry("TST-3a"), "not observed: give --provider-cmd")
    return {
        "first": a_plan(),
        "second": a_plan(dry=dry),
        "third": a_plan(behaviours=(), skipped=(skipped,), dry=a_report(bill=Bill())),
    }


def test_the_plan_of_all_lanes_has_a_row_for_each_and_their_sum() -> None:
    text = rendered.text_all(lanes())
    rows = {line.split()[0]: line.split()[1:] for line in text}
    assert rows["lane"] == ["behaviours", "skipped", "creates", "machines", "restarts", "time"]
    assert rows["first"] == ["1", "1", "1", "1", "0", "2", "s"]
    assert rows["second"] == ["1", "1", "2", "2", "5", "1", "min"]
    assert rows["third"] == ["0", "1", "0", "0", "0", "-"]
    assert rows["total"] == ["3", "2", "5", "1", "min", "2", "s"]
    assert "  TST-3a: not observed: give --provider-cmd" in text
    assert max(map(len, text[4:9])) <= 80


def test_the_plan_of_all_lanes_as_json_has_the_same_sum() -> None:
    value = json.loads(rendered.render_all(lanes()))
    assert list(value["lanes"]) == ["first", "second", "third"]
    assert value["lanes"]["second"]["estimate"]["bill"]["restarts"] == 5
    assert (value["total"]["creates"], value["total"]["restarts"], value["total"]["seconds"]) == (3, 5, 62.0)


def test_a_lane_without_a_plan_is_planned_too() -> None:
    done = run("conformance", "plan", "--fake", "--lane", "scale", "--soak", "8ops", "--format", "json")
    assert done.code == 0, done.text
    planned = json.loads(done.out)
    assert planned["behaviours"]
    assert 1 <= planned["estimate"]["bill"]["create"] <= 2
    assert planned["not_judged"] == {}
