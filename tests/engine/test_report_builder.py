"""The report of a target that could not be judged says what the options say, like every other report."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conformance.core.errors import TargetError
from conformance.engine.options import FAKE, Options, RunInfo
from conformance.engine.report_builder import not_judged
from conformance.results.breach import Breach, TargetBroken
from conformance.results.kit_coverage import KitCoverage
from conformance.results.result import Status, Verdict
from conformance.rpc.target import Target
from tests.runs import entry, judged, proof, provider

if TYPE_CHECKING:
    from conformance.results.report import Report

SAME = ("version", "seed", "strict", "whole", "asked", "coverage")
"""The fields that only the options decide."""


def options_of(**others: object) -> Options:
    info = RunInfo(version="1.2.3", whole=False, coverage=KitCoverage())
    return Options(seed=7, strict=True, require=("revisions",), examples=9, use_idle=True, info=info, **others)  # type: ignore[arg-type]


def test_a_run_that_judged_and_one_that_could_not_say_the_same_about_the_options() -> None:
    target = Target(address="127.0.0.1:1", headers=(("authorization", "Bearer secret"),))
    options = options_of()
    report = not_judged([entry()], TargetError("it refuses connections"), target, options=options)
    assert (report.strict, report.seed, report.version, report.whole) == (True, 7, "1.2.3", False)
    assert (report.asked.examples, report.asked.use_idle, report.asked.headers) == (9, True, ("authorization",))
    assert report.lacking == (), "the target's capabilities are unknown"
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.exit_code == 3


def test_both_reports_are_built_in_the_same_way() -> None:
    async def both() -> tuple[Report, Report]:
        done = await judged([proof()], provider(4), seed=7, strict=True, examples=9)
        other = Options(seed=7, strict=True, examples=9)
        return done, not_judged([entry()], TargetError("gone"), Target(address=done.target), options=other)

    done, undone = asyncio.run(both())
    assert [getattr(done, name) for name in ("strict", "seed", "target")] == [
        getattr(undone, name) for name in ("strict", "seed", "target")
    ]
    assert undone.asked.examples == done.asked.examples


def test_without_a_target_the_report_names_the_embedded_fake() -> None:
    report = not_judged([entry()], TargetError("no free port"), None, options=Options())
    assert (report.target, report.asked.server_name) == (FAKE, None)


def test_a_report_of_a_broken_target_contains_no_secret() -> None:
    secret = "a-secret-of-this-run"
    target = Target(address="127.0.0.1:1", headers=(("authorization", secret),))
    breach = Breach(behaviour="LST-3a", machine="", wanted="a set", got=f"{secret} twice", calls=())
    error = TargetBroken(TargetError(f"it said {secret}"), [breach])
    report = not_judged([entry("LST-3a")], error, target, options=Options())
    assert [(r.id, r.status) for r in report.results] == [("LST-3a", Status.FAILED)]
    assert report.exit_code == 1
    assert secret not in str(report)
