"""The patience for transitions (`--patience`): seconds until a machine counts as stuck. Generous by default."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from conformance.core.errors import UsageError
from conformance.core.lifecycle import State, Verb, verb_in_progress
from conformance.core.value_types import Seconds

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h)?")

DEFAULT_PATIENCE_S: Final = 300.0


def parse_duration(text: str) -> float:
    """`90`, `1.5s`, `200ms`, `5m`, `1h30m` -> seconds. Raises UsageError for anything else, and for 0."""
    seconds, position, stripped = 0.0, 0, text.strip().lower()
    while position < len(stripped):
        match = _DURATION.match(stripped, position)
        if match is None or (match["unit"] is None and (position or match.end() != len(stripped))):
            break
        seconds += float(match["number"]) * _UNITS[match["unit"] or "s"]
        position = match.end()
    if not stripped or position != len(stripped) or not 0 < seconds < 1e9:
        raise UsageError(f"{text!r} is not a duration", hint="write 90s, 200ms, 5m or 1h30m, more than 0")
    return seconds


@dataclass(frozen=True, slots=True)
class Patience:
    """The maximum duration of a transition, in seconds per verb."""

    create: Seconds = DEFAULT_PATIENCE_S
    configure: Seconds = DEFAULT_PATIENCE_S
    drain: Seconds = DEFAULT_PATIENCE_S
    delete: Seconds = DEFAULT_PATIENCE_S

    def for_verb(self, verb: Verb) -> float:
        """Returns the seconds for a verb's transition."""
        seconds: float = getattr(self, verb.value.lower())
        return seconds

    def for_state(self, state: State) -> float:
        """Returns the seconds for the transition that a machine in `state` is in; the longest, if it is in none."""
        verb = verb_in_progress(state)
        return self.for_verb(verb) if verb else self.longest

    @property
    def longest(self) -> float:
        """The longest of the four, in seconds."""
        return max(self.create, self.configure, self.drain, self.delete)


def parse_patience(text: str) -> Patience:
    """`5m` for all verbs, or `create=20m,drain=1h` for some. Raises UsageError."""
    return Patience(**{verb.value.lower(): seconds for verb, seconds in parse_durations(text, what="patience").items()})


def parse_durations(text: str, *, what: str) -> dict[Verb, float]:
    """`5m` for all verbs, or `create=20m,drain=1h` for some -> seconds by verb. Raises UsageError naming `what`."""
    if "=" not in text:
        return dict.fromkeys(Verb, parse_duration(text))
    verbs, chosen = {verb.value.lower(): verb for verb in Verb}, dict[Verb, float]()
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name.lower() not in verbs:
            raise UsageError(
                f"{part.strip()!r} is not a valid {what}",
                hint="write 5m, or create=20m,configure=5m,drain=1h,delete=5m",
            )
        chosen[verbs[name.lower()]] = parse_duration(value)
    return chosen
