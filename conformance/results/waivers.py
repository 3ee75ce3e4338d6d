"""Waivers: failures that are tolerated until a day, each with its reason and owner, and that cannot rot unseen.

A waiver tolerates one failure of one behaviour, told by its fingerprint. The behaviour runs all the same, and the
waiver itself fails the run where it has nothing to tolerate any more, or something else than it was made for.
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
WRITES_THEM = "`conformance waive --from report.json` writes entries that only lack reason and owner"
LONGEST_FAILURE = 300


class WaiverState(StrEnum):
    """What a run says of a waiver."""

    HOLDS = "holds"
    """The behaviour fails just as it was waived."""
    STALE = "stale"
    """It passes."""
    CHANGED = "changed"
    """It fails, and differently."""
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    """There is no such behaviour."""
    UNSEEN = "unseen"
    """It was skipped or could not be judged: whether it would still fail, nobody knows. That may be up to how the
    run was made, without TLS for one, and is no reason to take the waiver out. What was not judged is not tolerated
    either: a waiver is for a failure that is known."""
    NOT_RUN = "not run"
    """It was not selected."""

    @property
    def tolerates(self) -> bool:
        """Whether the behaviour's failure decides nothing."""
        return self is WaiverState.HOLDS

    @property
    def broken(self) -> bool:
        """Whether it fails the run."""
        return self in (WaiverState.STALE, WaiverState.CHANGED, WaiverState.EXPIRED, WaiverState.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """One failure that is tolerated through the day `expires`. `failure` tells people what was seen."""

    id: str
    reason: str
    owner: str
    expires: date
    fingerprint: str
    failure: str = ""

    @property
    def terms(self) -> str:
        """For how long, by whom and why."""
        return f"until {self.expires} by {self.owner}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waived:
    """A waiver, and what a run says of it: `detail` is a sentence with the mend in it, where one is needed."""

    waiver: Waiver
    standing: WaiverState
    detail: str = ""

    @property
    def id(self) -> str:
        """The behaviour's id."""
        return self.waiver.id


def judged(
    waivers: Iterable[Waiver], results: Iterable[Result], catalogue: Catalogue, *, today: date
) -> tuple[Waived, ...]:
    """Every waiver with what these results say of it."""
    ended = {result.id: result for result in results}
    return tuple(_judged(waiver, ended.get(waiver.id), catalogue, today) for waiver in waivers)


def standing(waiver: Waiver, result: Result, *, today: date) -> WaiverState:
    """What a behaviour's result says of its waiver."""
    broken = result.status in (Status.FAILED, Status.WARNED)
    if result.status is Status.PASSED:
        return WaiverState.STALE
    if waiver.expires < today:
        return WaiverState.EXPIRED
    if not broken:
        return WaiverState.UNSEEN
    return WaiverState.HOLDS if fingerprint.of(result) == waiver.fingerprint else WaiverState.CHANGED


def _judged(waiver: Waiver, result: Result | None, catalogue: Catalogue, today: date) -> Waived:
    if all(entry.id != waiver.id for entry in catalogue.entries):
        try:
            hint = str(catalogue[waiver.id].id)
        except UsageError as error:
            hint = error.hint or ""
        return Waived(waiver=waiver, standing=WaiverState.UNKNOWN, detail=f"no behaviour has this id; {hint}")
    if result is None:
        return Waived(waiver=waiver, standing=WaiverState.NOT_RUN)
    stands = standing(waiver, result, today=today)
    match stands:
        case WaiverState.STALE:
            detail = "it passes: take the waiver out"
        case WaiverState.CHANGED:
            was = f", not {waiver.failure}" if waiver.failure else ""
            detail = f"it fails differently: {failure(result)}{was}; look at it again, and waive it anew or mend it"
        case WaiverState.EXPIRED:
            detail = f"it was tolerated until {waiver.expires}: mend it, or ask {waiver.owner} for how long it still is"
        case WaiverState.UNSEEN:
            detail = f"{'skipped' if result.status is Status.SKIPPED else 'not judged'}: {result.reason}"
        case _:
            detail = ""
    return Waived(waiver=waiver, standing=stands, detail=detail)


def failure(result: Result) -> str:
    """A failure for people, as its fingerprint sees it."""
    wanted, got = fingerprint.told(result)
    return cut(f"wanted {wanted}; got {got}", LONGEST_FAILURE)


def made(result: Result, *, expires: date) -> Waiver:
    """A waiver of this failure that lacks reason and owner, and so will not be taken yet."""
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
    """The waivers in a file. Raises UsageError where it cannot be read, or one of them is not complete."""
    waivers = tuple(_parsed(path, name, body) for name, body in raw(path).items())
    for number, one in enumerate(waivers):
        if any(one.id == other.id for other in waivers[:number]):
            raise UsageError(f"waivers {path}: {cut(one.id)} is waived twice", hint="keep one of the entries")
    return waivers


def raw(path: Path) -> Mapping[str, Any]:
    """The entries of a file by their ids, complete or not. Raises UsageError."""
    try:
        whole = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"waivers {path}: {error.strerror}", hint=WRITES_THEM) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"waivers {path} is no TOML: {error}", hint=WRITES_THEM) from error
    entries = whole.pop("waiver", {})
    if whole or not isinstance(entries, dict):
        what = f"has {cut(next(iter(whole)))!r}" if whole else "has a `waiver` that is no table"
        raise UsageError(f"waivers {path} {what}", hint="each waiver is a table [waiver.FEN-3a]")
    return entries


def _parsed(path: Path, name: str, body: object) -> Waiver:
    def refuse(what: str, hint: str = WRITES_THEM) -> UsageError:
        return UsageError(f"waivers {path}: {cut(name)} {what}", hint=hint)

    if not isinstance(body, dict):
        raise refuse("is no table", f"each waiver is a table [waiver.{cut(name)}]")
    for key in sorted(body.keys() - KEYS):
        raise refuse(f"has an unknown key {cut(key)!r}", f"known are {', '.join(sorted(KEYS))}")
    for key in TEXTS:
        if not isinstance(body.get(key), str) or not body[key].strip():
            filled = key != "fingerprint"
            raise refuse(
                f"has no {key}", f"say {'why' if key == 'reason' else 'who'} in `{key}`" if filled else WRITES_THEM
            )
    if not re.fullmatch(r"\d+:[0-9a-f]{12}", body["fingerprint"]):
        raise refuse(f"has no fingerprint but {cut(body['fingerprint'])!r}")
    if not body["fingerprint"].startswith(f"{fingerprint.VERSION}:"):
        raise refuse("has a fingerprint of another release of the kit")
    return Waiver(
        id=_upright(name),
        reason=" ".join(body["reason"].split()),
        owner=" ".join(body["owner"].split()),
        expires=_day(body.get("expires"), refuse),
        fingerprint=body["fingerprint"],
        failure=str(body.get("failure", "")),
    )


def _upright(name: str) -> str:
    """An id as the catalogue writes it: `fen-3A` is FEN-3a."""
    head = name.rstrip(ascii_letters)
    return head.upper() + name[len(head) :].lower()


def _day(given: object, refuse: Any) -> date:
    try:
        given = date.fromisoformat(given) if isinstance(given, str) else given
    except ValueError:
        raise refuse(f"expires on {cut(str(given))!r}, which is no day", "write expires = 2031-12-31") from None
    if not isinstance(given, date) or isinstance(given, datetime):
        raise refuse("does not say when it expires", "write expires = 2031-12-31, the last day on which it holds")
    return given
