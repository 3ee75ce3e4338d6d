"""Prepares what report.html draws, as compact JSON: the calls of every behaviour, and which machine each one used when.

Strings are in one table, each once; times are in microseconds on the run's clock. The numbers of a token are strings,
because they may be too large for JavaScript.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from conformance.core.lifecycle import State
from conformance.core.text import cut
from conformance.results.critical_path import began, critical_path, ended, ran

if TYPE_CHECKING:
    from conformance.results.report import Report
    from conformance.results.result import Result
    from conformance.rpc.call import CallView

LONGEST = 600
"""Strings longer than this many characters are cut."""
MOST_LANES = 8
"""The most lanes of a behaviour without machines of its own; its other calls share one."""

STATES = tuple(state.name for state in State)


class Strings:
    """A table of strings, each once, cut and printable."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        """Returns the index of `text` in the table."""
        return self._places.setdefault(cut(text, LONGEST), len(self._places))

    @property
    def table(self) -> list[str]:
        """Returns all strings in the order of their indices."""
        return list(self._places)


def embedded(report: Report) -> str:
    """Returns the data as JSON for a script element, in which no markup can end or hide it."""
    text = json.dumps(data(report), ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def data(report: Report) -> dict[str, Any]:
    """Returns the data as JSON's own types."""
    strings = Strings()
    began_in_order = sorted((result for result in report.results if ran(result)), key=began)
    fleet = {machine: None for result in began_in_order for machine in result.machines}
    places = {machine: place for place, machine in enumerate(fleet)}
    return {
        "states": STATES,
        "wall": _micros(report.time.wall),
        "machines": [strings(machine) for machine in fleet],
        "chain": [result.id for result in critical_path(report.results)],
        "spans": [
            [
                result.id,
                result.status.value,
                strings(result.entry.title),
                *map(_micros, (began(result), result.started, ended(result))),
                [places[machine] for machine in result.machines],
            ]
            for result in began_in_order
        ],
        "behaviours": {result.id: _behaviour(result, strings) for result in report.results if result.calls},
        "strings": strings.table,
    }


def _behaviour(result: Result, strings: Strings) -> dict[str, Any]:
    asked = dict.fromkeys(call.machine_id for call in result.calls if call.machine_id)
    lanes = result.machines or tuple(asked)[:MOST_LANES]
    places = {machine: place for place, machine in enumerate(lanes)}
    return {
        "started": _micros(result.started),
        "ended": _micros(ended(result)),
        "lanes": [strings(machine) for machine in lanes],
        "decisive": result.decisive,
        "calls": [_call(call, places, strings) for call in result.calls],
    }


def _call(call: CallView, places: dict[str, int], strings: Strings) -> list[Any]:
    """Returns RPC, lane (-1 for none), outcome, code, start, duration, request, answer, seen states and token."""
    seen = [
        number for machine, state in call.machine_states(places).items() for number in (places[machine], int(state))
    ]
    token = call.token
    return [
        strings(call.rpc),
        places.get(call.machine_id, -1),
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
    """Returns the outcome of a call as a letter: accepted, fenced, refused for another reason, unanswered."""
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
