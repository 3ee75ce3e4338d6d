"""Waivers: failures that are tolerated until a date, each with a reason and an owner.

A waiver tolerates one failure of one behaviour, identified by its fingerprint, and what follows from it: the failures
whose cause it is in this run, and the behaviours that it lists in `covers`, failed or not judged. All behaviours still
run. The waiver itself fails the run if its behaviour passes, or fails in another way than the waived one.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from string import ascii_letters
from typing import TYPE_CHECKING, Any

from conformance.core.catalogue import clause_of
from conformance.core.errors import UsageError
from conformance.results import fingerprint
from conformance.results.causes import cause_ids, causes, dependencies
from conformance.results.result import Status
from conformance.rpc.call import cut

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from conformance.core.catalogue import Catalogue
    from conformance.results.result import Result

DEFAULT = "conformance-waivers.toml"
TEXTS = ("reason", "owner", "fingerprint")
KEYS = {*TEXTS, "expires", "failure", "covers"}
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
    covers: tuple[str, ...] = ()
    """The behaviours that failed or were not judged as a consequence, when the waiver was written."""

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
    covered: tuple[str, ...] = ()
    """The other behaviours whose failure, or missing judgement, it tolerates in this run."""

    @property
    def id(self) -> str:
        """The behaviour's id."""
        return self.waiver.id


def check_waivers(
    waivers: Iterable[Waiver], results: Iterable[Result], catalogue: Catalogue, *, today: date
) -> tuple[Waived, ...]:
    """Returns every waiver with its state in a run with these results."""
    results = tuple(results)
    by_id = {result.id: result for result in results}
    checked = [_check_waiver(waiver, by_id.get(waiver.id), catalogue, today) for waiver in waivers]
    if not any(waived.state.tolerates for waived in checked):
        return tuple(checked)
    cause_of, own = cause_ids(results), {waived.id for waived in checked}
    return tuple(
        replace(waived, covered=tuple(_covered(waived.waiver, by_id, cause_of, own)))
        if waived.state.tolerates
        else waived
        for waived in checked
    )


def _covered(
    waiver: Waiver, results: Mapping[str, Result], cause_of: Mapping[str, str], own: Collection[str]
) -> Iterator[str]:
    """Yields the behaviours without a waiver of their own that a waiver covers in this run.

    The cause of a failure may be a listed behaviour instead of the waived one: with another seed, another behaviour may
    be the first to fail. A behaviour that was not judged is covered only if it is listed.
    """
    causes = {waiver.id, *waiver.covers}
    for name, result in results.items():
        failed = result.status in (Status.FAILED, Status.WARNED)
        listed = name in waiver.covers and (failed or result.status is Status.ERROR)
        if name not in own and (listed or (failed and cause_of.get(name) in causes)):
            yield name


def state_of(waiver: Waiver, result: Result, *, today: date) -> WaiverState:
    """Returns the state of a waiver after its behaviour ended with `result`."""
    broken = result.status in (Status.FAILED, Status.WARNED)
    if result.status is Status.PASSED:
        return WaiverState.STALE
    if waiver.expires < today:
        return WaiverState.EXPIRED
    if not broken:
        return WaiverState.UNSEEN
    return WaiverState.HOLDS if fingerprint.identifies(waiver.fingerprint, result) else WaiverState.CHANGED


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


def new_waiver(
    result: Result, *, expires: date, covers: Iterable[str] = (), reason: str = "", owner: str = ""
) -> Waiver:
    """Returns a waiver of this failure. `load` refuses one without reason or owner until a user adds them."""
    return Waiver(
        id=result.id,
        reason=reason,
        owner=owner,
        expires=expires,
        fingerprint=fingerprint.of(result),
        failure=failure(result),
        covers=tuple(covers),
    )


def consequences(results: Sequence[Result]) -> Mapping[str, tuple[str, ...]]:
    """Returns for each cause the failures that follow from it, and the behaviours that were not judged because of it.

    A behaviour was not judged because of a cause if it depends on the cause or one of its consequences, directly or
    indirectly, or if its reason says that behaviours of that clause judge what was seen.
    """
    covered = {cause.root.id: [result.id for result in cause.consequences] for cause in causes(results)}
    root_of = {name: root for root, names in covered.items() for name in (root, *names)}
    rests_on = {result.id: result.entry.rests_on for result in results}
    for result in results:
        if result.status is Status.ERROR:
            nearest = next((name for name in dependencies(result.id, rests_on) if name in root_of), None)
            named = next((name for name in root_of if _names_clause(result.reason, clause_of(name))), None)
            if nearest or named:
                covered[root_of[nearest or named or ""]].append(result.id)
    return {root: tuple(names) for root, names in covered.items()}


def _names_clause(reason: str, clause: str) -> bool:
    return re.search(rf"\b{clause}\b", reason) is not None


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
    if body["fingerprint"].partition(":")[0] not in (fingerprint.VERSION, fingerprint.OLD_VERSION):
        raise error("has a fingerprint of another release of the kit")
    return Waiver(
        id=_normalized_id(name),
        reason=" ".join(body["reason"].split()),
        owner=" ".join(body["owner"].split()),
        expires=_day(body.get("expires"), error),
        fingerprint=body["fingerprint"],
        failure=str(body.get("failure", "")),
        covers=_covers(body.get("covers", []), error),
    )


def _covers(given: object, error: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise error("has an invalid `covers`", 'write covers = ["FEN-3a", "FEN-3b"]')
    return tuple(map(_normalized_id, given))


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
