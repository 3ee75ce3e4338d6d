"""Explains the evidence of a failure: the role of each decisive call, and commands that repeat the failure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from conformance.results import grpcurl
from conformance.results.profiles import SUITE
from conformance.rpc import http_answer

if TYPE_CHECKING:
    from conformance.core.fencing import Token
    from conformance.results.lane_figures import LaneFigures
    from conformance.results.report import Report
    from conformance.results.result import Result
    from conformance.rpc.call import CallView


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """A decisive call: its index in the result's calls, its role, and the reason."""

    number: int
    call: CallView
    role: str
    why: str = ""


def exhibits(result: Result) -> tuple[Exhibit, ...]:
    """Returns the decisive calls of a failure in order; empty if nothing failed."""
    calls = [(number, result.calls[number]) for number in result.decisive]
    mark = _mark(result)
    return tuple(
        Exhibit(
            number=number,
            call=call,
            role=_role(result, call, mark, alone=len(calls) == 1),
            why=_why(call.token, mark.token) if mark is not None and call is not mark else "",
        )
        for number, call in calls
    )


def _mark(result: Result) -> CallView | None:
    """Returns the call that set the mark for the other decisive calls; None if the fence is not judged."""
    decisive = [result.calls[number] for number in result.decisive]
    if "fence" not in result.wanted or len(decisive) < 2:
        return None
    mark, *judged = decisive
    if mark.token is None or any(c.token is None or c.token.shard != mark.token.shard for c in judged):
        return None
    return mark


def _role(result: Result, call: CallView, mark: CallView | None, *, alone: bool) -> str:
    if call is mark:
        return "This call set the mark"
    if result.wanted.startswith(f"{call.rpc} with token "):
        if "to be fenced" in result.wanted:
            return "This call should have been fenced"
        if "to pass the fence" in result.wanted:
            return "This call should have passed the fence"
    return "This call shows the failure" if alone else "One of the calls that show the failure"


def _why(token: Token | None, mark: Token | None) -> str:
    """Returns a sentence that compares a token with the mark."""
    if token is None or mark is None:
        return ""
    if token.numbers == mark.numbers:
        comparison = "The token is equal to the mark, and an equal token is not newer"
    elif token.epoch != mark.epoch:
        comparison = (
            f"Epoch {token.epoch} is {'older' if token.epoch < mark.epoch else 'newer'} than the mark's {mark.epoch}"
        )
    else:
        older = token.sequence < mark.sequence
        comparison = (
            f"In the same epoch, sequence {token.sequence} is {'older' if older else 'newer'}"
            f" than the mark's {mark.sequence}"
        )
    return f"{comparison}."


def hints(result: Result) -> tuple[str, ...]:
    """Returns a hint for each kind of answer that the result cites and that does not come from the provider itself."""
    cited = [result.got, result.reason, *(result.calls[number].outcome() for number in result.decisive)]
    return tuple(dict.fromkeys(hint for text in cited if (hint := http_answer.hint(text))))


def rerun(report: Report, result: Result) -> str:
    """Returns the command that judges one behaviour again with the options of this run."""
    if report.figures is not None:
        return rerun_lane(report, report.figures)
    ledger = PurePath(report.ledger)
    if ledger.name == "ledger.ndjson":  # a report directory
        return shlex.join(["conformance", "replay", str(ledger.with_name("events.ndjson")), result.id])
    faults = [part for fault in report.asked.faults for part in ("--fault", fault)]
    lane = [*(["--lane", report.coverage.lane] if report.coverage.lane else []), *report.asked.lane_options]
    lane = [] if lane == ["--lane", SUITE] else lane
    options = [*lane, "--select", result.id, "--seed", str(report.seed), *faults]
    return shlex.join(["conformance-run", *_target(report), *options])


def rerun_lane(report: Report, figures: LaneFigures) -> str:
    """Returns the command that repeats a lane's run with the same options."""
    lane = ["--lane", figures.lane, *figures.repeat_options, "--seed", str(report.seed)]
    return shlex.join(["conformance-run", *_target(report), *lane])


def _target(report: Report) -> list[str]:
    if report.asked.fake:
        return ["--fake"]
    started = "provider-cmd" in report.asked.commands
    target = [] if started else ["--target", report.target]
    return [*target, *(word for name in report.asked.commands for word in (f"--{name}", "CMD"))]


def repeat_commands(report: Report, result: Result) -> tuple[str, ...]:
    """Returns commands that repeat a failure: the behaviour, its description, and its decisive calls."""
    sent = grpcurl.lines(report, result, decisive=True)
    return (
        rerun(report, result),
        f"conformance show {result.id}",
        *([grpcurl.DESCRIPTORS] if sent else []),
        *sent,
    )
