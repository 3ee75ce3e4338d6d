"""How long transitions take."""

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
    """A length of time in seconds, somewhere from `low` to `high`."""

    low: float = 0.0
    high: float = 0.0

    def draw(self, rng: random.Random) -> float:
        """One length out of the span."""
        return self.low if self.low == self.high else rng.uniform(self.low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long each verb's transition takes. With zero a transition is over before its ack."""

    create: Span = Span()
    configure: Span = Span()
    drain: Span = Span()
    delete: Span = Span()

    @classmethod
    def every(cls, seconds: float) -> Self:
        """The same length for every verb."""
        span = Span(low=seconds, high=seconds)
        return cls(create=span, configure=span, drain=span, delete=span)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `200ms`, `1.5`, `100ms..300ms` or `create=1s..2s,drain=500ms`; raises ValueError.

        A part without a verb goes for all of them; a verb that is not named takes no time.
        """
        spans: dict[str, Span] = {}
        for part in text.split(","):
            verb, named, duration = part.rpartition("=")
            verb = verb.strip()
            if named and verb not in list(Verb):
                raise ValueError(f"{text!r}: {verb!r} is none of {', '.join(Verb)}")
            if verb in spans:
                raise ValueError(f"{text!r} says twice how long {verb or 'everything'} takes")
            spans[verb] = _span(duration, text)
        rest = spans.get("", Span())
        return cls(**{verb.value: spans.get(verb, rest) for verb in Verb})

    def draw(self, verb: Verb, rng: random.Random) -> float:
        """How long one transition takes, in seconds."""
        return self.span(verb).draw(rng)

    def span(self, verb: Verb) -> Span:
        """The span of one verb."""
        match verb:
            case Verb.CREATE:
                return self.create
            case Verb.CONFIGURE:
                return self.configure
            case Verb.DRAIN:
                return self.drain
            case Verb.DELETE:
                return self.delete


def _span(text: str, whole: str) -> Span:
    low, ranged, high = text.partition("..")
    span = Span(low=parse_seconds(low, whole), high=parse_seconds(high if ranged else low, whole))
    if span.high < span.low:
        raise ValueError(f"{whole!r}: the range {text.strip()!r} runs backwards")
    return span


def parse_seconds(text: str, whole: str | None = None) -> float:
    """Read one length of time, such as `200ms`, in seconds; raises ValueError, which quotes the whole."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        where = f"{whole!r}: " if whole is not None and whole != text else ""
        raise ValueError(f"{where}{text.strip()!r} is no duration, such as 200ms, 1.5s or 2")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds == math.inf:
        raise ValueError(f"{text.strip()[:20]!r}… is longer than anybody waits")
    return seconds
