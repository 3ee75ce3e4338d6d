"""Hypothesis settings and strategies for the kit's parsers: few fixed cases by default, many new ones on request."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from conformance.core.errors import UsageError
from tests.provider_process import ROUNDS

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = ROUNDS > 4
EXAMPLES = 250 * ROUNDS if LONG else 60
"""Cases per property. CI has the same cases each time, so that it is stable; the long form has new ones."""
SEARCH = settings(
    max_examples=EXAMPLES,
    derandomize=not LONG,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
SOME = settings(SEARCH, max_examples=max(12, EXAMPLES // 5))
"""For one of many options that are parsed in the same way."""
FEW = settings(SEARCH, max_examples=max(5, EXAMPLES // 10))
"""For cases that each need a server or a process."""

ANY = st.characters(exclude_categories=())
"""Includes surrogates: Python decodes bytes of an argument that are not UTF-8 to surrogates."""
AWKWARD = st.sampled_from(
    ["", "\0", "\n", "\r\nerror: no", "\x1b[2J", "\u202e", "\udcff", "-", "--", "=", ",", "*", "9" * 5000, "a" * 10_000]
)
TEXT = AWKWARD | st.text(ANY, max_size=20) | st.text("0123456789.,:=-_+*[]/%smhGET abcFENLIFd", max_size=20)


def refused(parse: Callable[..., Any], *arguments: Any, **options: Any) -> bool:
    """Returns whether `parse` raises a UsageError, which must have a hint. No other exception is allowed."""
    try:
        parse(*arguments, **options)
    except UsageError as error:
        check_error(error)
        return True
    return False


def typeable(text: str) -> bool:
    """Returns whether a command line or the environment can contain the text."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def check_error(error: UsageError) -> None:
    """Checks that the error has a message and a hint. `test_options.py` tests that each is printed in one line."""
    assert error.message.strip()
    assert error.hint


def near(text: str) -> st.SearchStrategy[str]:
    """Returns a strategy for texts similar to this one: a part of it is replaced, removed or repeated."""

    @st.composite
    def changed(draw: st.DrawFn) -> str:
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, len(text)))
        return text[:start] + draw(TEXT) + text[end:]

    return changed()


def ignoring_usage_errors(parse: Callable[[], Any]) -> None:
    """Calls `parse` and ignores a UsageError."""
    with suppress(UsageError):
        parse()
