"""Prepares the data of the drawings in report.html as compact JSON: calls by behaviour, and machine use over time.

Strings are indices into one table. Times are in microseconds on the run's clock. The numbers of a token are strings,
because they may be too large for JavaScript.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from conformance.core.lifecycle import State
from conformance.core.text import cut
from conformance.results.critical_path import critical_path, end_time, has_run, start_time

if TYPE_CHECKING:
    from conformance.results.report import Report
    from conformance.results.result import Result
    from conformance.rpc.call import CallView

MAX_CHARACTERS = 600
"""Longer strings are truncated."""
MAX_LANES = 8
"""The maximum number of lanes of a behaviour without leased machines. Calls for other machines share one lane."""

STATES = tuple(state.name for state in State)


class Strings:
    """A table of unique strings, truncated and printable."""

    def __init__(self) -> None:
        self._indices: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        """Returns the index of `text` in the table."""
        return self._indices.setdefault(cut(text, MAX_CHARACTERS), len(self._indices))

    @property
    def table(self) -> list[str]:
        """Returns all strings in the order of their indices."""
        return list(self._indices)


def embedded(report: Report) -> str:
    """Returns the data as JSON for a script element. Markup characters are escaped, so that they cannot end it."""
    text = json.dumps(data(report), ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def data(report: Report) -> dict[str, Any]:
    """Returns the data as JSON types."""
    strings = Strings()
    by_start = sorted((result for result in report.results if has_run(result)), key=start_time)
    fleet = {machine: None for result in by_start for machine in result.machines}
    rows = {machine: row for row, machine in enumerate(fleet)}
    return {
        "states": STATES,
        "wall": _micros(report.time.wall),
        "machines": [strings(machine) for machine in fleet],
        "critical_path": [result.id for result in critical_path(report.results)],
        "spans": [
            [
                result.id,
                result.status.value,
                strings(result.entry.title),
                *map(_micros, (start_time(result), result.started, end_time(result))),
                [rows[machine] for machine in result.machines],
            ]
            for result in by_start
        ],
        "behaviours": {result.id: _behaviour(result, strings) for result in report.results if result.calls},
        "strings": strings.table,
    }


def _behaviour(result: Result, strings: Strings) -> dict[str, Any]:
    requested = dict.fromkeys(call.machine_id for call in result.calls if call.machine_id)
    lanes = result.machines or tuple(requested)[:MAX_LANES]
    lane_of = {machine: lane for lane, machine in enumerate(lanes)}
    return {
        "started": _micros(result.started),
        "ended": _micros(end_time(result)),
        "lanes": [strings(machine) for machine in lanes],
        "decisive": result.decisive,
        "calls": [_call(call, lane_of, strings) for call in result.calls],
    }


def _call(call: CallView, lane_of: dict[str, int], strings: Strings) -> list[Any]:
    """Returns RPC, lane (-1 for none), outcome, code, start, duration, request, answer, seen states and token."""
    seen = [
        number for machine, state in call.machine_states(lane_of).items() for number in (lane_of[machine], int(state))
    ]
    token = call.token
    return [
        strings(call.rpc),
        lane_of.get(call.machine_id, -1),
        outcome_kind(call),
        strings(call.code.name),
        _micros(call.started),
        _micros(max(0.0, call.ended - call.started)),
        strings(call.request_text()),
        strings(call.outcome()),
        seen,
        *([] if token is None else [strings(token.shard), str(token.epoch), str(token.sequence)]),
    ]


def outcome_kind(call: CallView) -> str:
    """Returns the outcome of a call as a letter: (a)ccepted, (f)enced, otherwise (r)efused, (u)nanswered."""
    match call.answered, call.code.name:
        case False, _:
            return "u"
        case _, "OK":
            return "a"
        case _, "FAILED_PRECONDITION" if call.token is not None:
            return "f"
        case _:
            return "r"


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)
