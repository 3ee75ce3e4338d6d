"""What may leave the kit: no value of a `--header`, whoever repeats it, and no text without end.

A run and a sweep speak to the outside through one `Discretion` each. Whatever they emit, return or raise has passed
it, so that no log, no report and no error line has to think of it again.
"""

from __future__ import annotations

import base64
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import structs

from conformance.core.errors import ConformanceError
from conformance.core.fencing import Token
from conformance.core.text import MAX_SENT_CHARACTERS, clip
from conformance.results import events
from conformance.rpc.call_record import to_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conformance.results.report import Home, Report
    from conformance.results.result import Result
    from conformance.results.target_info import TargetInfo
    from conformance.rpc.call import CallView
    from conformance.rpc.call_record import CallRecord

SHORTEST = 4
"""A value of fewer characters stands in any text by chance, and is nobody's secret."""
SHORTEST_PART = 8
"""And so does a part of a value, as the token after `Bearer`, of fewer than these."""


class Redactor:
    """Says everything but the values of these headers."""

    def __init__(self, headers: Iterable[tuple[str, str]] = ()) -> None:
        marks = {form: f"[{key}: hidden]" for key, value in headers for form in _forms(value)}
        # The longest first: a part of a value is hidden as a part only where the whole is not there.
        self._marks = sorted(marks.items(), key=lambda pair: -len(pair[0]))
        self._told: dict[int, tuple[Result, Result]] = {}

    def hide(self, text: str) -> str:
        """`text` without a secret in it, and not without end."""
        for secret, mark in self._marks:
            text = text.replace(secret, mark)
            if "…" in text:
                text = _hide_cut(text, secret, mark)
        return clip(text)

    def tells(self, text: str) -> bool:
        """Whether `text` may be told as it is."""
        return self.hide(text) == text

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What is raised inside says nothing that is to be hidden."""
        try:
            yield
        except Exception as error:
            error.args = tuple(self.hide(each) if isinstance(each, str) else each for each in error.args)
            if isinstance(error, ConformanceError):
                error.message, error.hint = self.hide(error.message), error.hint and self.hide(error.hint)
            raise

    def event(self, event: events.Event) -> events.Event:
        """The event as it may be told."""
        match event:
            case events.RunStarted():
                return replace(event, found=self.found(event.found))
            case events.BehaviourStarted():
                return replace(event, machines=self._all(event.machines))
            case events.BehaviourFinished():
                return replace(event, result=self.result(event.result))
            case events.Noted():
                return replace(event, text=self.hide(event.text))
            case events.Progressed():
                return event
            case events.RunFinished():
                return replace(event, report=self.report(event.report))

    def report(self, report: Report) -> Report:
        """The report as it may be told."""
        return replace(
            report,
            found=report.found and self.found(report.found),
            results=tuple(map(self.result, report.results)),
            quarantined=self._pairs(report.quarantined),
            notes=self._all(report.notes),
            home=self.home(report.home),
            stopped=report.stopped and self.hide(report.stopped),
        )

    def home(self, home: Home) -> Home:
        """The home-coming as it may be told."""
        return replace(home, left=self._pairs(home.left), taken=self._pairs(home.taken))

    def result(self, result: Result) -> Result:
        """The result as it may be told. Its calls are left as they are where there is nothing in them to hide."""
        done = self._told.get(id(result))
        if done is None or done[0] is not result:
            harmless = not self._marks and all(map(_short, result.calls)) and all(map(self.tells, result.machines))
            told = replace(
                result,
                reason=self.hide(result.reason),
                wanted=self.hide(result.wanted),
                got=self.hide(result.got),
                machines=self._all(result.machines),
                calls=result.calls if harmless else tuple(self._kept(call, result.machines) for call in result.calls),
            )
            done = self._told[id(result)] = result, told
        return done[1]

    def _kept(self, call: CallView, machines: tuple[str, ...]) -> CallRecord:
        kept, token = to_record(call, machines), call.token
        return structs.replace(
            kept,
            machine_id=self.hide(kept.machine_id),
            token=token and Token(self.hide(token.shard), token.epoch, token.sequence),
            request=self.hide(kept.request),
            outcome_text=self.hide(kept.outcome_text),
            message=self._json(kept.message),
            states={self.hide(machine): state for machine, state in kept.states.items()},
        )

    def _json(self, value: Any) -> Any:
        match value:
            case str():
                return self.hide(value)
            case dict():
                return {self.hide(key): self._json(each) for key, each in value.items()}
            case list():
                return [self._json(each) for each in value]
            case _:
                return value

    def found(self, found: TargetInfo) -> TargetInfo:
        """What was found, fit to be told."""
        return replace(found, zones=self._all(found.zones), health=found.health and self.hide(found.health))

    def _all(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(self.hide, texts))

    def _pairs(self, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple((self.hide(one), self.hide(other)) for one, other in pairs)


def _short(call: CallView) -> bool:
    return len(call.machine_id) <= MAX_SENT_CHARACTERS and (
        call.token is None or len(call.token.shard) <= MAX_SENT_CHARACTERS
    )


def _forms(value: str) -> Iterator[str]:
    """All that is as good as a header's value to whoever reads it."""
    scheme, _, credentials = value.partition(" ")
    parts = value.split()
    if scheme.lower() == "basic":
        parts += _basic(credentials)
    secrets = {value} if len(value) >= SHORTEST else set()
    for secret in secrets | {part for part in parts if len(part) >= SHORTEST_PART}:
        yield from {secret, repr(secret)[1:-1], secret.replace("\\", "\\\\").replace("'", "\\'"), secret.encode().hex()}


def _basic(credentials: str) -> list[str]:
    """`user:password` and the password, of HTTP's basic credentials."""
    try:
        pair = base64.b64decode(credentials, validate=True).decode()
    except ValueError:
        return []
    return [pair, pair.partition(":")[2]]


def _hide_cut(text: str, secret: str, mark: str) -> str:
    """`text` without what was left of a secret where the text was cut: its head, and an ellipsis behind it."""
    pieces = text.split("…")
    for number, piece in enumerate(pieces[:-1]):
        for length in range(min(len(secret) - 1, len(piece)), SHORTEST - 1, -1):
            if piece.endswith(secret[:length]):
                pieces[number] = piece[:-length] + mark
                break
    return "…".join(pieces)
