"""report.json, format 1: everything that is known of a run, for programs. Its schema is report.schema.json."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from conformance.call import cut
from conformance.errors import UsageError
from conformance.report import FORMAT, causes
from conformance.reporters import comparison

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from conformance.call import Told
    from conformance.found import Found
    from conformance.report import Report, Result
    from conformance.waiver import Waived


def render(report: Report) -> str:
    """The report as JSON."""
    return json.dumps(as_dict(report), indent=1, ensure_ascii=False) + "\n"


def failed_in(path: Path) -> tuple[str, ...]:
    """The ids of what did not pass in the report.json at `path`. Raises UsageError where that cannot be told."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        failed = tuple(str(b["id"]) for b in report["behaviours"] if b["status"] in ("failed", "error", "warned"))
    except OSError as error:
        raise UsageError(f"--baseline {path}: {error.strerror}", hint="give an earlier report.json") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--baseline {path} is no report.json", hint="give one that --report-dir wrote") from error
    if not failed:
        raise UsageError(f"nothing failed in {path}", hint="drop --select failed to run everything")
    return failed


def as_dict(report: Report) -> dict[str, Any]:
    """The report as JSON's own types."""
    follows = {result.id: cause.root.id for cause in causes(report.results) for result in cause.consequences}
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
        "behaviours": [{**result_dict(result), "cause": follows.get(result.id)} for result in report.results],
        "quarantined": [{"machine": machine, "reason": reason} for machine, reason in report.quarantined],
        "notes": list(report.notes),
        "bill": dataclasses.asdict(report.bill),
        "time": dataclasses.asdict(report.time),
        "rpcs": report.rpcs,
        "home": {
            "clean": report.home.clean,
            "left": [machine for machine, _ in report.home.left],
            "reasons": dict(report.home.left),
            "kept": report.home.kept,
        },
        "ledger": report.ledger,
    }


def waived_dict(waived: Waived) -> dict[str, Any]:
    """A waiver, and what the run says of it."""
    waiver = dataclasses.asdict(waived.waiver)
    return {**waiver, "expires": str(waived.waiver.expires), "standing": waived.standing.value, "detail": waived.detail}


def found_dict(found: Found | None) -> dict[str, Any]:
    """What was found at the target; empty where it could not be reached."""
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
    }


def result_dict(result: Result) -> dict[str, Any]:
    """One behaviour with its calls."""
    return {
        "id": result.entry.id,
        "clause": result.entry.clause.id,
        "level": result.entry.level.value,
        "title": result.entry.title,
        "status": result.status.value,
        "reason": result.reason,
        "wanted": result.wanted,
        "got": result.got,
        "started": round(result.started, 6),
        "seconds": round(result.seconds, 6),
        "machines": list(result.machines),
        "calls": [call_dict(call, result.machines) for call in result.calls],
        "decisive": list(result.decisive),
    }


def call_dict(call: Told, machines: Collection[str]) -> dict[str, Any]:
    """One call, without secrets: no blob, metadata values cut."""
    token = call.token
    return {
        "rpc": call.rpc,
        "machine": cut(call.machine_id, 200),
        "token": None
        if token is None
        else {"shard": cut(token.shard, 200), "epoch": token.epoch, "sequence": token.sequence},
        "request": call.asked(),
        "sent": call.sent(),
        "code": call.code.name,
        "answered": call.answered,
        "outcome": call.outcome(),
        "seen": {machine: state.name for machine, state in call.seen(machines).items()},
        "at": round(call.started, 6),
        "seconds": round(call.ended - call.started, 6),
    }
