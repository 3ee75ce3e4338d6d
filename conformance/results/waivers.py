"""Waivers: failures that are tolerated until a date, each with a reason and an owner.

A waiver tolerates one failure of one behaviour, identified by its fingerprint. The behaviour still runs. The waiver
itself fails the run if the behaviour passes, or fails in another way than the waived one.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from string import ascii_letters
from typing import TYPE_CHECKING, Any

from conformance.core.errors import UsageError
from conformance.results import fingerprint
from conformance.results.result import Status
from conformance.rpc.call import cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from conformance.core.catalogue import Catalogue
    from conformance.results.result import Result

DEFAULT = "conformance-waivers.toml"
TEXTS = ("reason", "owner", "fingerprint")
KEYS = {*TEXTS, "expires", "failure"}
HOW_TO_WRITE = "run `conformance waive --from report.json` to write entries, then add reason and owner"
MAX_FAILURE_CHARACTERS = 300


class WaiverState(StrEnum):
    """The state of a waiver in a run."""

    HOLDS = "holds"
    """The behaviour fails in the waived way."""
    STALE = "stale"
    """The behaviour passes."""
    CHANGED = "changed"
    """The behaviour fails in another way."""
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    """No behaviour has this id."""
    UNSEEN = "unseen"
    """The behaviour was skipped or not judged, for example because the run had no TLS. This is not a reason to remove
    the waiver. The waiver does not make such a result tolerated: it is for the known failure only."""
    NOT_RUN = "not run"
    """The behaviour was not selected."""

    @property
    def tolerates(self) -> bool:
        """True if the behaviour's failure does not count for the verdict."""
        return self is WaiverState.HOLDS

    @property
    def broken(self) -> bool:
        """True if the waiver itself fails the run."""
        return self in (WaiverState.STALE, WaiverState.CHANGED, WaiverState.EXPIRED, WaiverState.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A failure that is tolerated through the day `expires`. `failure` describes it for users."""

    id: str
    reason: str
    owner: str
    expires: date
    fingerprint: str
    failure: str = ""

    @property
    def terms(self) -> str:
        """The last day, the owner and the reason."""
        return f"until {self.expires} by {self.owner}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waived:
    """A waiver with its state in a run. `detail` explains the state and the fix, if one is needed."""

    waiver: Waiver
    state: WaiverState
    detail: str = ""

    @property
    def id(self) -> str:
        """The behaviour's id."""
        return self.waiver.id


def check_waivers(
    waivers: Iterable[Waiver], results: Iterable[Result], catalogue: Catalogue, *, today: date
) -> tuple[Waived, ...]:
    """Returns every waiver with its state in a run with these results."""
    by_id = {result.id: result for result in results}
    return tuple(_check_waiver(waiver, by_id.get(waiver.id), catalogue, today) for waiver in waivers)


def state_of(waiver: Waiver, result: Result, *, today: date) -> WaiverState:
    """Returns the state of a waiver after its behaviour ended with `result`."""
    broken = result.status in (Status.FAILED, Status.WARNED)
    if result.status is Status.PASSED:
        return WaiverState.STALE
    if waiver.expires < today:
        return WaiverState.EXPIRED
    if not broken:
        return WaiverState.UNSEEN
    return WaiverState.HOLDS if fingerprint.of(result) == waiver.fingerprint else WaiverState.CHANGED


def _check_waiver(waiver: Waiver, result: Result | None, catalogue: Catalogue, today: date) -> Waived:
    if all(entry.id != waiver.id for entry in catalogue.entries):
        try:
            hint = str(catalogue[waiver.id].id)
        except UsageError as error:
            hint = error.hint or ""
        return Waived(waiver=waiver, state=WaiverState.UNKNOWN, detail=f"no behaviour has this id; {hint}")
    if result is None:
        return Waived(waiver=waiver, state=WaiverState.NOT_RUN)
    state = state_of(waiver, result, today=today)
    match state:
        case WaiverState.STALE:
            detail = "the behaviour passes; remove the waiver"
        case WaiverState.CHANGED:
            was = f", not {waiver.failure}" if waiver.failure else ""
            detail = f"the behaviour fails in another way: {failure(result)}{was}; fix it, or waive it again"
        case WaiverState.EXPIRED:
            detail = f"the last day was {waiver.expires}; fix the failure, or ask {waiver.owner} for a new date"
        case WaiverState.UNSEEN:
            detail = f"{'skipped' if result.status is Status.SKIPPED else 'not judged'}: {result.reason}"
        case _:
            detail = ""
    return Waived(waiver=waiver, state=state, detail=detail)


def failure(result: Result) -> str:
    """Returns the normalized failure that the fingerprint covers, as text."""
    wanted, got = fingerprint.normalized(result)
    return cut(f"wanted {wanted}; got {got}", MAX_FAILURE_CHARACTERS)


def new_waiver(result: Result, *, expires: date) -> Waiver:
    """Returns a waiver of this failure without reason and owner, which `load` refuses until a user adds them."""
    return Waiver(
        id=result.id,
        reason="",
        owner="",
        expires=expires,
        fingerprint=fingerprint.of(result),
        failure=failure(result),
    )


# The file.


def load(path: Path) -> tuple[Waiver, ...]:
    """Returns the waivers in a file. Raises UsageError if it cannot be read or an entry is not complete."""
    waivers = tuple(_parsed(path, name, body) for name, body in raw(path).items())
    for number, one in enumerate(waivers):
        if any(one.id == other.id for other in waivers[:number]):
            raise UsageError(f"waivers {path}: {cut(one.id)} has two waivers", hint="remove one of the entries")
    return waivers


def raw(path: Path) -> Mapping[str, Any]:
    """Returns the entries of a file by id, also incomplete ones. Raises UsageError."""
    try:
        whole = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"waivers {path}: {error.strerror}", hint=HOW_TO_WRITE) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"waivers {path} is not valid TOML: {error}", hint=HOW_TO_WRITE) from error
    entries = whole.pop("waiver", {})
    if whole or not isinstance(entries, dict):
        what = f"has an unknown key {cut(next(iter(whole)))!r}" if whole else "has a `waiver` that is not a table"
        raise UsageError(f"waivers {path} {what}", hint="each waiver is a table [waiver.FEN-3a]")
    return entries


