"""Writes report.json, format 1, with all data of a run. Its schema is report.schema.json."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

from conformance.reporters import comparison
from conformance.results import profiles
from conformance.results.causes import cause_ids
from conformance.results.report import FORMAT
from conformance.rpc.call import CLOCK_DECIMALS

if TYPE_CHECKING:
    from collections.abc import Collection

    from conformance.core.catalogue import Entry
    from conformance.results.bill import Bill
    from conformance.results.kit_coverage import KitCoverage
    from conformance.results.profiles import SectionCoverage
    from conformance.results.replay_options import ReplayOptions
    from conformance.results.report import Report
    from conformance.results.result import Result
    from conformance.results.target_info import TargetInfo
    from conformance.results.waivers import Waived
    from conformance.rpc.call import CallView


_UNSAFE_TO_DISPLAY = re.compile(
    r"[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff\ud800-\udfff]"
)
"""Control, text direction and invisible characters, line separators, and unpaired surrogates."""


def render(report: Report) -> str:
    """Returns the report as JSON."""
    return dumps(as_dict(report), indent=1) + "\n"


def dumps(value: object, *, indent: int | None = None) -> str:
    """Returns `value` as JSON that is safe to write as UTF-8 and to display: control characters are escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return text if text.isascii() else _UNSAFE_TO_DISPLAY.sub(lambda match: json.dumps(match[0])[1:-1], text)


def as_dict(report: Report) -> dict[str, Any]:
    """Returns the report as JSON types."""
    cause_of = cause_ids(report.results)
    return {
        "format": FORMAT,
        "verdict": report.verdict.value,
        "kit": report.version,
        "run": report.run,
        "started": report.started,
        "target": report.target,
        "found": found_dict(report.found),
        "seed": report.seed,
        "strict": report.strict,
        "lacking": list(report.lacking),
        "stopped": report.stopped,
        "whole": report.whole,
        "waivers_file": report.waivers_file,
        "waivers": [waived_dict(waived) for waived in report.waivers],
        "comparison": comparison.as_dict(report.comparison) if report.comparison is not None else None,
        "behaviours": [{**result_dict(result), "cause": cause_of.get(result.id)} for result in report.results],
        "quarantined": [{"machine": machine, "reason": reason} for machine, reason in report.quarantined],
        "notes": list(report.notes),
        "bill": bill_dict(report.bill),
        "time": dataclasses.asdict(report.time),
        "rpcs": report.rpcs,
        "home": {
            "clean": report.home.clean,
            "left": [machine for machine, _ in report.home.left],
            "reasons": dict(report.home.left),
            "taken": dict(report.home.taken),
            "failed": dict(report.home.failed),
            "kept": report.home.kept,
            "known": report.home.known,
        },
        "ledger": report.ledger,
        "asked": asked_dict(report.asked),
        "profiles": [
            {
                "name": claim.profile.name,
                "purpose": claim.profile.purpose,
                "claimed": claim.claimed,
                "reason": claim.reason,
            }
            for claim in profiles.claims(report)
        ],
        "coverage": coverage_dict(report.coverage) | {"sections": [_section(s) for s in profiles.coverage(report)]},
        **figures_dict(report),
        "weather": dataclasses.asdict(report.weather) if report.weather is not None else None,
        "took": {verb: round(seconds, 6) for verb, seconds in report.took.items()},
        "held": {kind: round(seconds, 3) for kind, seconds in report.held.items()},
    }


def coverage_dict(coverage: KitCoverage) -> dict[str, Any]:
    """Returns the lane of a run, and the clauses that each lane of that release judges."""
    return {"lane": coverage.lane, "lanes": {lane: list(clauses) for lane, clauses in coverage.lanes.items()}}


def _section(covered: SectionCoverage) -> dict[str, Any]:
    section = covered.section
    return {
        "area": section.area,
        "number": section.number,
        "title": section.title,
        "judged": list(covered.judged),
        "unjudged": dict(covered.unjudged),
    }


def figures_dict(report: Report) -> dict[str, Any]:
    """Returns the figures of a lane under the lane's name.

    All reports of format 1 have the key `scale`; the key of any other lane is only in that lane's reports.
    """
    figures = report.figures
    return {"scale": None} | ({figures.lane: figures.as_json()} if figures is not None else {})


def waived_dict(waived: Waived) -> dict[str, Any]:
    """Returns a waiver with its state in the run."""
    return {
        **dataclasses.asdict(waived.waiver),
        "expires": str(waived.waiver.expires),
        "covers": list(waived.waiver.covers),
        "standing": waived.state.value,
        "detail": waived.detail,
        "covered": list(waived.covered),
    }


def bill_dict(bill: Bill) -> dict[str, Any]:
    """Returns the cost of a run."""
    return dataclasses.asdict(bill)


def found_dict(found: TargetInfo | None) -> dict[str, Any]:
    """Returns the target's properties; empty if it was not reached."""
    if found is None:
        return {}
    return {
        "fleet": found.fleet,
        "delete": found.delete,
        "revisions": found.revisions,
        "fence_scope": found.fence_scope,
        "tls": found.tls,
        "client_certificate": found.client_certificate,
        "health": found.health,
        "reflection": found.reflection,
        "spot": found.spot,
        "zones": list(found.zones),
        "capacity_types": list(found.capacity_types),
    }


def asked_dict(asked: ReplayOptions) -> dict[str, Any]:
    """Returns the options that a replay must repeat."""
    lists = {
        "headers": list(asked.headers),
        "faults": list(asked.faults),
        "lane_options": list(asked.lane_options),
        "commands": list(asked.commands),
    }
    return {**dataclasses.asdict(asked), **lists}


def entry_dict(entry: Entry) -> dict[str, Any]:
    """Returns a behaviour with its catalogue entry, because another release may have another catalogue."""
    return {
        "id": entry.id,
        "clause": entry.clause.id,
        "level": entry.level.value,
        "title": entry.title,
        "observed": entry.observed,
        "clause_level": entry.clause.level.value,
        "clause_text": entry.clause.text,
        "since": entry.since,
        "needs": list(entry.needs),
        "rests_on": list(entry.rests_on),
    }


def result_dict(result: Result) -> dict[str, Any]:
    """Returns the result of a behaviour with its calls."""
    return {
        **entry_dict(result.entry),
        "status": result.status.value,
        "reason": result.reason,
        "wanted": result.wanted,
        "got": result.got,
        "started": round(result.started, CLOCK_DECIMALS),
        "seconds": round(result.seconds, CLOCK_DECIMALS),
        "machines": list(result.machines),
        "calls": [call_dict(call, result.machines) for call in result.calls],
        "decisive": list(result.decisive),
    }


def call_dict(call: CallView, machines: Collection[str]) -> dict[str, Any]:
    """Returns one call without secrets: no bootstrap blob, metadata values truncated."""
    token = call.token
    return {
        "rpc": call.rpc,
        "machine": call.machine_id,
        "token": token and {"shard": token.shard, "epoch": token.epoch, "sequence": token.sequence},
        "request": call.request_text(),
        "sent": call.request_json(),
        "code": call.code.name,
        "answered": call.answered,
        "outcome": call.outcome(),
        "seen": {machine: state.name for machine, state in call.machine_states(machines).items()},
        "at": round(call.started, CLOCK_DECIMALS),
        "seconds": round(call.ended - call.started, CLOCK_DECIMALS),
    }
