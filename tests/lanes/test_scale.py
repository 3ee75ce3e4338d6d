"""The parts of the scale lane: budgets, soaks, sketches, growth, the gate, and the verdicts."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from dataclasses import replace

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.core.errors import UsageError, Violation
from conformance.core.json_reader import Malformed
from conformance.core.latency import percentile
from conformance.core.lifecycle import Verb
from conformance.core.quantile_sketch import QuantileSketch
from conformance.fleet.model import FleetModel
from conformance.lanes import scale
from conformance.lanes.scale import budget, reader, soak
from conformance.lanes.scale.figures import ChurnProgress, Fleet, ScaleFigures
from conformance.lanes.scale.growth import MIN_ANSWERS, Sizes
from conformance.lanes.scale.quiescence import Quiescence
from conformance.lanes.scale.timings import LAST_CALLS, RecentCalls, Timings
from conformance.lanes.scale.verdicts import MAX_GIVEN_UP_IN_A_ROW, Verdicts
from conformance.reporters import sections
from conformance.results.bill import Meter
from conformance.results.breach import Breach
from conformance.results.lane_figures import Effect
from conformance.rpc.call import note_unanswered, record, recording
from tests.values import a_call

# Budgets and soaks.


@pytest.mark.parametrize(
    ("text", "name", "seconds"),
    [
        ("list.p99=500ms", "list.p99", 0.5),
        (" Create.max = 2m ", "create.max", 120.0),
        ("delta.p50=1s", "delta.p50", 1.0),
    ],
)
def test_a_budget_is_a_kind_of_call_a_measure_and_a_duration(text: str, name: str, seconds: float) -> None:
    parsed = budget.parse(text)
    assert (parsed.name, parsed.seconds) == (name, seconds)


@pytest.mark.parametrize(
    "text", ["", "list", "list.p99", "list=5s", "list.p98=5s", "lust.p99=5s", "list.p99=", "list.p99=0"]
)
def test_other_texts_are_rejected_as_budgets(text: str) -> None:
    with pytest.raises(UsageError):
        budget.parse(text)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_every_text_is_parsed_or_rejected_with_a_usage_error(text: str) -> None:
    for parse in (budget.parse, soak.parse):
        with suppress(UsageError):
            parse(text)


def test_two_budgets_for_one_measure_are_rejected() -> None:
    with pytest.raises(UsageError, match=r"list\.p99 is given twice"):
        budget.parse_all(["list.p99=1s", "LIST.p99=2s"])


def test_a_budget_without_a_call_is_unmeasured() -> None:
    sketch = QuantileSketch()
    sketch.add(0.25)
    results = budget.check(
        budget.parse_all(["list.max=200ms", "list.p50=1s", "get.p50=1s"]), {"List": sketch.summary()}
    )
    assert [(each.over, each.seconds is None) for each in results] == [(True, False), (False, False), (False, True)]


@pytest.mark.parametrize(("text", "share"), [("90s", 0.5), ("1m30s", 0.5), ("90ops", 0.1), ("9 OPS", 1.0)])
def test_a_soak_is_a_time_or_a_number_of_transitions(text: str, share: float) -> None:
    assert soak.parse(text).share(seconds=45.0, operations=9) == pytest.approx(share)
    assert soak.parse(str(soak.parse(text))) == soak.parse(text)


@pytest.mark.parametrize("text", ["", "0", "0ops", "-5ops", "5 op", "many"])
def test_other_texts_are_rejected_as_soaks(text: str) -> None:
    with pytest.raises(UsageError, match="is not a soak"):
        soak.parse(text)


# Sketches and growth.


@settings(deadline=None)
@given(st.lists(st.floats(1e-5, 1e4), min_size=1, max_size=200))
def test_a_sketch_gives_percentiles_within_one_percent_and_the_exact_maximum(taken: list[float]) -> None:
    sketch = QuantileSketch()
    for seconds in taken:
        sketch.add(seconds)
    for share in (50, 90, 99):
        assert sketch.percentile(share) == pytest.approx(percentile(sorted(taken), share), rel=0.011)
    assert sketch.summary().max == pytest.approx(max(taken), abs=1e-6)
    assert sketch.summary().count == len(taken)


def test_the_size_of_a_sketch_is_bounded() -> None:
    draw, sketch = random.Random(1), QuantileSketch()
    for _ in range(50_000):
        sketch.add(draw.lognormvariate(-5, 1))
    assert len(sketch._bins) < 1_500


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_growth_finds_the_exponent(power: float) -> None:
    sizes = Sizes("List")
    for size in (4, 16, 64, 256):
        for _ in range(MIN_ANSWERS):
            sizes.add(size, 1e-4 * size**power)
    grown = sizes.growth()
    assert grown is not None
    assert (grown.smallest, grown.largest, grown.why) == (4, 256, "")
    assert grown.exponent == pytest.approx(power, abs=0.05)


def test_a_small_range_gives_no_exponent_and_a_reason() -> None:
    sizes = Sizes("List")
    for size in (10, 12, 14):
        for _ in range(MIN_ANSWERS):
            sizes.add(size, 0.001)
    grown = sizes.growth()
    assert grown is not None
    assert grown.exponent is None
    assert grown.why == "10 to 14 machines: the range is too small to measure growth"


def test_too_few_answers_and_empty_answers_give_no_growth() -> None:
    sizes = Sizes("delta")
    sizes.add(5, 0.1)
    for _ in range(MIN_ANSWERS):
        sizes.add(0, 0.1)
    assert sizes.growth() is None


# The gate.


def test_no_machine_moves_while_the_gate_is_quiet() -> None:
    async def scene() -> list[str]:
        gate, log = Quiescence(), list[str]()
        entered, leave = asyncio.Event(), asyncio.Event()

        async def mover(name: str) -> None:
            async with gate.moving():
                log.append(f"{name} in")
                entered.set()
                await leave.wait()
                log.append(f"{name} out")

        async def checker() -> None:
            async with gate.quiet():
                log.append("quiet")

        first = asyncio.create_task(mover("first"))
        await entered.wait()
        check = asyncio.create_task(checker())
        await asyncio.sleep(0)
        second = asyncio.create_task(mover("second"))
        await asyncio.sleep(0)
        leave.set()
        await asyncio.gather(first, check, second)
        return log

    assert asyncio.run(scene()) == ["first in", "first out", "quiet", "second in", "second out"]


# The verdicts, from the breaches of the model.


def test_every_behaviour_of_the_lane_has_a_clause_and_rests_on_behaviours_of_the_lane() -> None:
    entries = scale.LANE.entries()
    ids = {entry.id for entry in entries}
    assert len(ids) == len(entries)
    assert all(entry.id == f"{entry.clause.id}scale" for entry in entries)
    assert all(set(entry.rests_on) <= ids for entry in entries)


def breach(behaviour: str, machine: str = "m1", code: grpc.StatusCode = grpc.StatusCode.OK) -> Breach:
    call = a_call("Drain", pb.DrainRequest(machine_id=machine), code=code)
    return Breach(behaviour=behaviour, machine=machine, wanted="one", got="another", calls=(call,))


@pytest.mark.parametrize(
    ("found", "entry"),
    [
        (breach("LIF-3a"), "LIF-3scale"),
        (breach("LST-1d"), "LST-1scale"),
        (breach("MET-3a"), "MET-3scale"),
        (breach("FEN-1a"), "FEN-12scale"),  # a stale token was accepted
        (breach("FEN-1a", code=grpc.StatusCode.FAILED_PRECONDITION), "COD-3scale"),
        (breach("LST-9a"), "LST-9scale"),
        (breach("LIF-5f"), None),  # a SHOULD of a MUST
        (breach("SHP-4a"), None),
    ],
)
def test_a_breach_fails_the_behaviour_of_its_clause(found: Breach, entry: str | None) -> None:
    verdicts = Verdicts(FleetModel("cpc-1"), scale.LANE.entries())
    verdicts.model.note(found)
    assert list(verdicts.found) == ([] if entry is None else [entry])
    assert list(verdicts.other) == ([found] if entry is None else [])
    assert verdicts.disagreements == (entry is not None)


def test_a_machine_that_has_broken_something_is_not_driven_any_further() -> None:
    verdicts = Verdicts(FleetModel("cpc-1"), scale.LANE.entries())
    for found in (breach("LST-6a"), breach("SHP-4a"), breach("LIF-3a", "m2")):
        verdicts.model.note(found)
    verdicts.check_machine("m1")
    with pytest.raises(Violation, match="wanted one; got another"):
        verdicts.check_machine("m2")


def test_a_provider_may_give_a_configure_up_but_not_every_one() -> None:
    verdicts = Verdicts(FleetModel("cpc-1"), scale.LANE.entries())
    ack = a_call("Configure", pb.ConfigureRequest(machine_id="m1"))
    for given_up in (*[True] * (MAX_GIVEN_UP_IN_A_ROW - 1), False, *[True] * (MAX_GIVEN_UP_IN_A_ROW - 1)):
        verdicts.note_configured(ack, given_up=given_up)
    assert verdicts.disagreements == 0
    verdicts.note_configured(ack, given_up=True)
    [found] = verdicts.found["LIF-1scale"]
    assert len(found.calls) == 3


# The meter.


def test_a_meter_keeps_its_counts_when_a_machine_is_forgotten() -> None:
    meter = Meter()
    for _ in range(3):
        assert meter.answered(Verb.CREATE, "m1", "op-1", 1.0, price=0.0)
        assert not meter.answered(Verb.CREATE, "m1", "op-1", 1.0, price=0.0)
        meter.forget("m1")
    assert meter.bill(2.0).create == 3
    assert meter.owners("op-1") == frozenset()


# The progress, and the figures, written and read back.


@pytest.mark.parametrize("phase", ["churn", "crowd"])
def test_the_progress_names_the_phase(phase: str) -> None:
    progress = ChurnProgress(
        phase=phase, at=1.0, share=1.0, operations=1, creates=1, machines=1, checks=1, facts=1, disagreements=0
    )
    assert progress.line.startswith(f"{phase}      100% · 1 transition · ")
    assert progress.as_json()["phase"] == phase


def measured() -> ScaleFigures:
    """Figures in which every field has a value."""
    sketch, sizes = QuantileSketch(), Sizes("List")
    for size in (4, 16, 64, 256):
        for _ in range(MIN_ANSWERS):
            sketch.add(0.25)
            sizes.add(size, 0.01)
    latencies, grown = {"List": sketch.summary()}, sizes.growth()
    assert grown is not None
    return ScaleFigures(
        soak="60s",
        machines=4,
        most_creates=40,
        seconds=60.0,
        operations=100,
        checks=10,
        facts=1_000,
        disagreements=0,
        pushed_back=1,
        disturbed=2,
        fleet=Fleet(fewest=16, most=20),
        latencies=latencies,
        growth=(grown,),
        budgets=budget.check(budget.parse_all(["list.max=200ms", "list.p50=1s", "get.p50=1s"]), latencies),
        memory=2**26,
        memory_growth=2**20,
    )


def test_written_figures_are_read_back() -> None:
    figures = measured()
    assert reader.read(json.loads(json.dumps(figures.as_json())), "scale") == figures


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"machines": -1}, "scale.machines"),
        ({"seconds": "60"}, "scale.seconds"),
        ({"fleet": None}, "scale.fleet"),
        ({"latencies": {"Lust": {}}}, "latencies"),
        ({"budgets": [{"budget": {"kind": "List", "measure": "p98", "seconds": 1.0}, "seconds": None}]}, "measure"),
        ({"growth": [{}]}, "scale.growth"),
    ],
)
def test_malformed_figures_are_named_by_their_place(change: dict[str, object], place: str) -> None:
    with pytest.raises(Malformed, match=place):
        reader.read(measured().as_json() | change, "scale")


def test_an_exceeded_budget_fails_the_run_and_an_unmeasured_one_makes_it_inconclusive() -> None:
    figures = measured()
    assert (figures.headline, figures.effect) == ("over budget", Effect.FAILED)
    assert [check.name for check in figures.failed_checks] == ["list.max"]
    rest = replace(figures, budgets=tuple(result for result in figures.budgets if not result.over))
    assert (rest.headline, rest.effect) == ("", Effect.INCONCLUSIVE)
    assert replace(figures, budgets=()).effect is Effect.NONE
    assert figures.repeat_options == ("--soak", "60s", "--max-machines", "4", "--max-creates", "40")


def test_the_sections_show_all_figures() -> None:
    lines = sections.lines(measured().sections)
    assert [line.split(" ")[0] for line in lines] == [
        *("OVER", "UNMEASURED", "budget", "scale", "model", "latency", "growth", "memory")
    ]
    assert lines[0] == "OVER       budget list.max: 250 ms, limit 200 ms"
    assert lines[3] == "scale      4 machines at once for 60s, 100 transitions (1.7/s), a fleet of 16 to 20"


def test_a_soak_keeps_only_the_last_lost_calls() -> None:
    with recording(RecentCalls(Timings())) as log:
        for _ in range(3 * LAST_CALLS):
            lost = a_call(answered=False)
            record(lost)
            note_unanswered(lost)
    assert len(log.calls) == LAST_CALLS
    assert len(log.unanswered) <= LAST_CALLS + 1