def _parsed(path: Path, name: str, body: object) -> Waiver:
    def error(problem: str, hint: str = HOW_TO_WRITE) -> UsageError:
        return UsageError(f"waivers {path}: {cut(name)} {problem}", hint=hint)

    if not isinstance(body, dict):
        raise error("is not a table", f"each waiver is a table [waiver.{cut(name)}]")
    for key in sorted(body.keys() - KEYS):
        raise error(f"has an unknown key {cut(key)!r}", f"known keys are {', '.join(sorted(KEYS))}")
    for key in TEXTS:
        if not isinstance(body.get(key), str) or not body[key].strip():
            filled = key != "fingerprint"
            raise error(f"has no {key}", f'add `{key} = "…"`' if filled else HOW_TO_WRITE)
    if not re.fullmatch(r"\d+:[0-9a-f]{12}", body["fingerprint"]):
        raise error(f"has an invalid fingerprint {cut(body['fingerprint'])!r}")
    if not body["fingerprint"].startswith(f"{fingerprint.VERSION}:"):
        raise error("has a fingerprint of another release of the kit")
    return Waiver(
        id=_normalized_id(name),
        reason=" ".join(body["reason"].split()),
        owner=" ".join(body["owner"].split()),
        expires=_day(body.get("expires"), error),
        fingerprint=body["fingerprint"],
        failure=str(body.get("failure", "")),
    )


def _normalized_id(name: str) -> str:
    """Returns an id as the catalogue writes it: FEN-3a for `fen-3A`."""
    head = name.rstrip(ascii_letters)
    return head.upper() + name[len(head) :].lower()


def _day(given: object, error: Any) -> date:
    try:
        given = date.fromisoformat(given) if isinstance(given, str) else given
    except ValueError:
        raise error(f"has an invalid date in `expires`: {cut(str(given))!r}", "write expires = 2031-12-31") from None
    if not isinstance(given, date) or isinstance(given, datetime):
        raise error("has no date in `expires`", "write expires = 2031-12-31, the last day of the waiver")
    return given
