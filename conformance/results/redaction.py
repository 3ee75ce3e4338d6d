"""Removes secrets from all output: values of `--header`, even if the provider repeats them. Limits the length of text.

A run and a sweep have one `Redactor` each. All events, return values and errors pass it, so that logs, reports and
error messages need no redaction of their own.
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

MIN_SECRET_CHARACTERS = 4
"""Shorter values occur in texts by chance, and are not secrets."""
MIN_PART_CHARACTERS = 8
"""The same limit for a part of a value, such as the token after `Bearer`."""


class Redactor:
    """Redacts the values of these headers."""

    def __init__(self, headers: Iterable[tuple[str, str]] = ()) -> None:
        marks = {form: f"[{key}: redacted]" for key, value in headers for form in _forms(value)}
        # The longest first, so that a part is replaced only where the whole value does not occur.
        self._marks = sorted(marks.items(), key=lambda pair: -len(pair[0]))
        self._redacted: dict[int, tuple[Result, Result]] = {}

    def redact(self, text: str) -> str:
        """Returns `text` with secrets replaced by marks, truncated to a limit."""
        for secret, mark in self._marks:
            text = text.replace(secret, mark)
            if "…" in text:
                text = _redact_truncated(text, secret, mark)
        return clip(text)

    def is_clean(self, text: str) -> bool:
        """Returns whether redaction would not change `text`."""
        return self.redact(text) == text

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Redacts exceptions that are raised in the context."""
        try:
            yield
        except Exception as error:
            error.args = tuple(self.redact(each) if isinstance(each, str) else each for each in error.args)
            if isinstance(error, ConformanceError):
                error.message, error.hint = self.redact(error.message), error.hint and self.redact(error.hint)
            raise

    def event(self, event: events.Event) -> events.Event:
        """Returns the event with secrets redacted."""
        match event:
            case events.RunStarted():
                return replace(event, found=self.found(event.found))
            case events.BehaviourStarted():
                return replace(event, machines=self._all(event.machines))
            case events.BehaviourFinished():
                return replace(event, result=self.result(event.result))
            case events.Noted():
                return replace(event, text=self.redact(event.text))
            case events.Progressed():
                return event
            case events.RunFinished():
                return replace(event, report=self.report(event.report))

    def report(self, report: Report) -> Report:
        """Returns the report with secrets redacted."""
        return replace(
            report,
            found=report.found and self.found(report.found),
            results=tuple(map(self.result, report.results)),
            quarantined=self._pairs(report.quarantined),
            notes=self._all(report.notes),
            home=self.home(report.home),
            stopped=report.stopped and self.redact(report.stopped),
        )

    def home(self, home: Home) -> Home:
        """Returns the clean-up with secrets redacted."""
        return replace(
            home, left=self._pairs(home.left), taken=self._pairs(home.taken), failed=self._pairs(home.failed)
        )

    def result(self, result: Result) -> Result:
        """Returns the result with secrets redacted. Its calls are not copied if they cannot contain any."""
        done = self._redacted.get(id(result))
        if done is None or done[0] is not result:
            unchanged = not self._marks and all(map(_short, result.calls)) and all(map(self.is_clean, result.machines))
            redacted = replace(
                result,
                reason=self.redact(result.reason),
                wanted=self.redact(result.wanted),
                got=self.redact(result.got),
                machines=self._all(result.machines),
                calls=result.calls
                if unchanged
                else tuple(self._redacted_call(call, result.machines) for call in result.calls),
            )
            done = self._redacted[id(result)] = result, redacted
        return done[1]

    def _redacted_call(self, call: CallView, machines: tuple[str, ...]) -> CallRecord:
        record, token = to_record(call, machines), call.token
        return structs.replace(
            record,
            machine_id=self.redact(record.machine_id),
            token=token and Token(self.redact(token.shard), token.epoch, token.sequence),
            request=self.redact(record.request),
            outcome_text=self.redact(record.outcome_text),
            message=self._json(record.message),
            states={self.redact(machine): state for machine, state in record.states.items()},
        )

    def _json(self, value: Any) -> Any:
        match value:
            case str():
                return self.redact(value)
            case dict():
                return {self.redact(key): self._json(each) for key, each in value.items()}
            case list():
                return [self._json(each) for each in value]
            case _:
                return value

    def found(self, found: TargetInfo) -> TargetInfo:
        """Returns the target's properties with secrets redacted."""
        return replace(found, zones=self._all(found.zones), health=found.health and self.redact(found.health))

    def _all(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(self.redact, texts))

    def _pairs(self, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple((self.redact(one), self.redact(other)) for one, other in pairs)


def _short(call: CallView) -> bool:
    return len(call.machine_id) <= MAX_SENT_CHARACTERS and (
        call.token is None or len(call.token.shard) <= MAX_SENT_CHARACTERS
    )


def _forms(value: str) -> Iterator[str]:
    """Yields all forms of a header's value that reveal it: encoded, escaped, and its parts."""
    scheme, _, credentials = value.partition(" ")
    parts = value.split()
    if scheme.lower() == "basic":
        parts += _basic(credentials)
    secrets = {value} if len(value) >= MIN_SECRET_CHARACTERS else set()
    for secret in secrets | {part for part in parts if len(part) >= MIN_PART_CHARACTERS}:
        yield from {secret, repr(secret)[1:-1], secret.replace("\\", "\\\\").replace("'", "\\'"), secret.encode().hex()}


def _basic(credentials: str) -> list[str]:
    """Returns `user:password` and the password from HTTP basic credentials."""
    try:
        pair = base64.b64decode(credentials, validate=True).decode()
    except ValueError:
        return []
    return [pair, pair.partition(":")[2]]


def _redact_truncated(text: str, secret: str, mark: str) -> str:
    """Replaces the beginning of a secret that is followed by an ellipsis, because the text was truncated there."""
    pieces = text.split("…")
    for number, piece in enumerate(pieces[:-1]):
        for length in range(min(len(secret) - 1, len(piece)), MIN_SECRET_CHARACTERS - 1, -1):
            if piece.endswith(secret[:length]):
                pieces[number] = piece[:-length] + mark
                break
    return "…".join(pieces)
