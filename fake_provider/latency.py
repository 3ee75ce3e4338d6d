"""The durations of transitions."""

import math
import random
import re
from dataclasses import dataclass
from typing import Self

from fake_provider.machine import Verb

_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A range of durations in seconds, from `low` to `high`."""

    low: float = 0.0
    high: float = 0.0

    def draw(self, rng: random.Random) -> float:
        """Returns a random duration from the range, in seconds."""
        return self.low if self.low == self.high else rng.uniform(self.low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The duration of each verb's transition. With 0, a transition ends before its ack."""

    create: Span = Span()
    configure: Span = Span()
    drain: Span = Span()
    delete: Span = Span()

    @classmethod
    def every(cls, seconds: float) -> Self:
        """Returns the same duration for every verb."""
        span = Span(low=seconds, high=seconds)
        return cls(create=span, configure=span, drain=span, delete=span)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses `200ms`, `1.5`, `100ms..300ms` or `create=1s..2s,drain=500ms`. Raises ValueError.

        A part without a verb applies to all verbs that are not named; without such a part, they take no time.
        """
        spans: dict[str, Span] = {}
        for part in text.split(","):
            verb, has_verb, duration = part.rpartition("=")
            verb = verb.strip()
            if has_verb and verb not in list(Verb):
                raise ValueError(f"{text!r}: {verb!r} is not one of {', '.join(Verb)}")
            if verb in spans:
                raise ValueError(f"{text!r} has two durations for {verb or 'all verbs'}")
            spans[verb] = _parse_span(duration, text)
        rest = spans.get("", Span())
        return cls(**{verb.value: spans.get(verb, rest) for verb in Verb})

    def draw(self, verb: Verb, rng: random.Random) -> float:
        """Returns the duration of one transition, in seconds."""
        return self.span(verb).draw(rng)

    def span(self, verb: Verb) -> Span:
        """Returns the range of durations of a verb."""
        match verb:
            case Verb.CREATE:
                return self.create
            case Verb.CONFIGURE:
                return self.configure
            case Verb.DRAIN:
                return self.drain
            case Verb.DELETE:
                return self.delete


def _parse_span(text: str, whole: str) -> Span:
    low, is_range, high = text.partition("..")
    span = Span(low=parse_seconds(low, whole), high=parse_seconds(high if is_range else low, whole))
    if span.high < span.low:
        raise ValueError(f"{whole!r}: the range {text.strip()!r} ends below its start")
    return span


def parse_seconds(text: str, whole: str | None = None) -> float:
    """Returns a duration such as `200ms` in seconds. Raises ValueError, which quotes `whole` if it is given."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        context = f"{whole!r}: " if whole is not None and whole != text else ""
        raise ValueError(f"{context}{text.strip()!r} is not a duration, such as 200ms, 1.5s or 2")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds == math.inf:
        raise ValueError(f"{text.strip()[:20]!r}… is too long a duration")
    return seconds
