"""How the kit's own parsers are searched: the same cases every day, and new ones by the thousand where asked for."""

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
"""Cases per property. CI has the same each time, so that it never fails for nothing; the long form has new ones."""
SEARCH = settings(
    max_examples=EXAMPLES,
    derandomize=not LONG,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
SOME = settings(SEARCH, max_examples=max(12, EXAMPLES // 5))
"""For one of very many things that are parsed alike."""
FEW = settings(SEARCH, max_examples=max(5, EXAMPLES // 10))
"""For what costs a server or a process each time."""

ANY = st.characters(exclude_categories=())
"""Surrogates too: this is how Python hands over what in an argument is not UTF-8."""
AWKWARD = st.sampled_from(
    ["", "\0", "\n", "\r\nerror: no", "\x1b[2J", "\u202e", "\udcff", "-", "--", "=", ",", "*", "9" * 5000, "a" * 10_000]
)
TEXT = AWKWARD | st.text(ANY, max_size=20) | st.text("0123456789.,:=-_+*[]/%smhGET abcFENLIFd", max_size=20)


def refused(parse: Callable[..., Any], *arguments: Any, **options: Any) -> bool:
    """Whether `parse` would not have these. It has them, or says why not in one line; nothing else may happen."""
    try:
        parse(*arguments, **options)
    except UsageError as error:
        one_line(error)
        return True
    return False


def typeable(text: str) -> bool:
    """Whether a command line or the environment could hold it."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def one_line(error: UsageError) -> None:
    """It says what and the mend. It is made fit to be shown where it is shown: `test_options.py` holds that."""
    assert error.message.strip()
    assert error.hint


def near(text: str) -> st.SearchStrategy[str]:
    """Texts that are nearly this one: cut, doubled, or with something else in them."""

    @st.composite
    def changed(draw: st.DrawFn) -> str:
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, len(text)))
        return text[:start] + draw(TEXT) + text[end:]

    return changed()


def quietly(parse: Callable[[], Any]) -> None:
    """Run `parse`; a UsageError is as good as a value."""
    with suppress(UsageError):
        parse()
